"""One text, read once: every line goes to the readers of boots, of /proc and of reports, until one of them knows it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

from mcsim import files
from mcsim.errors import UserError
from mcsim.logs.boot import BootReader
from mcsim.logs.lines import Line, cleaned, lines
from mcsim.logs.proc import ProcReader
from mcsim.logs.reports import ReportReader
from mcsim.logs.values import Log, Report

MOST_REPORTS = 4096  # kept of one log; of more, every second, every fourth, ...
MOST_UNREAD = 1000

# Lines that matter although they have no figures.
NOTES = (
    ("Out of memory", "the OOM killer ran"),
    ("deadlocked on memory", "panic: deadlocked on memory"),
    ("No working init found", "panic: no working init"),
)
LOOKED_FOR = (
    "'page allocation failure', 'Allocation of length', 'oom-killer', 'Mem-Info', free lists (1*8kB 1*16kB ...), boot "
    "lines (Memory:, node ranges, hash tables, memblock=debug), /proc/buddyinfo, pagetypeinfo, zoneinfo"
)


class Kept:
    """Reports of a log, thinned where there are very many: the first, and then one in `stride`."""

    def __init__(self, most: int) -> None:
        """With none."""
        self.reports: list[Report] = []
        self.seen = 0
        self.stride = 1
        self._most = most

    def wants(self) -> bool:
        """Whether the next report would be kept."""
        return self.seen % self.stride == 0

    def add(self, report: Report) -> None:
        """Count a report, and keep it if its turn has come."""
        if self.wants():
            self.reports.append(report)
        self.seen += 1
        if len(self.reports) > self._most:
            del self.reports[1::2]
            self.stride *= 2


def read(file: IO[bytes], unread: bool = False) -> Log:
    """What a text says; `unread`: with the lines that nobody knows (the first MOST_UNREAD)."""
    kept = Kept(MOST_REPORTS)
    reports = ReportReader(kept.add, kept.wants)
    boots = BootReader(reports.new_kernel)
    proc = ProcReader(kept.add)
    notes: dict[str, int] = {}
    strange: list[tuple[int, str]] = []
    count = known = 0

    def take(line: Line) -> bool:
        for words, note in NOTES:
            if words in line.text:
                notes[note] = notes.get(note, 0) + 1
                return True
        return boots.take(line) or proc.take(line) or reports.take(line)

    for number, raw in lines(file, lambda: reports.open or proc.open, lambda: reports.skips, take_all=unread):
        count = number
        taken = [take(line) for line in cleaned(number, raw)] if raw.strip() else []
        if any(taken):
            known += 1
        elif unread and raw.strip() and len(strange) < MOST_UNREAD:
            strange.append((number, raw.decode("utf-8", "replace")))
    proc.end()
    reports.end()
    boots.end()
    ordered = tuple(sorted(kept.reports, key=lambda report: report.line))
    return Log(count, known, ordered, kept.seen, kept.stride, tuple(boots.boots), notes, tuple(strange))


def read_text(text: str | bytes, unread: bool = False) -> Log:
    """`read` of a text that is there already. UserError if it holds nothing that a reader knows."""
    content = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return _found(read(io.BytesIO(content), unread), "the text")


def read_stream(file: IO[bytes], name: str, unread: bool = False) -> Log:
    """`read` of an open file. UserError if it holds nothing that a reader knows, or cannot be read to its end."""
    with files.readable(name, LOOKED_FOR):
        return _found(read(file, unread), name)


def read_file(path: str | Path, unread: bool = False) -> Log:
    """`read_stream` of a plain, gzip or xz file."""
    with files.readable(path, LOOKED_FOR), files.open_packed(path) as file:
        return _found(read(file, unread), str(path))


def _found(log: Log, name: str) -> Log:
    if log.empty:
        raise UserError(f"no memory report and no boot line in {log.lines:,} lines", file=name, valid=LOOKED_FOR)
    return log
