"""What a log says, as values: zones and reports, boots, and the log as a whole. All as printed, nothing derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a report is about.
FAILURE = "page allocation failure"
NOMMU = "nommu allocation"
OOM = "oom-killer"
LOADER = "binfmt"
MEMORY = "memory"  # show_mem() without a request: sysrq-m
PROC = "proc"  # /proc/buddyinfo, pagetypeinfo, zoneinfo
REFUSALS = (FAILURE, NOMMU, OOM, LOADER)


@dataclass(frozen=True)
class Zone:
    """A zone of one report. `kb` holds what is printed in kB, `in_pages` what in pages, by the kernel's names.

    `blocks`: free blocks of each order, None where the list is missing; `letters`: which migratetypes have some of them
    (`UM`), "" where the kernel prints none; `types`: blocks of each order by name of migratetype (pagetypeinfo);
    `reserve`: lowmem_reserve[] (pages). `complete` is False where a part of the list is missing; `whole` is False as
    well where only noughts are left out, so that its length does not tell how many orders there are.
    """

    name: str
    node: int | None = None
    kb: Mapping[str, int] = field(default_factory=dict)
    in_pages: Mapping[str, int] = field(default_factory=dict)
    reserve: tuple[int, ...] = ()
    blocks: tuple[int, ...] | None = None
    letters: tuple[str, ...] = ()
    types: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    page_kb: int | None = None
    total_kb: int | None = None
    complete: bool = True
    whole: bool = True

    def figure(self, name: str, page_size: int) -> int | None:
        """Pages behind one of the kernel's names, whatever unit it is printed in; None where it is not."""
        if name in self.kb:
            return self.kb[name] * 1024 // page_size
        return self.in_pages.get(name)

    @property
    def listed(self) -> int | None:
        """Pages in the blocks of the list."""
        return None if self.blocks is None else sum(count << order for order, count in enumerate(self.blocks))


@dataclass(frozen=True)
class Report:
    """One failed request, or memory as it was at one moment. None: the log does not say.

    `counts` are pages, by the kernel's names in lower case, and `pagecache`, `ram`, `reserved`, `free_count` (pages
    without user, of old kernels). `gfp` are the bits, `gfp_names` their names. `hints` say how old the layout is.
    """

    line: int
    kind: str
    time: float | None = None
    release: str | None = None
    process: str | None = None
    pid: int | None = None
    bytes: int | None = None
    order: int | None = None
    gfp: int | None = None
    gfp_names: tuple[str, ...] = ()
    zones: tuple[Zone, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    hints: frozenset[str] = frozenset()
    warned: bool = False  # the kernel has warned that no block can be so large
    consequences: tuple[str, ...] = ()  # a loader that gave up


@dataclass(frozen=True)
class Reserved:
    """A range that memblock keeps: addresses of its first and its last byte, and who asked."""

    start: int
    end: int
    caller: str


@dataclass(frozen=True)
class Boot:
    """What boot lines say; sizes in kB. None or empty: they do not."""

    line: int = 0
    release: str | None = None
    machine: str | None = None
    ram_kb: int | None = None
    available_kb: int | None = None
    parts_kb: Mapping[str, int] = field(default_factory=dict)  # init, reserved, ... of the line "Memory:"
    freed_kb: int | None = None  # init memory given back later
    page_sizes: tuple[int, ...] = ()  # that hash tables show
    grouping: str | None = None  # "on", "off"
    total_pages: int | None = None
    memmap_pages: int | None = None
    zones: tuple[tuple[str, int, int], ...] = ()  # name, first and last byte
    ranges: tuple[tuple[int, int, int], ...] = ()  # node, first and last byte
    slub_orders: str | None = None
    cpus: int | None = None
    reserved: tuple[Reserved, ...] = ()

    @property
    def page_size(self) -> int | None:
        """In bytes."""
        return self.page_sizes[0] if self.page_sizes else None

    @property
    def managed_kb(self) -> int | None:
        """What the page allocator has once init memory is given back: as freed, else as large as the init section."""
        if self.available_kb is None:
            return None
        return self.available_kb + (self.freed_kb if self.freed_kb is not None else self.parts_kb.get("init", 0))

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be: such a boot says nothing about its memory."""
        if self.total_pages == 0:
            return ("Total pages: 0: this kernel has no memory to hand over; its other figures mean nothing",)
        return ()


@dataclass(frozen=True)
class Log:
    """All that was read of one text. There were `seen` reports; `reports` are those kept: all, or one in `stride`."""

    lines: int
    read: int
    reports: tuple[Report, ...]
    seen: int
    stride: int
    boots: tuple[Boot, ...]
    notes: Mapping[str, int]  # other lines that matter: kind -> how often
    unread: tuple[tuple[int, str], ...] = ()  # number and text, where asked for

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        return not (self.seen or self.boots or self.notes)
