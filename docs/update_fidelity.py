"""Put what `mcsim check allocators` and `mcsim check recordings` print into docs/fidelity.md (`make fidelity`).

Usage: python -m docs.update_fidelity VECTORS RECORDINGS, each a list of files in one word.
"""

import subprocess
import sys

from docs.fill import ROOT, fill, quoted

PAGE = ROOT / "docs" / "fidelity.md"


def output(command: str, files: str) -> str:
    """What `mcsim check COMMAND FILES` prints; ends this script with its exit code if something differs."""
    done = subprocess.run(
        [sys.executable, "-m", "mcsim", "check", command, *files.split()], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(done.returncode)
    return quoted(done.stdout)


def main() -> None:
    """Replace what the two commands print."""
    vectors, recordings = sys.argv[1:]
    fill(PAGE, "allocators", output("allocators", vectors))
    fill(PAGE, "recordings", output("recordings", recordings))


if __name__ == "__main__":
    main()
