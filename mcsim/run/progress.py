"""What a run shows while it works: a live table on a terminal, throttled plain lines elsewhere; always on stderr.

Whoever watches a run looks again and again, and may stop when it suits. So estimates come with a confidence sequence
(`mcsim.stats.sequences`), which holds at all looks together.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from mcsim.files import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import TaskID
    from rich.table import Table

SECONDS_BETWEEN_LINES = 10.0
LEVEL = 0.95
IN_BRACKETS = f"{100 * LEVEL:g} % confidence sequence, which holds however often one looks"
MOST_ROWS = 12  # of cells at a time
OTHER_ROWS = 4  # heading, head of the table, sum, bar
NARROW = 72  # columns of a terminal; a narrower one does without the rate of a cell
# The terminal writes ^C after the last line; if that line were full, it would begin another one, of which rich knows
# nothing, and one line too few would be taken away.
ROOM_FOR_INTERRUPT = 6


@dataclass(frozen=True)
class Tally:
    """How far one cell is: `done` of `wanted` boots are stored, and `failures` of them failed.

    `rate`: boots a second of this run since it began with the cell. `over`: no more are to come.
    """

    label: str
    wanted: int
    done: int
    failures: int
    rate: float
    over: bool = False

    def estimate(self) -> str:
        """`12.50 % (8.11 to 18.20)`: P(OOM) with its confidence sequence; a bound where none or all of them failed."""
        from mcsim.stats.intervals import shown
        from mcsim.stats.sequences import sequence

        if not self.done:
            return "-"
        low, high = sequence(self.failures, self.done, LEVEL)
        sign, share = shown(self.failures, self.done, low, high)
        return f"{sign}{100 * share:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


class Progress(Protocol):
    """Told how far a run is; a context manager around it."""

    def __enter__(self) -> Progress:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, however the run ended."""
        ...

    def say(self, text: str) -> None:
        """Print one line of its own."""
        ...

    def start(self, total: int, cells: int = 0) -> None:
        """So many units are to be done, in so many cells if these have tallies."""
        ...

    def tally(self, tally: Tally) -> None:
        """How far a cell is; before `advance` tells that its boots are done."""
        ...

    def advance(self, units: int, label: str) -> None:
        """So many more are done, of the task or file with that label."""
        ...

    def less(self, units: int) -> None:
        """So many fewer are to be done than `start` said."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def start(self, total: int, cells: int = 0) -> None:
        """Show nothing."""

    def tally(self, tally: Tally) -> None:
        """Show nothing."""

    def advance(self, units: int, label: str) -> None:
        """Show nothing."""

    def less(self, units: int) -> None:
        """Show nothing."""


class PlainLines:
    """One line every few seconds: units done, rate, time left, and the estimate of the cell that is at work."""

    def __init__(self, stream: TextIO, seconds: float = SECONDS_BETWEEN_LINES, unit: str = "boots") -> None:
        """Lines go to `stream`, at most one in so many seconds; `unit` is what is counted, in the plural."""
        self._stream = stream
        self._unit = unit
        self._seconds = seconds
        self._total = self._done = 0
        self._started = self._shown = 0.0
        self._tally: Tally | None = None
        self._explained = False

    def __enter__(self) -> PlainLines:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Say how many were done and how fast."""
        if self._total and self._done:
            self.say(_sum(self._done, self._total, self._unit, time.monotonic() - self._started))

    def say(self, text: str) -> None:
        """Print one line."""
        with suppress(OSError):  # a run goes on when nobody listens any more
            print(printable(text), file=self._stream, flush=True)

    def start(self, total: int, cells: int = 0) -> None:
        """Begin to count."""
        self._total = total
        self._started = self._shown = time.monotonic()

    def tally(self, tally: Tally) -> None:
        """Keep it for the next line."""
        self._tally = tally

    def advance(self, units: int, label: str) -> None:
        """Count, and print if the last line is old enough."""
        self._done += units
        now = time.monotonic()
        if now - self._shown >= self._seconds and self._done < self._total:
            self._shown = now
            rate = self._done / (now - self._started)
            left = duration((self._total - self._done) / rate)
            line = f"{self._done:,} of {self._total:,} {self._unit}, {rate:,.0f} a second, {left} left, at {label}"
            if self._tally is not None and self._tally.label == label:
                if not self._explained:
                    self.say(f"P(OOM) so far; in brackets: {IN_BRACKETS}")
                    self._explained = True
                line += f": {self._tally.estimate()}"
            self.say(line)

    def less(self, units: int) -> None:
        """Lower the total."""
        self._total -= units


