"""A failure in the words and the layout in which the kernel reports it (6.1).

mm/page_alloc.c: warn_alloc(); mm/oom_kill.c: dump_header(); lib/show_mem.c: show_mem(); mm/page_alloc.c:
show_free_areas(); mm/nommu.c: do_mmap(); fs/binfmt_flat.c: load_flat_file(). Left out is what the model does not have:
the call trace, counters of the LRU lists, of slabs and of writeback, and the kernel's release.
"""

from __future__ import annotations

from itertools import pairwise

from mcsim.kernels.linux import gfp as gfp_bits
from mcsim.simulator.values import FREE, KERNEL_STACK, Ending, Snapshot

MIGRATETYPE_LETTERS = "UMEH"  # show_migration_types()
ENOMEM = 12
MARKS = ("min", "low", "high")

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
    (gfp_bits.GFP_ZERO, "__GFP_ZERO"),
    (gfp_bits.GFP_ATOMIC_BIT, "__GFP_ATOMIC"),
    (gfp_bits.GFP_DIRECT_RECLAIM, "__GFP_DIRECT_RECLAIM"),
    (gfp_bits.GFP_KSWAPD_RECLAIM, "__GFP_KSWAPD_RECLAIM"),
    (gfp_bits.GFP_NOWARN, "__GFP_NOWARN"),
    (gfp_bits.GFP_NORETRY, "__GFP_NORETRY"),
    (0x40000, "__GFP_COMP"),
    (gfp_bits.GFP_NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (gfp_bits.GFP_HARDWALL, "__GFP_HARDWALL"),
    (gfp_bits.GFP_ACCOUNT, "__GFP_ACCOUNT"),
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
    zone = memory.zone
    on_lists = sum(int(blocks.sum()) << order for order, blocks in enumerate(memory.free))
    free = int((memory.owner == FREE).sum())
    in_blocks = int((memory.free_order >= 0).sum())
    if not on_lists == zone.free == free == in_blocks:
        raise RuntimeError(
            f"free pages: {on_lists} on the lists, {zone.free} counted, {free} without owner, "
            f"{in_blocks} in free blocks"
        )
    marks = [zone.min, zone.low, zone.high]
    if not all(low <= high for low, high in pairwise([*marks, zone.present])):
        raise RuntimeError(f"watermarks out of order: {marks}")
    if not free <= zone.managed <= zone.present:
        raise RuntimeError(f"{free} pages free, {zone.managed} managed, {zone.present} present")


def free_list_line(memory: Snapshot) -> str:
    """`DMA: 0*8kB 1*16kB (U) ... = 10896kB`."""
    parts = ["DMA:"]
    kb = memory.page_size // 1024
    for order, blocks in enumerate(memory.free):
        parts.append(f"{blocks.sum()}*{kb << order}kB")
        letters = "".join(letter for letter, count in zip(MIGRATETYPE_LETTERS, blocks, strict=True) if count)
        if letters:
            parts.append(f"({letters})")
    kilobytes = sum(int(blocks.sum()) * (kb << order) for order, blocks in enumerate(memory.free))
    return f"{' '.join(parts)} = {kilobytes}kB"


def show_free_areas(memory: Snapshot) -> list[str]:
    """The lines of show_free_areas(), as far as the model has their figures."""
    check_sums(memory)
    zone = memory.zone

    def kb(pages: int) -> str:
        return f"{pages * memory.page_size // 1024}kB"

    marks = [f"{name}:{kb(getattr(zone, name) + zone.boost)}" for name in MARKS]
    figures = [
        f"DMA free:{kb(zone.free)}",
        f"boost:{kb(zone.boost)}",
        *(marks if zone.high else []),  # left out while the model has not set them
        f"reserved_highatomic:{zone.reserved_highatomic * memory.page_size // 1024}KB",
        f"present:{kb(zone.present)}",
        f"managed:{kb(zone.managed)}",
        f"free_pcp:{kb(zone.free_pcp)}",
    ]
    return [
        f" free:{zone.free} free_pcp:{zone.free_pcp} free_cma:0",
        f"Node 0 kernel_stack:{kb(int((memory.owner == KERNEL_STACK).sum()))}",
        " ".join(figures),
        "lowmem_reserve[]: 0 0 0",
        free_list_line(memory),
    ]


def mem_info(memory: Snapshot) -> list[str]:
    """What show_mem() prints."""
    zone = memory.zone
    return [
        "Mem-Info:",
        *show_free_areas(memory),
        f"{zone.present} pages RAM",
        "0 pages HighMem/MovableOnly",
        f"{zone.present - zone.managed} pages reserved",
    ]


def failure_report(ending: Ending, memory: Snapshot) -> list[str]:
    """The whole report of a failing boot; of one that reached its prompt, Mem-Info at that moment."""
    if not ending.failed:
        return mem_info(memory)
    comm, pid = ending.event.process.name, ending.event.process.pid
    mode = f"{ending.gfp:#x}({gfp_words(ending.gfp)})"
    if ending.stopped:
        head = ["(BUG_ON: a store into the maple tree ran out of nodes. The kernel stops here, without this report.)"]
    elif ending.meets_oom_killer:
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
