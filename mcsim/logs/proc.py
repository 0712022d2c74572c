"""The reader of /proc/buddyinfo, /proc/pagetypeinfo and /proc/zoneinfo: memory as it was at one moment.

What follows one another is one report, until a file comes that is there already.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mcsim.logs.lines import Line
from mcsim.logs.reports import MOST_ZONES
from mcsim.logs.values import PROC, Report, Zone

FEWEST_ORDERS = 8  # of a kernel that has types of pageblocks, of which there are fewer
QUIET = 60  # lines of other kinds: then a report has ended

ROW = re.compile(r"(?:(?:Node +(\d{1,4}), +)?zone +|^(?=DMA|Normal|HighMem|Movable))(\w+):?((?: +>?\d{1,15}){4,64})$")
BARE = re.compile(r"^((?:>?\d{1,15} +){7,63}>?\d{1,15})$")
TYPE_ROW = re.compile(r"Node +(\d{1,4}), +zone +(\w+), +type +(\S+)((?: +>?\d{1,15}){4,64})$")
HEAD = re.compile(r"^Node +(\d{1,4}), +zone +(\w+)$")
BLOCK_ORDER = re.compile(r"Page block order: +(\d{1,3})|Pages per block: +\d+")
TYPES_HEAD = re.compile(r"^Number of (?:mixed )?blocks type|^Free pages count per migrate type")
FIGURE = re.compile(
    r"^(?:pages )?(free|boost|min|low|high|spanned|present|managed|cma|nr_free_pages|nr_free_cma) +(\d{1,15})$"
)
PROTECTION = re.compile(r"^protection: \(([\d, ]+)\)$")
OTHER_FIGURE = re.compile(
    r"^(?:n[ur]_?\w+|workingset_\w+|pgdemote_\w+|promo|start_pfn:|count:|high:|batch:|high_min:|high_max:|cpu:|node_\w+:|"
    r"pagesets|per-node stats|vm stats threshold:|all_unreclaimable:|inactive_ratio:|pgpromote_\w+|scanned|numa_\w+)"
)
LETTERS = {
    "Unmovable": "U",
    "Movable": "M",
    "Reclaimable": "E",
    "HighAtomic": "H",
    "CMA": "C",
    "Isolate": "I",
    "Reserve": "R",
}


@dataclass
class _Zone:
    name: str
    node: int
    blocks: tuple[int, ...] | None = None
    types: dict[str, tuple[int, ...]] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)
    reserve: tuple[int, ...] = ()

    def zone(self) -> Zone:
        blocks, letters = self.blocks, tuple[str, ...]()
        if self.types:
            orders = range(max(map(len, self.types.values())))
            columns = [[(name, row[order]) for name, row in self.types.items() if order < len(row)] for order in orders]
            blocks = blocks or tuple(sum(count for _, count in column) for column in columns)
            letters = tuple("".join(LETTERS.get(name, "?") for name, count in column if count) for column in columns)
        return Zone(self.name, self.node, {}, self.figures, self.reserve, blocks, letters, self.types)


class ProcReader:
    """Takes line after line; `done` gets every report when it has ended."""

    def __init__(self, done: Callable[[Report], None]) -> None:
        """With no report open."""
        self._done = done
        self._zones: dict[tuple[int, str], _Zone] = {}
        self._line = 0
        self._time: float | None = None
        self._quiet = 0
        self._parts: set[tuple[str, int, str]] = set()  # what is there: file, node, zone (and type)
        self._zone: _Zone | None = None  # of zoneinfo
        self._expects_rows = False  # somebody has named buddyinfo
        self._heading = ""

    @property
    def open(self) -> bool:
        """Whether lines are waited for."""
        return bool(self._zones) or self._expects_rows

    def take(self, line: Line) -> bool:
        """Read one line; whether it is understood."""
        if not self.open and not any(word in line.text for word in ("zone", "buddyinfo", "Page block")):
            return False
        if self._row(line) or self._type_row(line) or self._head(line) or self._figures(line.text) or self._other(line):
            self._quiet = 0
            return True
        self._quiet += 1
        if self._quiet > QUIET:
            self.end()
        return False

    def end(self) -> None:
        """No line of the open report will come."""
        if self._zones:
            zones = tuple(zone.zone() for zone in self._zones.values())
            if any(zone.blocks or zone.in_pages for zone in zones):
                self._done(Report(self._line, PROC, self._time, zones=zones))
        self._zones, self._parts, self._zone, self._expects_rows, self._quiet = {}, set(), None, False, 0
        self._heading = ""

    def _part(self, line: Line, file: str, node: int, name: str) -> _Zone | None:
        """The zone that a line of a file speaks of; another report begins if it is there already."""
        part = (file, node, name)
        if part in self._parts:
            self.end()
        if not self._zones:
            self._line, self._time = line.number, line.time
        if len(self._zones) >= MOST_ZONES:
            return None
        self._parts.add(part)
        zone = name.partition(" ")[0]
        return self._zones.setdefault((node, zone), _Zone(zone, node))

    def _row(self, line: Line) -> bool:
        found = ROW.search(line.text)
        if found is None:
            return self._expects_rows and self._bare(line)
        node, name, numbers = int(found[1] or 0), found[2], found[3]
        if self._heading.startswith("Number") and len(numbers.split()) < FEWEST_ORDERS:
            return True  # pageblocks of each type
        zone = self._part(line, "buddyinfo", node, name)
        if zone is not None:
            zone.blocks = _numbers(numbers)
        return True

    def _bare(self, line: Line) -> bool:
        """A row of buddyinfo of which only the numbers were kept."""
        found = BARE.search(line.text)
        if found is None:
            return False
        zone = self._part(line, "buddyinfo", 0, "Normal")
        if zone is not None:
            zone.blocks = _numbers(found[1])
        self._expects_rows = True
        return True

    def _type_row(self, line: Line) -> bool:
        found = TYPE_ROW.search(line.text)
        if found is None:
            return False
        zone = self._part(line, "pagetypeinfo", int(found[1]), f"{found[2]} {found[3]}")
        if zone is not None and len(zone.types) < len(LETTERS) + 8:
            zone.types[found[3]] = _numbers(found[4])
        return True

    def _head(self, line: Line) -> bool:
        found = HEAD.search(line.text)
        if found is None:
            return False
        self._zone = self._part(line, "zoneinfo", int(found[1]), found[2])
        return True

    def _figures(self, text: str) -> bool:
        if self._zone is None:
            return False
        found = FIGURE.search(text)
        if found:
            self._zone.figures.setdefault(found[1], int(found[2]))
            return True
        protection = PROTECTION.search(text)
        if protection:
            self._zone.reserve = _numbers(protection[1].replace(",", " "))
            return True
        return OTHER_FIGURE.search(text) is not None

    def _other(self, line: Line) -> bool:
        heading = TYPES_HEAD.search(line.text) or BLOCK_ORDER.search(line.text)
        if heading:
            self._heading = heading[0]
            return True
        if "buddyinfo" in line.text:
            self._heading, self._expects_rows = "", True
            return True
        return False


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each.lstrip(">")) for each in text.split())[:64]
