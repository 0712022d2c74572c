"""Run the fuzzers and the faults and write what they print into docs/robustness.md.

Usage: python -m docs.update_robustness INPUTS KILLS (`make robustness`). Exit code 1 if they find anything.
"""

import subprocess
import sys

from docs.fill import ROOT, fill, quoted

PAGE = ROOT / "docs" / "robustness.md"


def main(inputs: str, kills: str) -> int:
    """Run both, fill the page."""
    worst = 0
    for name, options in (("fuzz", ["--inputs", inputs]), ("faults", ["--kills", kills])):
        done = subprocess.run(
            [sys.executable, "-m", f"tests.{name}", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, end="")
        fill(PAGE, name, quoted(done.stdout))
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
