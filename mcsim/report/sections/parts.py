"""What a section is made of: parts that hold plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Cell:
    """What stands in a table; `key` is what it is sorted by, `style` one of its own, never from a user."""

    text: str
    key: float | str | None = None
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table in a box of its own, sorted by a click on a column; the first column names the row.

    A column is one of numbers, set to the right, if its cells have numbers to be sorted by.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    heat: bool = False
    kind: str = field(default="table", init=False)

    def numeric(self, column: int) -> bool:
        """Whether it is one of numbers."""
        keys = [row[column].key for row in self.rows if row[column].text not in ("", "-")]
        return bool(keys) and all(isinstance(key, int | float) for key in keys)


@dataclass(frozen=True)
class Picture:
    """An SVG element; `title` above, `width` decides who sees it: both, wide, narrow."""

    svg: str
    title: str = ""
    width: str = "both"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as fit, and a caption; `legend`: swatches with words."""

    pictures: Sequence[Picture]
    caption: str
    legend: Sequence[tuple[str, str]] = ()
    kind: str = field(default="gallery", init=False)


@dataclass(frozen=True)
class Lines:
    """Paragraphs, or points of a list."""

    texts: Sequence[str]
    points: bool = False
    kind: str = field(default="lines", init=False)


@dataclass(frozen=True)
class Code:
    """Text as it is: commands, files. `closed`: the words to click on to see it."""

    text: str
    closed: str = ""
    kind: str = field(default="code", init=False)


Part: TypeAlias = Table | Gallery | Lines | Code


@dataclass(frozen=True)
class Section:
    """A part of the page: `name` is its anchor, `title` its heading and what the contents call it."""

    name: str
    title: str
    parts: Sequence[Part]
