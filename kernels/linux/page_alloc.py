"""The buddy allocator of Linux 6.1 (mm/page_alloc.c) for one zone on one CPU.

All page frame numbers (pfn) are relative to the start of RAM, which lies on a pageblock boundary. A free
list is the circular doubly linked list of Linux: a page's links are `next[pfn]` and `prev[pfn]`, and the
list heads are stored behind the pages in the same two arrays, so that no operation has a special case for
the first or the last entry.

Left out, because a machine without MMU has none of it or because it cannot move a page there: NUMA, CMA,
isolation, compaction, huge pages, more than one zone, reclaim, the OOM killer. So pageblock_order is
MAX_ORDER - 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import inlined_kernel, kernel, seldom_kernel
from mcsim.kernels.linux.gfp import (
    GFP_DIRECT_RECLAIM,
    GFP_HIGH,
    GFP_KSWAPD_RECLAIM,
    GFP_MOVABLE_MASK,
    GFP_MOVABLE_SHIFT,
    GFP_NOMEMALLOC,
)
from mcsim.kernels.linux.machine import EXACT_TAIL_TAIL, MAX_ORDER_LIMIT, Machine, Policy

MIGRATE_UNMOVABLE = 0
MIGRATE_MOVABLE = 1
MIGRATE_RECLAIMABLE = 2
MIGRATE_PCPTYPES = 3  # the number of types on the per-CPU lists
MIGRATE_HIGHATOMIC = 3
MIGRATE_TYPES = 4

PAGE_ALLOC_COSTLY_ORDER = 3  # the highest order that the per-CPU lists hold
NR_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
PCP_BATCH_SCALE_MAX = 5
NR_FREE_LISTS = MAX_ORDER_LIMIT * MIGRATE_TYPES
NR_LISTS = NR_FREE_LISTS + NR_PCP_LISTS

FPI_NONE = 0
FPI_TO_TAIL = 2

# alloc_flags (mm/internal.h, 6.1.y)
ALLOC_WMARK_MIN = 0
ALLOC_WMARK_LOW = 1
ALLOC_WMARK_MASK = 3
ALLOC_NO_WATERMARKS = 0x4
ALLOC_OOM = 0x8  # without an MMU it is the bit ALLOC_NO_WATERMARKS: both are set here
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

# What alloc_pages() tries after get_page_from_freelist() has failed at the low mark: the bits of
# scalar[SLOWPATH].
SLOWPATH_WMARK_MIN = 1  # once more at the min mark, with the reserves that the GFP bits allow
SLOWPATH_UNRESERVE = 2  # give back a HIGHATOMIC pageblock, drain the per-CPU lists, once more
SLOWPATH_NO_WATERMARKS = 4  # once more without any mark

WATERMARK_SCALE_FACTOR = 10  # per 10,000 of the managed pages
WATERMARK_BOOST_FACTOR = 15000  # per 10,000 of the high mark

# Indices of Zone.scalar. Pages unless said otherwise.
ZONE_START_PFN = 0  # first page of the zone
ZONE_END_PFN = 1  # first page behind the zone
MANAGED_PAGES = 2
NR_FREE_PAGES = 3
WMARK_MIN = 4
WMARK_LOW = 5
WMARK_HIGH = 6
WMARK_PROMO = 7
WATERMARK_BOOST = 8
NR_RESERVED_HIGHATOMIC = 9
PAGE_GROUP_BY_MOBILITY_DISABLED = 10  # 0 or 1
PCP_COUNT = 11
PCP_HIGH = 12
PCP_BATCH = 13
PCP_FREE_FACTOR = 14  # a power of two
PAGESET_HIGH = 15  # the zone's own copies, which tell zone_pcp_update() whether anything has changed
PAGESET_BATCH = 16
ZONE_RECLAIM_ACTIVE = 17  # 0 or 1
ZONE_BOOSTED_WATERMARK = 18  # 0 or 1: kswapd has been woken to work the boost off
MIN_FREE_KBYTES = 19
SLOWPATH = 20  # SLOWPATH_* bits
NR_SCALARS = 24


class Zone(NamedTuple):
    """struct zone, its pages and its per-CPU lists; P = pages of the zone, rounded up to whole pageblocks.

    `next`, `prev`: int32[P + NR_LISTS], links of pages and list heads. Head of the free list of an order
    and a migratetype: P + order * MIGRATE_TYPES + migratetype; head of per-CPU list i: P + NR_FREE_LISTS + i.
    `order`: int8[P], order of the free block that begins at this page, -1 if none does.
    `lru`: uint8[P], 1 while the page is allocated and on an LRU list, that is movable; see `folio_add_lru`.
    `pcppage_migratetype`: int8[P], list that a page on a per-CPU list goes to when it is flushed.
    `pageblock`: int8[P / pages of a pageblock], migratetype of each pageblock.
    `nr_free`: int64[MAX_ORDER_LIMIT], free blocks of each order.
    `scalar`: int64[NR_SCALARS], see the indices above.
    """

    next: NDArray[np.int32]
    prev: NDArray[np.int32]
    order: NDArray[np.int8]
    lru: NDArray[np.uint8]
    pcppage_migratetype: NDArray[np.int8]
    pageblock: NDArray[np.int8]
    nr_free: NDArray[np.int64]
    scalar: NDArray[np.int64]
    machine: Machine
    policy: Policy


def make_zone(start_pfn: int, end_pfn: int, machine: Machine, policy: Policy) -> Zone:
    """A zone of the pages [start_pfn, end_pfn), all of them still with memblock (`reset_zone`).

    Raises ValueError if the range is empty or `start_pfn` is not inside the first pageblock.
    """
    pageblock_nr_pages = 1 << machine.pageblock_order
    if not 0 <= start_pfn < min(end_pfn, pageblock_nr_pages):
        raise ValueError(f"[{start_pfn}, {end_pfn}) is empty or begins behind the first pageblock")
    pageblocks = -(-end_pfn // pageblock_nr_pages)
    pages = pageblocks * pageblock_nr_pages
    zone = Zone(
        next=np.zeros(pages + NR_LISTS, np.int32),
        prev=np.zeros(pages + NR_LISTS, np.int32),
        order=np.full(pages, -1, np.int8),
        lru=np.zeros(pages, np.uint8),
        pcppage_migratetype=np.zeros(pages, np.int8),
        pageblock=np.zeros(pageblocks, np.int8),
        nr_free=np.zeros(MAX_ORDER_LIMIT, np.int64),
        scalar=np.zeros(NR_SCALARS, np.int64),
        machine=machine,
        policy=policy,
    )
    reset_zone(zone, start_pfn, end_pfn)
    return zone


@inlined_kernel
def pageblock_nr_pages(zone: Zone) -> int:
    """Pages of a pageblock."""
    return int(1 << zone.machine.pageblock_order)


@kernel
def reset_zone(zone: Zone, start_pfn: int, end_pfn: int) -> None:
    """The zone [start_pfn, end_pfn) after free_area_init(): no page free, no marks, boot pageset.

    `end_pfn` may be smaller than the one given to `make_zone`, so one zone serves several RAM sizes. Every
    pageblock that begins inside the zone is MOVABLE, as memmap_init_range() leaves it.
    """
    zone.order[:] = -1
    zone.lru[:] = 0
    zone.nr_free[:] = 0
    pages = zone.order.shape[0]
    for head in range(pages, pages + NR_LISTS):
        zone.next[head] = head
        zone.prev[head] = head
    for block in range(zone.pageblock.shape[0]):
        first = block * pageblock_nr_pages(zone)
        inside = start_pfn <= first and first < end_pfn
        zone.pageblock[block] = MIGRATE_MOVABLE if inside else MIGRATE_UNMOVABLE
    scalar = zone.scalar
    scalar[:] = 0
    scalar[ZONE_START_PFN] = start_pfn
    scalar[ZONE_END_PFN] = end_pfn
    scalar[PCP_BATCH] = 1
    scalar[PAGESET_BATCH] = 1
    scalar[MIN_FREE_KBYTES] = 1024
    scalar[SLOWPATH] = SLOWPATH_WMARK_MIN


@kernel
def copy_zone(destination: Zone, source: Zone) -> None:
    """Make `destination` equal to `source`; both must come from `make_zone` with the same end."""
    for i in range(source.next.shape[0]):
        destination.next[i] = source.next[i]
        destination.prev[i] = source.prev[i]
    for i in range(source.order.shape[0]):
        destination.order[i] = source.order[i]
        destination.lru[i] = source.lru[i]
        destination.pcppage_migratetype[i] = source.pcppage_migratetype[i]
    for i in range(source.pageblock.shape[0]):
        destination.pageblock[i] = source.pageblock[i]
    for i in range(MAX_ORDER_LIMIT):
        destination.nr_free[i] = source.nr_free[i]
    for i in range(NR_SCALARS):
        destination.scalar[i] = source.scalar[i]


@kernel
def build_all_zonelists(zone: Zone) -> None:
    """Decide whether pages are grouped by mobility: not if the zone less its memmap has under 4 pageblocks.

    Runs before memblock_free_all() in 6.1. It comes too late for the pageblocks: they stay MOVABLE
    (`reset_zone`).
    """
    vm_total_pages = zone.scalar[ZONE_END_PFN] - zone.scalar[ZONE_START_PFN] - zone.machine.memmap_pages
    disabled = vm_total_pages < pageblock_nr_pages(zone) * MIGRATE_TYPES
    zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = 1 if disabled else 0


@kernel
def gfp_migratetype(zone: Zone, gfp: int) -> int:
    """The migratetype a request asks for; UNMOVABLE for every request while grouping is disabled."""
    if zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]:
        return MIGRATE_UNMOVABLE
    return (gfp & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT


@kernel
def get_pageblock_migratetype(zone: Zone, pfn: int) -> int:
    """The migratetype of the pageblock that holds `pfn`."""
    return int(zone.pageblock[pfn >> zone.machine.pageblock_order])


@kernel
def set_pageblock_migratetype(zone: Zone, pfn: int, migratetype: int) -> None:
    """Set the pageblock's type; without grouping it becomes UNMOVABLE unless HIGHATOMIC is asked for."""
    if zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] and migratetype < MIGRATE_PCPTYPES:
        migratetype = MIGRATE_UNMOVABLE
    zone.pageblock[pfn >> zone.machine.pageblock_order] = migratetype


