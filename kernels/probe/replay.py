"""The page requests of a recorded boot, once more: the same requests in the same order, to this page allocator.

A recorded page is only a name here: what is freed is the page that this allocator gave for it. So one wrong page does
not make the rest of a replay meaningless.
"""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.page_alloc import (
    FPI_TO_TAIL,
    MANAGED_PAGES,
    MIGRATE_MOVABLE,
    MIN_FREE_KBYTES,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    Zone,
    __free_pages_ok,
    alloc_pages,
    calculate_min_free_kbytes,
    folio_add_lru,
    free_area,
    free_pages,
    get_pageblock_migratetype,
    gfp_migratetype,
    kswapd,
    nr_free_pages,
    setup_per_zone_wmarks,
)
from mcsim.kernels.linux.slub import Slub, kmem_cache_alloc, kmem_cache_free_bulk, object_offset, object_pfn

# Kinds of events; in brackets the operands in the columns FIRST, ORDER, FLAGS, and what an answer consists of.
EVENT_ALLOC = 0  # a block is taken (page, order, gfp): page, migratetype
EVENT_ALLOC_RETURNS = 1  # its request is over: free pages of the zone
EVENT_ALLOC_FAILS = 2  # a request that gets nothing (-, order, gfp): -1, free pages of the zone
EVENT_FREE = (
    3  # a block is freed (page, order, fpi flags): page and order of the merged block, end of list, migratetype
)
EVENT_WMARKS = 4  # init_per_zone_wmark_min(): min, low, high mark, managed pages
EVENT_MOBILITY = 5  # min_free_kbytes, page_group_by_mobility_disabled
EVENT_KSWAPD = 6  # kswapd has balanced the zone
EVENT_OBJECT_ALLOC = 7  # an object of the cache (handle, -, gfp): its address in bytes from the start of the zone
EVENT_OBJECT_FREE = 8  # an object is given back (handle); FLAGS = how many of a bulk follow

# columns of an event
KIND = 0
FIRST = 1
ORDER = 2
FLAGS = 3
EVENT_COLUMNS = 4

ANSWER_COLUMNS = 4  # what an event has no use for is 0

# Entries of the page table; others are pages of this zone.
PAGE_FREE = -1
PAGE_RESERVED = -2  # never handed over
PAGE_NONE = -3  # given to the recorded boot, but not here

CACHE = 0  # the only cache of the Slub

HEAD = 0  # ends of a free list
TAIL = 1
BETWEEN = 2


@kernel
def is_block(page: NDArray[np.int32], first: int, order: int) -> bool:
    """Whether the recorded block is, here too, an aligned block of allocated or of reserved pages."""
    own = page[first]
    step = 0 if own == PAGE_RESERVED else 1
    if own != PAGE_RESERVED and (own < 0 or own & ((1 << order) - 1)):
        return False
    whole = True
    for i in range(1 << order):
        whole = whole and page[first + i] == own + i * step
    return whole


@kernel
def end_of_list(zone: Zone, block: int, order: int, migratetype: int, expected: int) -> int:
    """At which end of its free list a block is; the expected one if it is at both."""
    head = free_area(zone, order, migratetype)
    at_head = zone.next[head] == block
    at_tail = zone.prev[head] == block
    if at_head and at_tail:
        return expected
    if at_head:
        return HEAD
    return TAIL if at_tail else BETWEEN


@kernel
def replay_alloc(zone: Zone, page: NDArray[np.int32], event: NDArray[np.int64], answer: NDArray[np.int64]) -> None:
    """EVENT_ALLOC: the page table learns which block stands for the recorded one."""
    first, order, gfp = event[FIRST], event[ORDER], event[FLAGS]
    pfn = alloc_pages(zone, gfp, order)
    migratetype = gfp_migratetype(zone, gfp)
    if pfn >= 0 and migratetype == MIGRATE_MOVABLE:
        folio_add_lru(zone, pfn, order)
    for i in range(1 << order):
        page[first + i] = pfn + i if pfn >= 0 else PAGE_NONE
    answer[0] = pfn
    answer[1] = migratetype


