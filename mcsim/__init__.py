"""mcsim: how likely is this boot to run out of contiguous memory, under which patch, and how sure are we?

In Python::

    import mcsim
    result = mcsim.run("mail-2022", boots=200, out="results/mail-2022")
    result.summary()  # a polars data frame: one row per variant and RAM size
    mcsim.compare(result, baseline="maple-naive")  # another: each variant against that one, boot by boot
    mcsim.compare_counts([(0, 3), (3, 4)])  # failures of boots that you counted, without a model
    mcsim.explain("mail-2022", variant="maple-naive", ram="33M").save(Path("boot"))  # why one boot failed
    mcsim.explain("mail-2022", variant="maple-naive", ram="33M", boots=2000)  # whose pages break the blocks
    mcsim.diagnose(Path("console.txt").read_text())["reports"]  # what a real kernel's log says

The `mcsim` command does the same; both read the same experiment files and write the same result folders.
"""

from mcsim.api import compare, compare_counts, diagnose, explain, load, merge, min_ram, rare, run, sensitivity
from mcsim.errors import InvariantViolatedError, UserError

__version__ = "0.1.0"
__all__ = [
    "InvariantViolatedError",
    "UserError",
    "__version__",
    "compare",
    "compare_counts",
    "diagnose",
    "explain",
    "load",
    "merge",
    "min_ram",
    "rare",
    "run",
    "sensitivity",
]