@kernel
def free_area(zone: Zone, order: int, migratetype: int) -> int:
    """The list head of free_area[order].free_list[migratetype]."""
    return zone.order.shape[0] + order * MIGRATE_TYPES + migratetype


@kernel
def free_area_empty(zone: Zone, order: int, migratetype: int) -> bool:
    """True if that free list has no entry."""
    head = free_area(zone, order, migratetype)
    return bool(zone.next[head] == head)


@kernel
def list_add(zone: Zone, entry: int, head: int) -> None:
    """Insert `entry` at the head of a list."""
    first = int(zone.next[head])
    zone.next[entry] = first
    zone.prev[entry] = head
    zone.prev[first] = entry
    zone.next[head] = entry


@kernel
def list_add_tail(zone: Zone, entry: int, head: int) -> None:
    """Insert `entry` at the tail of a list."""
    last = int(zone.prev[head])
    zone.next[entry] = head
    zone.prev[entry] = last
    zone.next[last] = entry
    zone.prev[head] = entry


@kernel
def list_del(zone: Zone, entry: int) -> None:
    """Take `entry` off the list it is on."""
    after = int(zone.next[entry])
    before = int(zone.prev[entry])
    zone.next[before] = after
    zone.prev[after] = before


@kernel
def del_page_from_free_list(zone: Zone, pfn: int, order: int) -> None:
    """Take a free block off its list."""
    list_del(zone, pfn)
    zone.order[pfn] = -1
    zone.nr_free[order] -= 1


