"""Put what `mcsim conform` and `mcsim replay` print into docs/fidelity.md (`make fidelity`).

Usage: update_fidelity.py VECTORS RECORDINGS, each a list of files in one word.
"""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("fidelity.md")
PATTERN = r"<!-- output: make fidelity -->.*<!-- end of output -->"


def output(command: str, files: str) -> str:
    """What `mcsim COMMAND FILES` prints; ends this script with its exit code if something differs."""
    done = subprocess.run([sys.executable, "-m", "mcsim", command, *files.split()], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return f"`mcsim {command}`:\n\n```\n{done.stdout.rstrip()}\n```\n"


def main() -> None:
    """Replace what lies between the page's markers."""
    vectors, recordings = sys.argv[1:]
    block = "\n".join([output("conform", vectors), output("replay", recordings)])
    new = f"<!-- output: make fidelity -->\n\n{block}\n<!-- end of output -->"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(PATTERN, lambda _: new, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
