"""The reader of boot lines: what a board leaves to its page allocator."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mcsim.logs.lines import Line
from mcsim.logs.values import Boot, Reserved

MOST = 1000  # ranges that are kept

VERSION = re.compile(r"Linux version (\S+)")
MACHINE = re.compile(r"Machine model: (.+)")
MEMORY = re.compile(r"Memory(?: available)?: (\d{1,15}) ?[kK]B?(?:/(\d{1,15}) ?[kK]B?)?(?: available| RAM)(.*)")
PART = re.compile(r"(\d{1,15})[kK]B? (kernel code|code|rwdata|rodata|init|bss|reserved|cma-reserved|data|highmem)\b")
FREED = re.compile(r"Freeing (?:unused kernel|init)[^:]*: (\d{1,15}) ?[kK]B?")
HASH = re.compile(r"hash table entries: \d+ \(order: (\d{1,2}), (\d{1,15}) bytes")
GROUPING = re.compile(r"mobility grouping (on|off)")
TOTAL_PAGES = re.compile(r"Total pages: (\d{1,15})")
MEMMAP = re.compile(r"zone: (\d{1,15}) pages used for memmap")
SLUB = re.compile(r"SLUB: .*?Order=(\d+-\d+).*?CPUs=(\d{1,6})")
CPUS = re.compile(r"Brought up .*?(\d{1,6}) CPUs?")
RANGE = re.compile(r"^(?:(node +(\d{1,4}))|(\w+)):? +\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]")
RESERVE = re.compile(r"memblock_reserve: \[0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\](?: flags 0x[0-9a-f]+)? *(.*)")
ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
PAGE_4K = 0x1000


@dataclass
class _Draft:
    line: int
    values: dict[str, str | int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    page_sizes: list[int] = field(default_factory=list)
    zones: list[tuple[str, int, int]] = field(default_factory=list)
    ranges: list[tuple[int, int, int]] = field(default_factory=list)
    reserved: list[Reserved] = field(default_factory=list)

    def boot(self) -> Boot:
        sizes = sorted(set(self.page_sizes), key=self.page_sizes.count, reverse=True)
        return Boot(
            self.line,
            parts_kb=self.parts,
            page_sizes=tuple(sizes),
            zones=tuple(self.zones),
            ranges=tuple(self.ranges),
            reserved=tuple(self.reserved),
            **self.values,  # type: ignore[arg-type]
        )


class BootReader:
    """Takes line after line; a boot begins with `Linux version`, or with what is there of it."""

    def __init__(self, new_kernel: Callable[[str | None], None]) -> None:
        """`new_kernel` hears the release when a boot begins."""
        self.boots: list[Boot] = []
        self._draft: _Draft | None = None
        self._new_kernel = new_kernel
        self._readers: tuple[tuple[str, Callable[[Line], bool]], ...] = (
            ("Linux version", self._version),
            ("memblock_reserve", self._reserve),
            ("[mem 0x", self._range),
            ("hash table entries", self._hash),
            ("Memory", self._memory),
            ("Freeing ", self._freed),
            ("mobility grouping", self._zonelists),
            ("SLUB:", self._slub),
            ("Brought up", self._cpus),
            ("used for memmap", self._memmap),
            ("Machine model", self._machine),
        )

    @property
    def newest(self) -> Boot | None:
        """The boot whose lines come now."""
        if self._draft is not None:
            return self._draft.boot()
        return self.boots[-1] if self.boots else None

    def take(self, line: Line) -> bool:
        """Read one line; whether it is understood."""
        text = line.text
        for word, reader in self._readers:  # noqa: SIM110 - a tenth of the time of large logs
            if word in text and reader(line):
                return True
        return False

    def end(self) -> None:
        """No more lines come."""
        if self._draft is not None and len(self.boots) < MOST:
            self.boots.append(self._draft.boot())
        self._draft = None

    def _boot(self, line: Line) -> _Draft:
        if self._draft is None:
            self._draft = _Draft(line.number)
        return self._draft

    def _version(self, line: Line) -> bool:
        found = VERSION.search(line.text)
        if found is None:
            return False
        if self._draft is not None and ("release" in self._draft.values or self._draft.parts):
            self.end()
        self._boot(line).values["release"] = found[1]
        self._new_kernel(found[1])
        return True

    def _machine(self, line: Line) -> bool:
        found = MACHINE.search(line.text)
        if found:
            self._boot(line).values["machine"] = found[1][:200]
        return found is not None

    def _memory(self, line: Line) -> bool:
        found = MEMORY.search(line.text)
        if found is None:
            return False
        if self._draft is not None and "available_kb" in self._draft.values:
            self.end()
        draft = self._boot(line)
        draft.values["available_kb"] = int(found[1])
        if found[2]:
            draft.values["ram_kb"] = int(found[2])
        for size, name in PART.findall(found[3]):
            draft.parts.setdefault(name, int(size))
        return True

    def _freed(self, line: Line) -> bool:
        found = FREED.search(line.text)
        if found:
            draft = self._boot(line)
            draft.values["freed_kb"] = int(draft.values.get("freed_kb", 0)) + int(found[1])
        return found is not None

    def _hash(self, line: Line) -> bool:
        found = HASH.search(line.text)
        if found and len((draft := self._boot(line)).page_sizes) < MOST:
            size, order = int(found[2]), int(found[1])
            if size >> order << order == size and size >> order >= PAGE_4K:
                draft.page_sizes.append(size >> order)
        return "hash table entries" in line.text

    def _zonelists(self, line: Line) -> bool:
        found = GROUPING.search(line.text)
        if found is None:
            return False
        self._boot(line).values["grouping"] = found[1]
        total = TOTAL_PAGES.search(line.text)
        if total:
            self._boot(line).values["total_pages"] = int(total[1])
        return True

    def _memmap(self, line: Line) -> bool:
        found = MEMMAP.search(line.text)
        if found:
            values = self._boot(line).values
            values["memmap_pages"] = int(values.get("memmap_pages", 0)) + int(found[1])
        return found is not None

    def _slub(self, line: Line) -> bool:
        found = SLUB.search(line.text)
        if found:
            self._boot(line).values.update(slub_orders=found[1], cpus=int(found[2]))
        return found is not None

    def _cpus(self, line: Line) -> bool:
        found = CPUS.search(line.text)
        if found:
            self._boot(line).values["cpus"] = int(found[1])
        return found is not None

    def _range(self, line: Line) -> bool:
        found = RANGE.search(line.text)
        if found is None:
            return False
        draft = self._boot(line)
        start, end = int(found[4], 16), int(found[5], 16)
        if found[1] and len(draft.ranges) < MOST:
            draft.ranges.append((int(found[2]), start, end))
        elif found[3] in ZONES and len(draft.zones) < MOST:
            draft.zones.append((found[3], start, end))
        return True

    def _reserve(self, line: Line) -> bool:
        found = RESERVE.search(line.text)
        if found is None:
            return False
        draft = self._boot(line)
        start, end = int(found[1], 16), int(found[2], 16)
        # Old kernels print where the next range may begin. An end on a page is one: ranges of whole pages and one byte
        # more there are not.
        if end % PAGE_4K == 0 and end > start:
            end -= 1
        if len(draft.reserved) < MOST:
            draft.reserved.append(Reserved(start, end, found[3][:100]))
        return True