@kernel
def move_to_free_list(zone: Zone, pfn: int, order: int, migratetype: int) -> None:
    """Move a free block to the tail of another type's list."""
    list_del(zone, pfn)
    list_add_tail(zone, pfn, free_area(zone, order, migratetype))


@kernel
def buddy_merge_likely(zone: Zone, pfn: int, buddy_pfn: int, order: int) -> bool:
    """True if the buddy one order up is free: then the block waits at the tail to be merged with it."""
    if order >= zone.machine.max_order - 2:
        return False
    higher_buddy_pfn = (pfn & buddy_pfn) ^ (2 << order)
    return bool(zone.order[higher_buddy_pfn] == order + 1)


@inlined_kernel
def done_merging(zone: Zone, pfn: int, buddy_pfn: int, order: int, migratetype: int, fpi_flags: int) -> None:
    """Put a block on the list of `migratetype` (__free_one_page, from its label of this name on).

    At the tail for FPI_TO_TAIL or if a further merge is likely, else at the head.
    """
    zone.order[pfn] = order
    zone.nr_free[order] += 1
    head = free_area(zone, order, migratetype)
    if fpi_flags & FPI_TO_TAIL or buddy_merge_likely(zone, pfn, buddy_pfn, order):
        list_add_tail(zone, pfn, head)
    else:
        list_add(zone, pfn, head)


@inlined_kernel
def __free_one_page(zone: Zone, pfn: int, order: int, migratetype: int, fpi_flags: int) -> None:
    """Free a block, merge it with its free buddies and put the result on the list of `migratetype`."""
    zone.scalar[NR_FREE_PAGES] += 1 << order
    buddy_pfn = pfn
    while order < zone.machine.max_order - 1:
        buddy_pfn = pfn ^ (1 << order)
        # No bound to check: at these orders a buddy lies in the same pageblock, and the arrays hold whole
        # pageblocks.
        if zone.order[buddy_pfn] != order:
            break
        del_page_from_free_list(zone, buddy_pfn, order)
        pfn &= buddy_pfn
        order += 1
    done_merging(zone, pfn, buddy_pfn, order, migratetype, fpi_flags)


@inlined_kernel
def free_shrinking_run(zone: Zone, start: int, end: int, top: int, fpi_flags: int) -> None:
    """The blocks from `start` to `end` of a run, each smaller than the one before; the first is of order `top`.

    `start` is a multiple of 2 << top. So the buddy of each block holds all pages behind it, which makes them merge
    with each other only when the last one comes: what it takes in need not be put on a list before.
    """
    migratetype = get_pageblock_migratetype(zone, start)
    zone.scalar[NR_FREE_PAGES] += end - start
    order = 0
    while not end & (1 << order):
        order += 1
    pfn = end - (1 << order)
    buddy_pfn = pfn
    while order < zone.machine.max_order - 1:
        buddy_pfn = pfn ^ (1 << order)
        if not start <= buddy_pfn < pfn:
            if zone.order[buddy_pfn] != order:
                break
            del_page_from_free_list(zone, buddy_pfn, order)
        pfn &= buddy_pfn
        order += 1
    while start < pfn:
        while start + (1 << top) > pfn:
            top -= 1
        done_merging(zone, start, start + (1 << top), top, migratetype, fpi_flags)
        start += 1 << top
    done_merging(zone, pfn, buddy_pfn, order, migratetype, fpi_flags)


@kernel
def free_one_page_run(zone: Zone, pfn: int, pages: int, fpi_flags: int) -> None:
    """Free `pages` allocated pages ascending from `pfn`, straight to the buddy lists.

    Leaves what single order-0 frees in this order leave, list by list: until the last page of an aligned
    power of two comes, its pages can only merge with each other, and every list entry made on the way is
    taken off again. So one free of each largest aligned block is the same, with a fraction of the work.
    """
    end = pfn + pages
    order = 0
    while pfn < end:
        while pfn + (1 << order) > end:
            order -= 1
        while order < zone.machine.max_order - 1 and not pfn & (1 << order) and pfn + (2 << order) <= end:
            order += 1
        if order < zone.machine.max_order - 1 and not pfn & (1 << order):
            free_shrinking_run(zone, pfn, end, order, fpi_flags)
            return
        __free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn), fpi_flags)
        pfn += 1 << order


