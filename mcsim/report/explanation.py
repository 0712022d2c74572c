"""Everything about one boot, put together: in words, for a terminal, and as files."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError
from mcsim.files import read_text, write_each
from mcsim.model.failures import FAILURES
from mcsim.model.units import format_size
from mcsim.report import divergence, page_map, timeline
from mcsim.report.blocks import size_words, summary, table
from mcsim.report.mem_info import failure_report
from mcsim.report.plot import pictures
from mcsim.report.text import WIDTH
from mcsim.studies.explain.one_boot import OneBoot

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text

PAGE = "explain.txt"


class Explanation(OneBoot):
    """One boot of a task, as far as it got; `divergence` only where another variant was asked for."""

    @classmethod
    def of(cls, boot: OneBoot) -> Explanation:
        """Words and pictures for what was found."""
        return cls(**vars(boot))

    def sentence(self) -> str:
        """What became of it."""
        seconds = f"{self.ending.event.time_us / 1e6:.3f} s after /init was started"
        if not self.ending.failed:
            return f"{self.title} reached the login prompt {seconds}. Memory at the prompt:"
        what = FAILURES[self.ending.failed_class].words
        order, size = self.ending.order, size_words(self.ending.order, self.memory.page_size)
        return (
            f"{self.title} failed {seconds}: {what} of order {order} ({size}) for "
            f"{self.ending.event.process}. Memory at that moment:"
        )

    def parts(self, width: int = WIDTH) -> Iterator[Text]:
        """All of it as lines for a terminal of so many columns; only the kernel's own lines may be longer."""
        from rich.text import Text

        def heading(words: str) -> list[Text]:
            return [Text(), Text(words, "bold"), Text()]

        order = self.ending.order
        yield from map(Text, _wrap(self.sentence()))
        yield Text()
        yield from map(Text, failure_report(self.ending, self.memory))
        yield from heading("What keeps blocks from being whole")
        yield from map(Text, [*_wrap(summary(self.blocks, self.memory.page_size)), "", *table(self.blocks)])
        yield from heading("Timeline")
        yield from map(Text, _wrap_long(timeline.text(self.timeline, self.ending)))
        yield from heading("Memory, one letter a page")
        yield from page_map.text(self.memory, order, width)
        yield Text()
        yield from map(Text, page_map.key(self.memory, order))
        if self.divergence is not None:
            yield from heading(f"The same boot under {self.divergence.names[1]}")
            yield from map(Text, divergence.text(self.divergence))

    def page(self) -> str:
        """The same as plain text."""
        return "\n".join(line.plain for line in self.parts()) + "\n"

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Pictures and their names: map, timeline, and maps of both variants at the moment the first of them ends."""
        order = self.ending.order
        whose = f": {self.ending.event.process} fails" if self.ending.failed else ": login prompt"
        yield "map", page_map.draw(self.memory, order, self.title + whose)
        yield "timeline", timeline.draw(self.timeline, self.ending, self.title)
        if self.divergence is not None:
            seconds = f"{self.divergence.at_end_event.time_us / 1e6:.3f} s after /init was started"
            size = format_size(self.task.ram)
            for name, memory in zip(self.divergence.names, self.divergence.at_end, strict=True):
                if name == self.task.variant and self.divergence.at_end_event == self.ending.event:
                    continue  # the map drawn already
                yield f"map-{name}", page_map.draw(memory, order, f"boot {self.number} of {name} at {size}, {seconds}")

    def save(self, folder: Path) -> list[Path]:
        """Write explain.txt and each picture as PNG and SVG; their paths.

        UserError if that cannot be done, or if files of these names are there that no `save` made.
        """
        contents = {folder / PAGE: self.page().encode()}
        for name, figure in self.figures():
            contents |= pictures(figure, folder / name, dpi=110)
        there = [path for path in contents if os.path.lexists(path)]
        if there and not _is_ours(folder / PAGE):
            valid = "a new or an empty folder, or one that mcsim explain has made"
            raise UserError("exists and is not of mcsim explain", file=there[0], key="--out", valid=valid)
        return write_each(contents)


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _wrap_long(lines: list[str]) -> list[str]:
    return [part for line in lines for part in (_wrap(line) if len(line) > WIDTH else [line])]


def _is_ours(page: Path) -> bool:
    """Whether a file is one that `Explanation.save` made."""
    try:
        return re.match(r"boot\s\d+\sof\s\S+\sat\s\d+[KMG]\s(failed|reached)\s", read_text(page)) is not None
    except UserError:
        return False