@kernel
def replay_free(
    zone: Zone,
    page: NDArray[np.int32],
    event: NDArray[np.int64],
    expected_end: int,
    answer: NDArray[np.int64],
) -> None:
    """EVENT_FREE: of a block that is not one here, nothing is freed, and the answer is -1."""
    first, order = event[FIRST], event[ORDER]
    answer[0] = -1
    if is_block(page, first, order):
        pfn = np.int64(page[first])
        if pfn == PAGE_RESERVED:
            pfn = first
            zone.scalar[MANAGED_PAGES] += 1 << order
        answer[3] = get_pageblock_migratetype(zone, pfn)
        if event[FLAGS] & FPI_TO_TAIL:
            __free_pages_ok(zone, pfn, order, FPI_TO_TAIL)
        else:
            free_pages(zone, pfn, order)
        for merged_order in range(order, zone.machine.max_order):
            block = pfn & ~((1 << merged_order) - 1)
            if zone.order[block] == merged_order:
                answer[0] = block
                answer[1] = merged_order
                answer[2] = end_of_list(zone, block, merged_order, answer[3], expected_end)
    for i in range(first, first + (1 << order)):
        page[i] = PAGE_FREE


@kernel
def replay_object_frees(
    slub: Slub, zone: Zone, objects: NDArray[np.int64], events: NDArray[np.int64], i: int, bulk: NDArray[np.int64]
) -> None:
    """EVENT_OBJECT_FREE: the objects of one call together, at its last event."""
    if events[i, FLAGS]:
        return
    first = i
    while first > 0 and events[first - 1, KIND] == EVENT_OBJECT_FREE and events[first - 1, FLAGS]:
        first -= 1
    count = 0
    for j in range(first, i + 1):
        obj = objects[events[j, FIRST]]
        if obj >= 0:
            bulk[count] = obj
            count += 1
    kmem_cache_free_bulk(slub, zone, CACHE, count, bulk)


@kernel
def replay_events(
    zone: Zone,
    slub: Slub,
    events: NDArray[np.int64],
    expected: NDArray[np.int64],
    first: int,
    last: int,
    page: NDArray[np.int32],
    objects: NDArray[np.int64],
    bulk: NDArray[np.int64],
    answers: NDArray[np.int64],
) -> None:
    """Replay the events [first, last).

    `events`: int64[n, EVENT_COLUMNS]. `expected`, `answers`: int64[n, ANSWER_COLUMNS], the recorded answers (only the
    end of list is looked at: a block alone on its list is at both) and ours, filled. `page`: int32[pages of the zone],
    the page that stands for each recorded one, or PAGE_FREE, PAGE_RESERVED, PAGE_NONE. `objects`: int64[handles], the
    object that stands for each recorded one. `bulk`: int64[handles], scratch.
    """
    scalar = zone.scalar
    for i in range(first, last):
        event, answer = events[i], answers[i]
        kind = event[KIND]
        if kind == EVENT_ALLOC:
            replay_alloc(zone, page, event, answer)
        elif kind == EVENT_ALLOC_RETURNS:
            answer[0] = nr_free_pages(zone)
        elif kind == EVENT_ALLOC_FAILS:
            pfn = alloc_pages(zone, event[FLAGS], event[ORDER])
            answer[0] = pfn
            answer[1] = nr_free_pages(zone)
            if pfn >= 0:
                free_pages(zone, pfn, event[ORDER])
        elif kind == EVENT_FREE:
            replay_free(zone, page, event, expected[i, 2], answer)
        elif kind == EVENT_WMARKS:
            calculate_min_free_kbytes(zone)
            setup_per_zone_wmarks(zone)
            answer[0] = scalar[WMARK_MIN]
            answer[1] = scalar[WMARK_LOW]
            answer[2] = scalar[WMARK_HIGH]
            answer[3] = scalar[MANAGED_PAGES]
        elif kind == EVENT_MOBILITY:
            answer[0] = scalar[MIN_FREE_KBYTES]
            answer[1] = scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]
        elif kind == EVENT_KSWAPD:
            kswapd(zone)
        elif kind == EVENT_OBJECT_ALLOC:
            obj = kmem_cache_alloc(slub, zone, CACHE, event[FLAGS])
            objects[event[FIRST]] = obj
            answer[0] = -1
            if obj >= 0:
                answer[0] = object_pfn(slub, CACHE, obj) * zone.machine.page_size + object_offset(slub, CACHE, obj)
        elif kind == EVENT_OBJECT_FREE:
            replay_object_frees(slub, zone, objects, events, i, bulk)