@kernel
def expand(zone: Zone, pfn: int, low: int, high: int, migratetype: int) -> None:
    """Cut a block of order `high` down to its first 2^low pages; the upper halves go to list heads.

    These lists are empty: the search for a block has come past them.
    """
    while high > low:
        high -= 1
        half = pfn + (1 << high)
        head = free_area(zone, high, migratetype)
        zone.order[half] = high
        zone.nr_free[high] += 1
        zone.next[half] = head
        zone.prev[half] = head
        zone.next[head] = half
        zone.prev[head] = half


@inlined_kernel
def __rmqueue_smallest(zone: Zone, order: int, migratetype: int) -> int:
    """Take the head of the lowest order that has a block of this type; pfn or -1."""
    for current_order in range(order, zone.machine.max_order):
        head = free_area(zone, current_order, migratetype)
        pfn = int(zone.next[head])
        if pfn == head:
            continue
        del_page_from_free_list(zone, pfn, current_order)
        expand(zone, pfn, order, current_order, migratetype)
        return pfn
    return -1


@kernel
def move_freepages_block(zone: Zone, pfn: int, migratetype: int) -> tuple[int, int]:
    """Move every free block of the pageblock to the tail of its list of `migratetype`, by ascending pfn.

    Returns the free and the movable pages found. (0, 0), with nothing moved, if the pageblock's end is not
    in the zone.
    """
    start_pfn = pfn & ~(pageblock_nr_pages(zone) - 1)
    end_pfn = start_pfn + pageblock_nr_pages(zone)
    free_pages = 0
    movable_pages = 0
    if end_pfn > zone.scalar[ZONE_END_PFN]:
        return free_pages, movable_pages
    if start_pfn < zone.scalar[ZONE_START_PFN]:
        start_pfn = pfn
    while start_pfn < end_pfn:
        order = int(zone.order[start_pfn])
        if order < 0:
            movable_pages += int(zone.lru[start_pfn])
            start_pfn += 1
            continue
        move_to_free_list(zone, start_pfn, order, migratetype)
        start_pfn += 1 << order
        free_pages += 1 << order
    return free_pages, movable_pages


@kernel
def boost_watermark(zone: Zone) -> bool:
    """Raise all marks by a pageblock, so that kswapd makes room; not in zones below four pageblocks."""
    scalar = zone.scalar
    if scalar[MANAGED_PAGES] < pageblock_nr_pages(zone) * 4:
        return False
    max_boost = scalar[WMARK_HIGH] * WATERMARK_BOOST_FACTOR // 10000
    if max_boost == 0:
        return False
    max_boost = max(pageblock_nr_pages(zone), max_boost)
    scalar[WATERMARK_BOOST] = min(scalar[WATERMARK_BOOST] + pageblock_nr_pages(zone), max_boost)
    return True


@kernel
def kswapd(zone: Zone) -> None:
    """balance_pgdat() as far as it matters here: the boost is worked off (nothing is reclaimed)."""
    zone.scalar[WATERMARK_BOOST] = 0
    zone.scalar[ZONE_BOOSTED_WATERMARK] = 0


@kernel
def steal_suitable_fallback(zone: Zone, pfn: int, alloc_flags: int, start_type: int, whole_block: bool) -> None:
    """Bring a free block of another type, and if allowed all of its pageblock, under `start_type`."""
    current_order = int(zone.order[pfn])
    old_block_type = get_pageblock_migratetype(zone, pfn)
    free_pages = 0
    if old_block_type == MIGRATE_HIGHATOMIC:
        pass  # only the single block, or the reserve would be counted wrongly
    elif current_order >= zone.machine.pageblock_order:
        set_pageblock_migratetype(zone, pfn, start_type)
    else:
        if boost_watermark(zone) and alloc_flags & ALLOC_KSWAPD:
            zone.scalar[ZONE_BOOSTED_WATERMARK] = 1
        if whole_block:
            free_pages, movable_pages = move_freepages_block(zone, pfn, start_type)
            if start_type == MIGRATE_MOVABLE:
                alike_pages = movable_pages
            elif old_block_type == MIGRATE_MOVABLE:
                alike_pages = pageblock_nr_pages(zone) - (free_pages + movable_pages)
            else:
                alike_pages = 0
            enough = free_pages + alike_pages >= pageblock_nr_pages(zone) // 2
            if free_pages and (enough or zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]):
                set_pageblock_migratetype(zone, pfn, start_type)
    if free_pages == 0:
        move_to_free_list(zone, pfn, current_order, start_type)


@kernel
def fallbacks(migratetype: int, i: int) -> int:
    """The type to fall back to in the first (i = 0) and the second (i = 1) place."""
    if migratetype == MIGRATE_RECLAIMABLE:
        return MIGRATE_UNMOVABLE if i == 0 else MIGRATE_MOVABLE
    if i == 0:
        return MIGRATE_RECLAIMABLE
    return MIGRATE_MOVABLE if migratetype == MIGRATE_UNMOVABLE else MIGRATE_UNMOVABLE


@kernel
def can_steal_fallback(zone: Zone, order: int, start_type: int) -> bool:
    """True if the whole pageblock may be taken over, not only the one block."""
    return bool(
        order >= zone.machine.pageblock_order // 2
        or start_type != MIGRATE_MOVABLE
        or zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] != 0
    )


@kernel
def find_suitable_fallback(zone: Zone, order: int, migratetype: int) -> int:
    """The first type, in fallback order, with a free block of exactly this order; -1 if there is none."""
    if zone.nr_free[order] == 0:
        return -1
    for i in range(2):
        fallback = fallbacks(migratetype, i)
        if not free_area_empty(zone, order, fallback):
            return fallback
    return -1


