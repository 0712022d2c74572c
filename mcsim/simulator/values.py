"""What a simulated boot is told in: owners of pages, processes, events, endings, memory at one moment. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot import page_owner
from mcsim.kernels.linux.gfp import GFP_DIRECT_RECLAIM
from mcsim.kernels.linux.page_alloc import PAGE_ALLOC_COSTLY_ORDER

FREE, PROCESS_IMAGE, KERNEL_STACK = page_owner.FREE, page_owner.PROCESS_IMAGE, page_owner.KERNEL_STACK


class Owner(NamedTuple):
    """`name` for tables, `letter` for maps in a terminal, `colour` for pictures."""

    number: int
    name: str
    letter: str
    colour: str


# Colours that stand beside each other often are those of Okabe and Ito, told apart by colour-blind readers; what was
# there before /init and never goes is grey.
OWNERS = (
    Owner(page_owner.FREE, "free", ".", "#FFFFFF"),
    Owner(page_owner.KERNEL_IMAGE, "kernel image", "K", "#4D4D4D"),
    Owner(page_owner.BOOT_TABLES, "boot tables", "T", "#6E6E6E"),
    Owner(page_owner.PRE_INIT, "kernel before init", "k", "#9A9A9A"),
    Owner(page_owner.SLAB, "slabs", "S", "#7B3FA0"),
    Owner(page_owner.BULK_PAGES, "bulk pages (network)", "n", "#D55E00"),
    Owner(page_owner.OTHER_PAGES, "other kernel pages", "o", "#8C510A"),
    Owner(page_owner.PAGE_CACHE, "page cache", "c", "#009E73"),
    Owner(page_owner.KERNEL_STACK, "kernel stacks", "s", "#CC79A7"),
    Owner(page_owner.ARGUMENTS, "argument pages", "a", "#000000"),
    Owner(page_owner.MAPLE_NODES, "maple nodes", "m", "#F0E442"),
    Owner(page_owner.MAPPING_SLABS, "VMAs and regions", "v", "#C6DB86"),
    Owner(page_owner.TASK_SLABS, "task slabs", "t", "#0072B2"),
    Owner(page_owner.PROCESS_IMAGE, "process images", "P", "#A6D5F5"),
    Owner(page_owner.MAPPING, "other mappings", "h", "#E69F00"),
    Owner(page_owner.UNKNOWN, "not accounted for", "?", "#FF00FF"),
)
BEFORE_INIT = (page_owner.KERNEL_IMAGE, page_owner.BOOT_TABLES, page_owner.PRE_INIT)
# Whose pages belong to one process each.
OF_A_PROCESS = (page_owner.KERNEL_STACK, page_owner.ARGUMENTS, page_owner.PROCESS_IMAGE, page_owner.MAPPING)


def owner_set(bits: int) -> tuple[str, ...]:
    """The names of a set of owners, see `mcsim.kernels.boot.page_owner.Blame.together`."""
    return tuple(each.name for each in OWNERS if each.number and bits >> (each.number - 1) & 1)


@dataclass(frozen=True)
class Process:
    """A process of a recording; pid 0 for the kernel itself."""

    pid: int
    name: str

    def __str__(self) -> str:
        """`ifup (75)`."""
        return f"{self.name} ({self.pid})" if self.pid else self.name


@dataclass(frozen=True)
class Event:
    """One entry of the stream: when (microseconds since the kernel started /init), who, and what in words."""

    position: int
    time_us: int
    process: Process
    words: str


@dataclass(frozen=True)
class Ending:
    """How a boot ended. Without failure: at its login prompt, and `order` is that of its largest process image.

    failed_class: 0 or one of `mcsim.model.failures.FAILURES`. length: bytes that the failing mapping asked for, 0 if
    it was none. gfp: GFP bits of the failing request. stopped: a store into the maple tree ran out of nodes (BUG_ON).
    """

    event: Event
    failed_class: int
    order: int
    length: int
    gfp: int
    is_exec: bool
    stopped: bool

    @property
    def failed(self) -> bool:
        """Whether it did not reach the prompt."""
        return self.failed_class != 0

    @property
    def meets_oom_killer(self) -> bool:
        """Whether the kernel never refuses such a request: it kills processes instead."""
        return bool(self.gfp & GFP_DIRECT_RECLAIM) and self.order <= PAGE_ALLOC_COSTLY_ORDER


class ZoneFigures(NamedTuple):
    """What the zone counts, in pages; the watermarks min, low and high without `boost`."""

    free: int
    managed: int
    present: int
    reserved_highatomic: int
    free_pcp: int
    boost: int
    min: int
    low: int
    high: int


@dataclass(frozen=True)
class Snapshot:
    """Memory at one moment.

    owner: uint8[pages], `Owner.number`. lane: int32[pages], a key of `processes` where a page belongs to
    a process, else -1. free_order: int8[pages], order of the free block that a page is in, -1 if it is in use. free:
    int64[MAX_ORDER, MIGRATE_TYPES], free blocks. Sizes are of bytes: page_size; and of pages: pageblock.
    """

    owner: NDArray[np.uint8]
    lane: NDArray[np.int32]
    processes: dict[int, Process]
    free_order: NDArray[np.int8]
    free: NDArray[np.int64]
    zone: ZoneFigures
    page_size: int
    pageblock: int

    @property
    def pages(self) -> int:
        """Pages of the zone."""
        return len(self.owner)


class Moment(NamedTuple):
    """How a boot stands after an entry of its stream: one entry of a timeline.

    blocks: how many blocks of the asked-for order the free ones hold (fill_contig_page_info() of mm/vmstat.c:
    free_blocks_suitable). processes: those with mappings.
    """

    time_us: int
    free_pages: int
    largest_order: int
    blocks: int
    processes: int