class Live:
    """On a terminal: the cells at work with their estimates, their sum, and a bar with rate and time left.

    It never takes more lines than the terminal has, and is gone in the end: a line with the sum stays.
    """

    def __init__(self, unit: str = "boots", console: Console | None = None) -> None:
        """On `console` (default: stderr); `unit` is what is counted, in the plural."""
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichBar

        self._console = Console(stderr=True) if console is None else console
        self._unit = unit
        self._cells = 0
        self._tallies: dict[str, Tally] = {}  # those met so far, the one that came last at the end
        self._bar: RichBar = RichBar(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(unit + "  {task.fields[rate]}/s  left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}", markup=False),
            console=self._console,
        )
        self._live = RichLive(console=self._console, get_renderable=self.show, transient=True)
        self._row: TaskID | None = None
        self._started = 0.0

    def __enter__(self) -> Live:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away, and say how many were done and how fast."""
        self._live.stop()
        if self._row is not None:
            task = self._bar.tasks[self._row]
            if task.completed:
                seconds = time.monotonic() - self._started
                self.say(_sum(int(task.completed), int(task.total or 0), self._unit, seconds))

    def say(self, text: str) -> None:
        """Print one line of its own, above what is drawn."""
        self._console.print(printable(text), markup=False, highlight=False)

    def start(self, total: int, cells: int = 0) -> None:
        """Begin to count."""
        self._started = time.monotonic()
        self._cells = cells
        self._row = self._bar.add_task("", total=total, rate="-")

    def tally(self, tally: Tally) -> None:
        """Show a cell as it is now."""
        # Drawn by another thread: a new dictionary, not a changed one.
        others = {label: each for label, each in self._tallies.items() if label != tally.label}
        self._tallies = {**others, tally.label: tally}

    def advance(self, units: int, label: str) -> None:
        """Count."""
        assert self._row is not None
        row = self._bar.tasks[self._row]
        rate = (row.completed + units) / max(time.monotonic() - self._started, 1e-9)
        description = "" if self._tallies else printable(label)
        self._bar.update(self._row, advance=units, description=description, rate=f"{rate:,.0f}")

    def less(self, units: int) -> None:
        """Lower the total."""
        assert self._row is not None
        self._bar.update(self._row, total=(self._bar.tasks[self._row].total or 0) - units)

    def show(self) -> RenderableType:
        """What is drawn."""
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.text import Text

        bar = Constrain(self._bar.get_renderable(), max(1, self._console.width - ROOM_FOR_INTERRUPT))
        room = min(MOST_ROWS, self._console.height - OTHER_ROWS - 1)  # and one line for the cursor
        if not self._tallies or room < 1:
            return bar
        tallies = list(self._tallies.values())
        heading = Text(f"P(OOM) so far, and {IN_BRACKETS}", no_wrap=True, overflow="ellipsis")
        return Group(heading, self._table(_chosen(tallies, room)), self._sum(tallies), bar)

    def _table(self, tallies: list[Tally]) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
        wide = self._console.width >= NARROW
        names = ["cell", "boots", *(["a second"] if wide else []), "P(OOM) (from to)"]
        for name in names:
            table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if name != "cell" else "left")
        for tally in tallies:
            boots = f"{tally.done:,}/{tally.wanted:,}"
            rate = [f"{tally.rate:,.0f}"] if wide else []
            style = "dim" if tally.over else ""
            cells = [tally.label, boots, *rate, tally.estimate()]
            table.add_row(*(Text(cell) for cell in cells), style=style)
        return table

    def _sum(self, tallies: list[Tally]) -> RenderableType:
        from rich.text import Text

        over = sum(tally.over for tally in tallies)
        failures, done = sum(tally.failures for tally in tallies), sum(tally.done for tally in tallies)
        cells = f"{over:,} of {self._cells:,} cells done, {len(tallies) - over:,} begun"
        words = f"{cells}; {failures:,} of {done:,} boots failed"
        return Text(words, no_wrap=True, overflow="ellipsis")


def _chosen(tallies: list[Tally], room: int) -> list[Tally]:
    """At most `room` cells of those that are given in the order of their last news: at work first, then the newest."""
    at_work = [tally for tally in tallies if not tally.over][-room:]
    left = room - len(at_work)
    ended = [tally for tally in tallies if tally.over][-left:] if left else []
    return [*ended, *sorted(at_work, key=lambda tally: tally.label)]


def _sum(done: int, total: int, unit: str, seconds: float) -> str:
    return f"{done:,} of {total:,} {unit} in {duration(seconds)}, {done / max(seconds, 1e-9):,.0f} a second"


def for_stderr(unit: str = "boots") -> Progress:
    """The live table if stderr is a terminal, else plain lines; `unit` is what is counted, in the plural."""
    return Live(unit) if sys.stderr.isatty() else PlainLines(sys.stderr, unit=unit)


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