@seldom_kernel
def __rmqueue_fallback(zone: Zone, order: int, start_type: int, alloc_flags: int) -> bool:
    """Steal the largest block of another type for `start_type`; False if there is none of `order` or above.

    A MOVABLE request that may not take over the pageblock steals the smallest block that is large enough
    instead.
    """
    current_order = zone.machine.max_order - 1
    fallback = -1
    while current_order >= order:
        fallback = find_suitable_fallback(zone, current_order, start_type)
        if fallback != -1:
            break
        current_order -= 1
    if fallback == -1:
        return False
    if current_order > order and not can_steal_fallback(zone, current_order, start_type):
        current_order = order
        fallback = find_suitable_fallback(zone, current_order, start_type)
        while fallback == -1:
            current_order += 1
            fallback = find_suitable_fallback(zone, current_order, start_type)
    pfn = int(zone.next[free_area(zone, current_order, fallback)])
    can_steal = can_steal_fallback(zone, current_order, start_type)
    steal_suitable_fallback(zone, pfn, alloc_flags, start_type, can_steal)
    return True


@inlined_kernel
def __rmqueue(zone: Zone, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a block off the free lists, stealing from other types if need be; pfn or -1."""
    while True:
        pfn = __rmqueue_smallest(zone, order, migratetype)
        # A steal may bring in smaller blocks than the one stolen, so the search begins again from the bottom.
        if pfn != -1 or not __rmqueue_fallback(zone, order, migratetype, alloc_flags):
            return pfn


@kernel
def order_to_pindex(migratetype: int, order: int) -> int:
    """The per-CPU list of an order and a migratetype."""
    return MIGRATE_PCPTYPES * order + migratetype


@kernel
def pcp_list(zone: Zone, pindex: int) -> int:
    """The list head of pcp->lists[pindex]."""
    return zone.order.shape[0] + NR_FREE_LISTS + pindex


@seldom_kernel
def rmqueue_bulk(zone: Zone, order: int, count: int, pindex: int, migratetype: int, alloc_flags: int) -> int:
    """Put up to `count` blocks at the tail of a per-CPU list; returns how many."""
    allocated = 0
    while allocated < count:
        pfn = __rmqueue(zone, order, migratetype, alloc_flags)
        if pfn == -1:
            break
        zone.pcppage_migratetype[pfn] = migratetype
        list_add_tail(zone, pfn, pcp_list(zone, pindex))
        allocated += 1
    zone.scalar[NR_FREE_PAGES] -= allocated << order
    return allocated


@seldom_kernel
def rmqueue_pcplist(zone: Zone, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a block off the per-CPU list, which is filled from the buddy lists when empty; pfn or -1."""
    scalar = zone.scalar
    scalar[PCP_FREE_FACTOR] >>= 1
    batch = scalar[PCP_BATCH]
    pindex = order_to_pindex(migratetype, order)
    head = pcp_list(zone, pindex)
    if zone.next[head] == head:
        if batch > 1:
            batch = max(batch >> order, 2)
        scalar[PCP_COUNT] += rmqueue_bulk(zone, order, batch, pindex, migratetype, alloc_flags) << order
    pfn = int(zone.next[head])
    if pfn == head:
        return -1
    list_del(zone, pfn)
    scalar[PCP_COUNT] -= 1 << order
    return pfn


@seldom_kernel
def rmqueue_buddy(zone: Zone, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a block off the buddy lists; pfn or -1.

    Requests with ALLOC_HIGHATOMIC look into the HIGHATOMIC reserve first; OOM victims and, since 281dd25c1a01 (6.1.y
    too), any that may not wait look there last.
    """
    pfn = -1
    if order > 0 and alloc_flags & ALLOC_HIGHATOMIC:
        pfn = __rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
    if pfn == -1:
        pfn = __rmqueue(zone, order, migratetype, alloc_flags)
        if pfn == -1 and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            pfn = __rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
    if pfn != -1:
        zone.scalar[NR_FREE_PAGES] -= 1 << order
    return pfn


@inlined_kernel
def rmqueue(zone: Zone, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a block, orders up to PAGE_ALLOC_COSTLY_ORDER through the per-CPU lists; pfn or -1."""
    scalar = zone.scalar
    through_pcp = order <= PAGE_ALLOC_COSTLY_ORDER
    # An empty per-CPU list of batch 1 would be filled with one block and emptied again.
    straight = not alloc_flags & ALLOC_HIGHATOMIC
    if through_pcp:
        straight = scalar[PCP_COUNT] == 0 and scalar[PCP_BATCH] == 1
    pfn = -1
    if straight:
        if through_pcp:
            scalar[PCP_FREE_FACTOR] >>= 1
        pfn = __rmqueue(zone, order, migratetype, alloc_flags)
        if pfn != -1:
            scalar[NR_FREE_PAGES] -= 1 << order
    elif through_pcp:
        pfn = rmqueue_pcplist(zone, order, migratetype, alloc_flags)
    if pfn == -1:
        pfn = rmqueue_buddy(zone, order, migratetype, alloc_flags)
    return pfn


@kernel
def __zone_watermark_unusable_free(zone: Zone, order: int, alloc_flags: int) -> int:
    """The pages that count as free but that this request cannot use."""
    unusable_free = (1 << order) - 1
    if not alloc_flags & ALLOC_RESERVES:
        unusable_free += zone.scalar[NR_RESERVED_HIGHATOMIC]
    return unusable_free


@inlined_kernel
def zone_watermark_ok(zone: Zone, order: int, mark: int, alloc_flags: int) -> bool:
    """__zone_watermark_ok(): True if the zone stays above `mark` pages and has a block of `order`."""
    free_pages = zone.scalar[NR_FREE_PAGES] - __zone_watermark_unusable_free(zone, order, alloc_flags)
    if alloc_flags & ALLOC_MIN_RESERVE:
        mark -= mark // 2
        if alloc_flags & ALLOC_NON_BLOCK:
            mark -= mark // 4
    if alloc_flags & ALLOC_OOM:
        mark -= mark // 2
    if free_pages <= mark:
        return False
    if order == 0:
        return True
    for current_order in range(order, zone.machine.max_order):
        if zone.nr_free[current_order] == 0:
            continue
        for migratetype in range(MIGRATE_PCPTYPES):
            if not free_area_empty(zone, current_order, migratetype):
                return True
        if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) and not free_area_empty(
            zone, current_order, MIGRATE_HIGHATOMIC
        ):
            return True
    return False


@inlined_kernel
def zone_watermark_fast(zone: Zone, order: int, mark: int, alloc_flags: int) -> bool:
    """zone_watermark_ok() with the short cut for single pages; an atomic single page ignores the boost."""
    scalar = zone.scalar
    if order == 0 and scalar[NR_FREE_PAGES] - __zone_watermark_unusable_free(zone, 0, alloc_flags) > mark:
        return True
    if zone_watermark_ok(zone, order, mark, alloc_flags):
        return True
    at_min = alloc_flags & ALLOC_WMARK_MASK == ALLOC_WMARK_MIN
    if order == 0 and alloc_flags & ALLOC_MIN_RESERVE and scalar[WATERMARK_BOOST] and at_min:
        return zone_watermark_ok(zone, order, scalar[WMARK_MIN], alloc_flags)
    return False


@seldom_kernel
def reserve_highatomic_pageblock(zone: Zone, pfn: int) -> None:
    """Reserve this pageblock for atomic requests of order 1 and above, up to about 1 % of the zone."""
    scalar = zone.scalar
    max_managed = scalar[MANAGED_PAGES] // 100 + pageblock_nr_pages(zone)
    if scalar[NR_RESERVED_HIGHATOMIC] >= max_managed:
        return
    if get_pageblock_migratetype(zone, pfn) < MIGRATE_PCPTYPES:
        scalar[NR_RESERVED_HIGHATOMIC] += pageblock_nr_pages(zone)
        set_pageblock_migratetype(zone, pfn, MIGRATE_HIGHATOMIC)
        move_freepages_block(zone, pfn, MIGRATE_HIGHATOMIC)


@seldom_kernel
def unreserve_highatomic_pageblock(zone: Zone, migratetype: int, force: bool) -> bool:
    """Give the first HIGHATOMIC pageblock with a free page to `migratetype`; the last one only by `force`."""
    scalar = zone.scalar
    if not force and scalar[NR_RESERVED_HIGHATOMIC] <= pageblock_nr_pages(zone):
        return False
    for order in range(zone.machine.max_order):
        head = free_area(zone, order, MIGRATE_HIGHATOMIC)
        pfn = int(zone.next[head])
        if pfn == head:
            continue
        if get_pageblock_migratetype(zone, pfn) == MIGRATE_HIGHATOMIC:
            scalar[NR_RESERVED_HIGHATOMIC] -= min(pageblock_nr_pages(zone), scalar[NR_RESERVED_HIGHATOMIC])
        set_pageblock_migratetype(zone, pfn, migratetype)
        moved, _ = move_freepages_block(zone, pfn, migratetype)
        if moved:
            return True
    return False


@inlined_kernel
def get_page_from_freelist(zone: Zone, gfp: int, order: int, alloc_flags: int) -> int:
    """Take a block if the watermark named by `alloc_flags` allows it; pfn or -1."""
    if not alloc_flags & ALLOC_NO_WATERMARKS:
        mark = zone.scalar[WMARK_MIN + (alloc_flags & ALLOC_WMARK_MASK)] + zone.scalar[WATERMARK_BOOST]
        if not zone_watermark_fast(zone, order, mark, alloc_flags):
            return -1
    pfn = rmqueue(zone, order, gfp_migratetype(zone, gfp), alloc_flags)
    if pfn != -1 and order > 0 and alloc_flags & ALLOC_HIGHATOMIC:
        reserve_highatomic_pageblock(zone, pfn)
    return pfn


@kernel
def gfp_to_alloc_flags(gfp: int, order: int) -> int:
    """The alloc_flags of the slow path: the min mark, and the reserves that the GFP bits open."""
    alloc_flags = ALLOC_WMARK_MIN | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM))
    if not gfp & (GFP_DIRECT_RECLAIM | GFP_NOMEMALLOC):
        alloc_flags |= ALLOC_NON_BLOCK
        if order > 0 and gfp & GFP_HIGH:
            alloc_flags |= ALLOC_HIGHATOMIC
    return alloc_flags


