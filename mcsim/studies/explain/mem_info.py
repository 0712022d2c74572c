"""A failure in the words and the layout in which the kernel reports it (6.1).

mm/page_alloc.c: warn_alloc(); mm/oom_kill.c: dump_header(); lib/show_mem.c: show_mem(); mm/page_alloc.c:
show_free_areas(); mm/nommu.c: do_mmap(); fs/binfmt_flat.c: load_flat_file(). Left out is what the model does not have:
the call trace, counters of the LRU lists, of slabs and of writeback, and the kernel's release.
"""

from __future__ import annotations

from itertools import pairwise

from mcsim.kernels.boot import page_owner
from mcsim.kernels.linux import gfp as gfp_bits
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    NR_FREE_PAGES,
    NR_RESERVED_HIGHATOMIC,
    PAGE_ALLOC_COSTLY_ORDER,
    PCP_COUNT,
    WATERMARK_BOOST,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_END_PFN,
    ZONE_START_PFN,
)
from mcsim.simulator.walk import Ending, Snapshot

MIGRATETYPE_LETTERS = "UMEH"  # show_migration_types()
ENOMEM = 12
MARKS = {"min": WMARK_MIN, "low": WMARK_LOW, "high": WMARK_HIGH}

# As %pGg prints them: names of whole masks, the longest first, then single bits.
GFP_MASKS = (
    (0x100CC2, "GFP_HIGHUSER"),
    (0x400CC0, "GFP_KERNEL_ACCOUNT"),
    (0x100CC0, "GFP_USER"),
    (0xCC0, "GFP_KERNEL"),
)
GFP_ATOMIC = gfp_bits.GFP_ATOMIC, "GFP_ATOMIC"
GFP_NOWAIT = gfp_bits.GFP_NOWAIT, "GFP_NOWAIT"
GFP_BITS = (
    (0x02, "__GFP_HIGHMEM"),
    (gfp_bits.GFP_MOVABLE, "__GFP_MOVABLE"),
    (gfp_bits.GFP_RECLAIMABLE, "__GFP_RECLAIMABLE"),
    (gfp_bits.GFP_HIGH, "__GFP_HIGH"),
    (0x40, "__GFP_IO"),
    (0x80, "__GFP_FS"),
    (page_owner.GFP_ZERO, "__GFP_ZERO"),
    (gfp_bits.GFP_ATOMIC_BIT, "__GFP_ATOMIC"),
    (gfp_bits.GFP_DIRECT_RECLAIM, "__GFP_DIRECT_RECLAIM"),
    (gfp_bits.GFP_KSWAPD_RECLAIM, "__GFP_KSWAPD_RECLAIM"),
    (gfp_bits.GFP_NOWARN, "__GFP_NOWARN"),
    (gfp_bits.GFP_NORETRY, "__GFP_NORETRY"),
    (0x40000, "__GFP_COMP"),
    (gfp_bits.GFP_NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (page_owner.GFP_HARDWALL, "__GFP_HARDWALL"),
    (page_owner.GFP_ACCOUNT, "__GFP_ACCOUNT"),
)


def gfp_words(gfp: int) -> str:
    """`GFP_KERNEL|__GFP_ZERO`; bits without a name in hexadecimal."""
    if gfp == 0:
        return "none"
    names = []
    for mask, name in (*GFP_MASKS, GFP_ATOMIC, GFP_NOWAIT):
        if gfp & mask == mask:
            names.append(name)
            gfp &= ~mask
            break
    for bit, name in GFP_BITS:
        if gfp & bit:
            names.append(name)
            gfp &= ~bit
    return "|".join(names + ([f"{gfp:#x}"] if gfp else []))


def check_sums(memory: Snapshot) -> None:
    """RuntimeError unless free lists, NR_FREE_PAGES and the owners of the pages tell the same story."""
    on_lists = sum(int(memory.free[order].sum()) << order for order in range(memory.machine.max_order))
    counted = int(memory.scalar[NR_FREE_PAGES])
    free = int((memory.owner == page_owner.FREE).sum())
    in_blocks = int((memory.free_order >= 0).sum())
    if not on_lists == counted == free == in_blocks:
        raise RuntimeError(
            f"free pages: {on_lists} on the lists, {counted} counted, {free} without owner, {in_blocks} in free blocks"
        )
    marks = [int(memory.scalar[mark]) for mark in MARKS.values()]
    present = int(memory.scalar[ZONE_END_PFN] - memory.scalar[ZONE_START_PFN])
    if not all(low <= high for low, high in pairwise([*marks, present])):
        raise RuntimeError(f"watermarks out of order: {marks}")
    if not free <= int(memory.scalar[MANAGED_PAGES]) <= present:
        raise RuntimeError(f"{free} pages free, {memory.scalar[MANAGED_PAGES]} managed, {present} present")


def free_list_line(memory: Snapshot) -> str:
    """`DMA: 0*8kB 1*16kB (U) ... = 10896kB`."""
    kb_per_page = memory.machine.page_size // 1024
    parts = ["DMA:"]
    for order in range(memory.machine.max_order):
        blocks = memory.free[order]
        parts.append(f"{blocks.sum()}*{kb_per_page << order}kB")
        letters = "".join(letter for letter, count in zip(MIGRATETYPE_LETTERS, blocks, strict=True) if count)
        if letters:
            parts.append(f"({letters})")
    kilobytes = sum(int(memory.free[order].sum()) * (kb_per_page << order) for order in range(memory.machine.max_order))
    return f"{' '.join(parts)} = {kilobytes}kB"


def show_free_areas(memory: Snapshot) -> list[str]:
    """The lines of show_free_areas(), as far as the model has their figures."""
    check_sums(memory)
    scalar = memory.scalar
    kb_per_page = memory.machine.page_size // 1024

    def kb(pages: int) -> str:
        return f"{int(pages) * kb_per_page}kB"

    boost = int(scalar[WATERMARK_BOOST])
    stacks = int((memory.owner == page_owner.KERNEL_STACK).sum())
    present = scalar[ZONE_END_PFN] - scalar[ZONE_START_PFN]
    marks = [f"{name}:{kb(scalar[mark] + boost)}" for name, mark in MARKS.items()]
    zone = [
        f"DMA free:{kb(scalar[NR_FREE_PAGES])}",
        f"boost:{kb(boost)}",
        *(marks if scalar[WMARK_HIGH] else []),  # left out while the model has not set them
        f"reserved_highatomic:{int(scalar[NR_RESERVED_HIGHATOMIC]) * kb_per_page}KB",
        f"present:{kb(present)}",
        f"managed:{kb(scalar[MANAGED_PAGES])}",
        f"free_pcp:{kb(scalar[PCP_COUNT])}",
    ]
    return [
        f" free:{scalar[NR_FREE_PAGES]} free_pcp:{scalar[PCP_COUNT]} free_cma:0",
        f"Node 0 kernel_stack:{kb(stacks)}",
        " ".join(zone),
        "lowmem_reserve[]: 0 0 0",
        free_list_line(memory),
    ]


def mem_info(memory: Snapshot) -> list[str]:
    """What show_mem() prints."""
    present = int(memory.scalar[ZONE_END_PFN] - memory.scalar[ZONE_START_PFN])
    return [
        "Mem-Info:",
        *show_free_areas(memory),
        f"{present} pages RAM",
        "0 pages HighMem/MovableOnly",
        f"{present - int(memory.scalar[MANAGED_PAGES])} pages reserved",
    ]


def failure_report(ending: Ending, memory: Snapshot) -> list[str]:
    """The whole report of a failing boot; of one that reached its prompt, Mem-Info at that moment."""
    if not ending.failed:
        return mem_info(memory)
    comm, pid = ending.event.process.name, ending.event.process.pid
    mode = f"{ending.gfp:#x}({gfp_words(ending.gfp)})"
    if ending.stopped:
        head = ["(BUG_ON: a store into the maple tree ran out of nodes. The kernel stops here, without this report.)"]
    elif ending.gfp & gfp_bits.GFP_DIRECT_RECLAIM and ending.order <= PAGE_ALLOC_COSTLY_ORDER:
        # Such requests are never refused: the kernel kills processes instead.
        head = [f"{comm} invoked oom-killer: gfp_mask={mode}, order={ending.order}, oom_score_adj=0"]
    else:
        head = [f"{comm}: page allocation failure: order:{ending.order}, mode:{mode}, nodemask=(null)"]
    lines = [*head, f"CPU: 0 PID: {pid} Comm: {comm}", *mem_info(memory)]
    if ending.length:
        lines.append(f"nommu: Allocation of length {ending.length} from process {pid} ({comm}) failed")
        lines += show_free_areas(memory)
    if ending.is_exec and ending.length:
        lines.append(f"binfmt_flat: Unable to allocate RAM for process text/data, errno -{ENOMEM}")
    return lines
