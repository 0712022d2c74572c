"""Put what `mcsim check speed` prints into docs/performance.md (`make performance`; takes minutes)."""

import subprocess
import sys

from docs.fill import ROOT, fill, quoted


def main() -> None:
    """Replace the table; a target that is missed (exit code 1 of --gate) is shown like any other."""
    done = subprocess.run(
        [sys.executable, "-m", "mcsim", "check", "speed", "--gate"], stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    fill(ROOT / "docs" / "performance.md", "table", quoted(done.stdout))


if __name__ == "__main__":
    main()