@seldom_kernel
def __alloc_pages_slowpath(zone: Zone, gfp: int, order: int) -> int:
    """What follows when the low mark said no: the steps of scalar[SLOWPATH], each once; pfn or -1.

    The real one wakes kswapd, reclaims and compacts in between. In recorded boots of the modelled machine
    that never freed a page, so there the default, SLOWPATH_WMARK_MIN, is the whole of it.
    """
    steps = zone.scalar[SLOWPATH]
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    pfn = -1
    if steps & SLOWPATH_WMARK_MIN:
        pfn = get_page_from_freelist(zone, gfp, order, alloc_flags)
    if pfn == -1 and steps & SLOWPATH_UNRESERVE:
        unreserve_highatomic_pageblock(zone, gfp_migratetype(zone, gfp), False)
        drain_pages_zone(zone)
        pfn = get_page_from_freelist(zone, gfp, order, alloc_flags)
    if pfn == -1 and steps & SLOWPATH_NO_WATERMARKS:
        alloc_flags |= ALLOC_NO_WATERMARKS
        if not zone.machine.mmu:
            alloc_flags |= ALLOC_OOM
        pfn = get_page_from_freelist(zone, gfp, order, alloc_flags)
    return pfn


@kernel
def alloc_pages(zone: Zone, gfp: int, order: int) -> int:
    """__alloc_pages(): the first page of 2^order free pages, or -1."""
    if order >= zone.machine.max_order:
        return -1
    pfn = get_page_from_freelist(zone, gfp, order, ALLOC_WMARK_LOW | (gfp & GFP_KSWAPD_RECLAIM))
    if pfn == -1 and zone.scalar[SLOWPATH]:
        pfn = __alloc_pages_slowpath(zone, gfp, order)
    return pfn


