"""What a run shows while it works: a bar on a terminal, throttled plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0


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

    def start(self, total: int) -> None:
        """So many units are to be done."""
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

    def start(self, total: int) -> None:
        """Show nothing."""

    def advance(self, units: int, label: str) -> None:
        """Show nothing."""

    def less(self, units: int) -> None:
        """Show nothing."""


class PlainLines:
    """One line every few seconds: units done, rate, time left."""

    def __init__(self, stream: TextIO, seconds: float = SECONDS_BETWEEN_LINES, unit: str = "boots") -> None:
        """Lines go to `stream`, at most one in so many seconds; `unit` is what is counted, in the plural."""
        self._stream = stream
        self._unit = unit
        self._seconds = seconds
        self._total = self._done = 0
        self._started = self._shown = 0.0

    def __enter__(self) -> PlainLines:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Say how many were done and how fast."""
        if self._total and self._done:
            seconds = time.monotonic() - self._started
            rate = self._done / max(seconds, 1e-9)
            self.say(f"{self._done:,} of {self._total:,} {self._unit} in {duration(seconds)}, {rate:,.0f} a second")

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)

    def start(self, total: int) -> None:
        """Begin to count."""
        self._total = total
        self._started = self._shown = time.monotonic()

    def advance(self, units: int, label: str) -> None:
        """Count, and print if the last line is old enough."""
        self._done += units
        now = time.monotonic()
        if now - self._shown >= self._seconds and self._done < self._total:
            self._shown = now
            rate = self._done / (now - self._started)
            left = duration((self._total - self._done) / rate)
            self.say(f"{self._done:,} of {self._total:,} {self._unit}, {rate:,.0f} a second, {left} left, at {label}")

    def less(self, units: int) -> None:
        """Lower the total."""
        self._total -= units


class Bar:
    """A bar of rich: units done, rate, time left, and where the run is."""

    def __init__(self, unit: str = "boots") -> None:
        """A bar on stderr; `unit` is what is counted, in the plural."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichBar

        self._bar: RichBar = RichBar(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(unit + "  {task.fields[rate]}/s  left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._row: TaskID | None = None
        self._started = 0.0

    def __enter__(self) -> Bar:
        """Begin to draw."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw for the last time."""
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def start(self, total: int) -> None:
        """Begin to count."""
        self._started = time.monotonic()
        self._row = self._bar.add_task("", total=total, rate="-")

    def advance(self, units: int, label: str) -> None:
        """Count."""
        assert self._row is not None
        row = self._bar.tasks[self._row]
        rate = (row.completed + units) / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._row, advance=units, description=label, rate=f"{rate:,.0f}")

    def less(self, units: int) -> None:
        """Lower the total."""
        assert self._row is not None
        self._bar.update(self._row, total=(self._bar.tasks[self._row].total or 0) - units)


def for_stderr(unit: str = "boots") -> Progress:
    """The bar if stderr is a terminal, else plain lines; `unit` is what is counted, in the plural."""
    return Bar(unit) if sys.stderr.isatty() else PlainLines(sys.stderr, unit=unit)


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
