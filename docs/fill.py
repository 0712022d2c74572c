"""Pages that show what a command printed: the part between two marks is replaced, the rest is written by hand.

The marks are `<!-- NAME: make TARGET -->` and `<!-- end of NAME -->`.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