@seldom_kernel
def free_pcppages_bulk(zone: Zone, count: int, pindex: int) -> None:
    """Flush `count` pages from the tails of the per-CPU lists, list after list, beginning with `pindex`."""
    scalar = zone.scalar
    count = min(scalar[PCP_COUNT], count)
    while count > 0:
        head = pcp_list(zone, pindex)
        order = pindex // MIGRATE_PCPTYPES
        while count > 0 and zone.prev[head] != head:
            pfn = int(zone.prev[head])
            list_del(zone, pfn)
            count -= 1 << order
            scalar[PCP_COUNT] -= 1 << order
            __free_one_page(zone, pfn, order, int(zone.pcppage_migratetype[pfn]), FPI_NONE)
        pindex = (pindex + 1) % NR_PCP_LISTS


@kernel
def drain_pages_zone(zone: Zone) -> None:
    """Flush all per-CPU lists."""
    free_pcppages_bulk(zone, zone.scalar[PCP_COUNT], 0)


@kernel
def nr_pcp_high(zone: Zone, free_high: bool) -> int:
    """How many pages the per-CPU lists may hold now."""
    high = zone.scalar[PCP_HIGH]
    if high == 0 or free_high:
        return 0
    if zone.scalar[ZONE_RECLAIM_ACTIVE]:
        return min(zone.scalar[PCP_BATCH] << 2, high)
    return high


@kernel
def nr_pcp_free(zone: Zone, high: int, free_high: bool) -> int:
    """How many pages to flush now: twice as many each time as long as nothing is allocated in between."""
    scalar = zone.scalar
    batch = scalar[PCP_BATCH]
    if free_high:
        return scalar[PCP_COUNT]
    if high < batch:
        return 1
    max_nr_free = high - batch
    scaled = batch << scalar[PCP_FREE_FACTOR]
    if scaled < max_nr_free and scalar[PCP_FREE_FACTOR] < PCP_BATCH_SCALE_MAX:
        scalar[PCP_FREE_FACTOR] += 1
    return min(max(scaled, batch), max_nr_free)


@inlined_kernel
def free_unref_page(zone: Zone, pfn: int, order: int) -> None:
    """Free a block through the per-CPU lists."""
    scalar = zone.scalar
    migratetype = get_pageblock_migratetype(zone, pfn)
    if scalar[PCP_HIGH] == 0 and scalar[PCP_COUNT] == 0:
        # The list would take this block and give it up at once.
        __free_one_page(zone, pfn, order, migratetype, FPI_NONE)
        return
    zone.pcppage_migratetype[pfn] = migratetype
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE
    pindex = order_to_pindex(migratetype, order)
    list_add(zone, pfn, pcp_list(zone, pindex))
    scalar[PCP_COUNT] += 1 << order
    free_high = scalar[PCP_FREE_FACTOR] != 0 and order > 0
    high = nr_pcp_high(zone, free_high)
    if scalar[PCP_COUNT] >= high:
        free_pcppages_bulk(zone, nr_pcp_free(zone, high, free_high), pindex)


