"""Put what `mcsim explain` prints and draws into docs/explain.md (`make explain`)."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.fill import ROOT, fill, quoted

PAGE = ROOT / "docs" / "explain.md"
EXPLAIN = "explain mail-2022 --variant maple-naive --ram 33M --boot 0 --compare tail-free"
OWNERS = "explain mail-2022 --variant maple-naive --ram 33M --boots 2000"
PICTURES = {"map": "explain-map", "timeline": "explain-timeline", "map-tail-free": "explain-map-other"}


def shown(command: str, *more: str) -> str:
    """The command and what it prints."""
    words = [sys.executable, "-m", "mcsim", *command.split(), *more]
    printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return f"    mcsim {command}\n\n{quoted(printed)}"


def main() -> None:
    """Replace text and pictures."""
    with tempfile.TemporaryDirectory() as folder:
        fill(PAGE, "explain", shown(EXPLAIN, "--out", folder))
        for name, picture in PICTURES.items():
            shutil.copyfile(Path(folder) / f"{name}.svg", ROOT / "docs" / f"{picture}.svg")
    fill(PAGE, "owners", shown(OWNERS))


if __name__ == "__main__":
    main()
