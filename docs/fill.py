"""Pages that show what a command printed: the part between two marks is replaced, the rest is written by hand.

The marks are `<!-- NAME: make TARGET -->` and `<!-- end of NAME -->`.

Usage: python -m docs.fill TARGET [KEY=VALUE ...] (Makefile), the values for the commands below.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """What `command` prints goes on a page of docs/, between the marks of this name."""

    page: str
    name: str
    command: str
    more: str = ""  # words that the page does not show
    shows_command: bool = False
    shows_misses: bool = False  # exit code 1 says that a threshold was missed: no error, as the page shows it


CELL = "mail-2022 --variant maple-naive --ram 33M"
PARTS = {
    "readme": (Part("../README.md", "table", "mcsim report results/mail-2022"),),
    "fidelity": (
        Part("fidelity.md", "allocators", "mcsim check allocators", "{vectors}"),
        Part("fidelity.md", "recordings", "mcsim check recordings", "{recordings}"),
    ),
    "validation": (
        Part("validation.md", "predicted", "mcsim check model", shows_misses=True),
        Part("validation.md", "counterfactual", "mcsim check model --counterfactual", shows_misses=True),
    ),
    "explain": (
        Part(
            "explain.md",
            "explain",
            f"mcsim explain {CELL} --boot 0 --compare tail-free",
            "--out build/explain",
            shows_command=True,
        ),
        Part("explain.md", "owners", f"mcsim explain {CELL} --boots 2000", shows_command=True),
    ),
    "performance": (Part("performance.md", "table", "mcsim check speed --gate", shows_misses=True),),
    "sameness": (Part("sameness.md", "ways", "docs.sameness"),),
    "robustness": (
        Part("robustness.md", "fuzz", "tests.fuzz", "--inputs {inputs}"),
        Part("robustness.md", "faults", "tests.faults", "--kills {kills}"),
    ),
}
PICTURES = {  # what is drawn, and its name in docs/
    "readme": {"results/mail-2022/p_oom.svg": "mail-2022.svg"},
    "validation": {"results/check-model/calibration.svg": "calibration.svg"},
    "explain": {
        "build/explain/map.svg": "explain-map.svg",
        "build/explain/timeline.svg": "explain-timeline.svg",
        "build/explain/map-tail-free.svg": "explain-map-other.svg",
    },
}


def fill(page: Path, name: str, new: str) -> None:
    """Put `new` between the marks of that name; the page must have them."""
    text = page.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name}: make \w+ -->).*(<!-- end of {name} -->)"
    filled, count = re.subn(pattern, lambda mark: f"{mark[1]}\n\n{new}\n\n{mark[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page}: {count} places to fill for {name!r}")
    page.write_text(filled, encoding="utf-8")


def quoted(text: str) -> str:
    """As it stands, in a Markdown block."""
    return f"```\n{text.rstrip()}\n```"


def run(part: Part, values: dict[str, str]) -> int:
    """Run its command and fill the page; the exit code. A command that did not come to its end leaves the page."""
    words = [*part.command.split(), *part.more.format(**values).split()]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode > 1 or done.returncode < 0:
        sys.exit(done.returncode)
    print(done.stdout, end="")
    shown = quoted(done.stdout)
    fill(ROOT / "docs" / part.page, part.name, f"    {part.command}\n\n{shown}" if part.shows_command else shown)
    return 0 if part.shows_misses else done.returncode


def main(target: str, *values: str) -> int:
    """Fill the pages of one target; exit code 1 if they show what should not be so."""
    if target not in (*PARTS, *PICTURES):
        sys.exit(f"{target!r} is no target: {', '.join(sorted({*PARTS, *PICTURES}))}")
    codes = [run(part, dict(value.split("=", 1) for value in values)) for part in PARTS.get(target, ())]
    for drawn, picture in PICTURES.get(target, {}).items():
        shutil.copyfile(ROOT / drawn, ROOT / "docs" / picture)
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