@kernel
def __free_pages_ok(zone: Zone, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block past the per-CPU lists."""
    __free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn), fpi_flags)


@kernel
def free_pages(zone: Zone, pfn: int, order: int) -> None:
    """__free_pages(): free a block whose last user is gone. It leaves the LRU, where a folio is as a whole."""
    if zone.lru[pfn]:
        for page in range(pfn, pfn + (1 << order)):
            zone.lru[page] = 0
    if order <= PAGE_ALLOC_COSTLY_ORDER:
        free_unref_page(zone, pfn, order)
    else:
        __free_pages_ok(zone, pfn, order, FPI_NONE)


@kernel
def folio_add_lru(zone: Zone, pfn: int, order: int) -> None:
    """Mark an allocated block as movable (page cache, anonymous pages) until it is freed.

    Only counted when a pageblock is about to change its type (`steal_suitable_fallback`).
    """
    for page in range(pfn, pfn + (1 << order)):
        zone.lru[page] = 1


@kernel
def free_pages_exact(zone: Zone, pfn: int, pages: int) -> None:
    """free_pages_exact(), and free_page_series() of nommu: free single pages, ascending."""
    if zone.scalar[PCP_HIGH] == 0 and zone.scalar[PCP_COUNT] == 0:
        for page in range(pfn, pfn + pages):
            zone.lru[page] = 0
        free_one_page_run(zone, pfn, pages, FPI_NONE)
        return
    for page in range(pfn, pfn + pages):
        free_pages(zone, page, 0)


@kernel
def get_order(pages: int) -> int:
    """The smallest order that holds so many pages."""
    order = 0
    while 1 << order < pages:
        order += 1
    return order


@kernel
def alloc_pages_exact(zone: Zone, pages: int, gfp: int) -> int:
    """alloc_pages_exact() of `pages` pages: pfn or -1. The block's leftover pages are freed, ascending.

    By `exact_tail`: EXACT_TAIL_HEAD by free_page(), EXACT_TAIL_TAIL each to the tail.
    """
    order = get_order(pages)
    pfn = alloc_pages(zone, gfp, order)
    if pfn == -1:
        return -1
    leftover = (1 << order) - pages
    if zone.policy.exact_tail == EXACT_TAIL_TAIL:
        free_one_page_run(zone, pfn + pages, leftover, FPI_TO_TAIL)
    else:
        free_pages_exact(zone, pfn + pages, leftover)
    return pfn


@kernel
def pageset_update(zone: Zone, high: int, batch: int) -> None:
    """Set the limits of the per-CPU lists; nothing is flushed."""
    zone.scalar[PCP_HIGH] = high
    zone.scalar[PCP_BATCH] = batch


@kernel
def zone_batchsize(zone: Zone) -> int:
    """Pages moved between per-CPU and buddy lists at a time; 0 without an MMU."""
    if not zone.machine.mmu:
        return 0
    batch = min(zone.scalar[MANAGED_PAGES] >> 10, (1 << 20) >> zone.machine.page_shift) // 4
    batch = max(batch, 1)
    wanted = batch + batch // 2
    power = 1
    while 2 * power <= wanted:
        power *= 2
    return power - 1


@kernel
def zone_highsize(zone: Zone, batch: int) -> int:
    """Pages that the lists of the one CPU may hold: the low mark, at least 4 batches; 0 without an MMU."""
    if not zone.machine.mmu:
        return 0
    return max(zone.scalar[WMARK_LOW] + zone.scalar[WATERMARK_BOOST], batch << 2)


@kernel
def zone_set_pageset_high_and_batch(zone: Zone) -> None:
    """setup_zone_pageset() and zone_pcp_update(): size the per-CPU lists for the zone as it is now."""
    scalar = zone.scalar
    batch = max(1, zone_batchsize(zone))
    high = zone_highsize(zone, batch)
    if scalar[PAGESET_HIGH] == high and scalar[PAGESET_BATCH] == batch:
        return
    scalar[PAGESET_HIGH] = high
    scalar[PAGESET_BATCH] = batch
    pageset_update(zone, high, batch)


@kernel
def setup_per_zone_wmarks(zone: Zone) -> None:
    """Set the marks from scalar[MIN_FREE_KBYTES], end any boost, resize the per-CPU lists."""
    scalar = zone.scalar
    minimum = scalar[MIN_FREE_KBYTES] >> (zone.machine.page_shift - 10)
    step = max(minimum >> 2, scalar[MANAGED_PAGES] * WATERMARK_SCALE_FACTOR // 10000)
    scalar[WATERMARK_BOOST] = 0
    for mark in range(4):
        scalar[WMARK_MIN + mark] = minimum + mark * step
    zone_set_pageset_high_and_batch(zone)


@kernel
def int_sqrt(x: int) -> int:
    """The integer square root (lib/math/int_sqrt.c)."""
    root = 0
    bit = 1 << 40
    while bit > x:
        bit >>= 2
    while bit:
        if x >= root + bit:
            x -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@kernel
def calculate_min_free_kbytes(zone: Zone) -> None:
    """Set scalar[MIN_FREE_KBYTES] from the pages above the high mark, if nobody has set it by hand."""
    scalar = zone.scalar
    if zone.machine.min_free_kbytes >= 0:
        scalar[MIN_FREE_KBYTES] = zone.machine.min_free_kbytes
        return
    high = scalar[WMARK_HIGH] + scalar[WATERMARK_BOOST]
    lowmem_kbytes = max(scalar[MANAGED_PAGES] - high, 0) << (zone.machine.page_shift - 10)
    scalar[MIN_FREE_KBYTES] = min(max(int_sqrt(lowmem_kbytes * 16), 128), 262144)


@kernel
def nr_free_pages(zone: Zone) -> int:
    """NR_FREE_PAGES: the pages on the buddy lists."""
    return int(zone.scalar[NR_FREE_PAGES])


@kernel
def largest_free_order(zone: Zone) -> int:
    """The order of the largest free block of any type, -1 if no page is free."""
    for order in range(zone.machine.max_order - 1, -1, -1):
        if zone.nr_free[order]:
            return order
    return -1


def list_entries(zone: Zone, head: int) -> list[int]:
    """The entries of one list, head first (plain Python, for tests and dumps)."""
    entries: list[int] = []
    entry = int(zone.next[head])
    while entry != head:
        assert 0 <= entry < len(zone.order), f"list {head} leads to {entry}, which is no page"
        assert len(entries) <= len(zone.order), f"list {head} does not end"
        entries.append(entry)
        entry = int(zone.next[entry])
    return entries
