"""Operations of buddy vectors (see mcsim/fidelity/allocators/buddy.py) on a zone, and the digest of its lists."""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.page_alloc import (
    ALLOC_NO_WATERMARKS,
    ALLOC_OOM,
    MIGRATE_TYPES,
    MIN_FREE_KBYTES,
    NR_FREE_PAGES,
    NR_PCP_LISTS,
    PCP_BATCH,
    PCP_COUNT,
    PCP_FREE_FACTOR,
    PCP_HIGH,
    SLOWPATH,
    WATERMARK_BOOST,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_RECLAIM_ACTIVE,
    ZONE_START_PFN,
    Zone,
    alloc_pages,
    alloc_pages_exact,
    calculate_min_free_kbytes,
    drain_pages_zone,
    free_area,
    free_pages,
    free_pages_exact,
    get_pageblock_migratetype,
    nr_free_pages,
    pageset_update,
    pcp_list,
    setup_per_zone_wmarks,
    zone_set_pageset_high_and_batch,
    zone_watermark_ok,
)
from mcsim.kernels.probe.crc32 import CRC32_START, crc32_byte, crc32_decimal

# codes of operations
(
    ALLOC,
    FREE,
    ALLOC_EXACT,
    FREE_EXACT,
    FREE_SERIES,
    SETUP_PAGESET,
    SETUP_WMARKS,
    SET_MIN_FREE_KBYTES,
    GET_WMARK,
    SET_PAGESET,
    SET_SLOWPATH,
    SET_RECLAIM_ACTIVE,
    DRAIN,
    WATERMARK_OK,
    GET_NR_FREE,
    GET_PAGEBLOCK,
    DUMP,
) = range(17)
OPERATION_COLUMNS = 4  # code, operands

NO_ANSWER = int(np.iinfo(np.int64).min)
REFUSED = NO_ANSWER + 1  # answer of a free of pages that the block does not hold any more

# columns of a block
FIRST_PAGE = 0  # -1: none
SIZE = 1  # its order, or the pages of an exact one
BLOCK_COLUMNS = 2


@kernel
def crc32_pages(zone: Zone, crc: int, head: int) -> int:
    """The CRC with the pages of one list, head first: `:pfn,pfn,;`, relative to the start of the zone."""
    crc = crc32_byte(crc, 58)  # :
    entry = int(zone.next[head])
    while entry != head:
        crc = crc32_decimal(crc, entry - zone.scalar[ZONE_START_PFN])
        crc = crc32_byte(crc, 44)  # ,
        entry = int(zone.next[entry])
    return crc32_byte(crc, 59)  # ;


@kernel
def zone_digest(zone: Zone) -> int:
    """CRC-32 of the text of all lists that have entries: `order.type:pages;`, `p<list>:pages;`, `f<free pages>;`."""
    crc = CRC32_START
    for order in range(zone.machine.max_order):
        for migratetype in range(MIGRATE_TYPES):
            head = free_area(zone, order, migratetype)
            if zone.next[head] != head:
                crc = crc32_decimal(crc, order)
                crc = crc32_byte(crc, 46)  # .
                crc = crc32_decimal(crc, migratetype)
                crc = crc32_pages(zone, crc, head)
    for pindex in range(NR_PCP_LISTS):
        head = pcp_list(zone, pindex)
        if zone.next[head] != head:
            crc = crc32_byte(crc, 112)  # p
            crc = crc32_decimal(crc, pindex)
            crc = crc32_pages(zone, crc, head)
    crc = crc32_byte(crc, 102)  # f
    crc = crc32_decimal(crc, zone.scalar[NR_FREE_PAGES])
    return crc32_byte(crc, 59) ^ CRC32_START


@kernel
def setup_zone_pageset(zone: Zone) -> None:
    """New per-CPU lists: empty, with the limits of the boot pageset, then sized. Pages on the old ones are lost."""
    scalar = zone.scalar
    for pindex in range(NR_PCP_LISTS):
        head = pcp_list(zone, pindex)
        zone.next[head] = head
        zone.prev[head] = head
    scalar[PCP_COUNT] = 0
    scalar[PCP_FREE_FACTOR] = 0
    pageset_update(zone, 0, 1)
    zone_set_pageset_high_and_batch(zone)


@kernel
def hand_over(owner: NDArray[np.int32], first: int, last: int, giver: int, taker: int) -> bool:
    """Pages [first, last) change their owner; False, and nothing changes, if one is not the giver's."""
    if last > owner.shape[0]:
        return False
    for page in range(first, last):
        if owner[page] != giver:
            return False
    for page in range(first, last):
        owner[page] = taker
    return True


@kernel
def run_block_operation(zone: Zone, op: NDArray[np.int64], blocks: NDArray[np.int64], owner: NDArray[np.int32]) -> int:
    """Allocate or free a block; the first page, -1 for a failure, NO_ANSWER for a free, REFUSED for one too many."""
    code, name, second, third = op[0], op[1], op[2], op[3]
    block = blocks[name]
    if code in (ALLOC, ALLOC_EXACT):
        if code == ALLOC:
            pfn = alloc_pages(zone, third, second)
        else:
            pfn = alloc_pages_exact(zone, second, third)
        block[FIRST_PAGE] = pfn
        block[SIZE] = second
        if pfn == -1:
            return -1
        if code == ALLOC_EXACT:
            for page in range(pfn, pfn + second):
                owner[page] = name + 1
        return int(pfn - zone.scalar[ZONE_START_PFN])
    first = int(block[FIRST_PAGE])
    if first == -1:
        return NO_ANSWER
    if code == FREE:
        block[FIRST_PAGE] = -1
        free_pages(zone, first, int(block[SIZE]))
        return NO_ANSWER
    last = first + block[SIZE]
    if code == FREE_SERIES:
        last = first + third
        first = first + second
    else:
        block[FIRST_PAGE] = -1
    if not hand_over(owner, first, last, name + 1, 0):
        return REFUSED
    free_pages_exact(zone, first, last - first)
    return NO_ANSWER


@kernel
def run_zone_operation(zone: Zone, op: NDArray[np.int64]) -> int:
    """Set or ask something of the zone; its answer."""
    code, first, second, third = op[0], op[1], op[2], op[3]
    scalar = zone.scalar
    answer = NO_ANSWER
    if code == SETUP_PAGESET:
        setup_zone_pageset(zone)
        answer = scalar[PCP_BATCH] * 100000 + scalar[PCP_HIGH]
    elif code == SETUP_WMARKS:
        calculate_min_free_kbytes(zone)
        setup_per_zone_wmarks(zone)
        answer = scalar[MIN_FREE_KBYTES]
    elif code == SET_MIN_FREE_KBYTES:
        scalar[MIN_FREE_KBYTES] = first
        setup_per_zone_wmarks(zone)
        answer = scalar[WMARK_LOW]
    elif code == GET_WMARK:
        answer = scalar[WMARK_MIN + first]
    elif code == SET_PAGESET:
        pageset_update(zone, second, first)
    elif code == SET_SLOWPATH:
        scalar[SLOWPATH] = first
    elif code == SET_RECLAIM_ACTIVE:
        scalar[ZONE_RECLAIM_ACTIVE] = first
    elif code == DRAIN:
        drain_pages_zone(zone)
    elif code == WATERMARK_OK:
        mark = scalar[WMARK_MIN + second] + scalar[WATERMARK_BOOST]
        if not zone.machine.mmu:  # without an MMU the two are one bit
            third = third & ~ALLOC_OOM | (ALLOC_OOM if third & ALLOC_NO_WATERMARKS else 0)
        answer = 1 if zone_watermark_ok(zone, first, mark, third) else 0
    elif code == GET_NR_FREE:
        answer = nr_free_pages(zone)
    elif code == GET_PAGEBLOCK:
        answer = get_pageblock_migratetype(zone, first + scalar[ZONE_START_PFN])
    return answer


@kernel
def run_operations(
    zone: Zone,
    operations: NDArray[np.int64],
    first: int,
    last: int,
    blocks: NDArray[np.int64],
    owner: NDArray[np.int32],
    digest_every: int,
    answers: NDArray[np.int64],
    digests: NDArray[np.int64],
) -> int:
    """Run the operations [first, last); returns `last`, or the first one that is refused.

    `operations`: int64[n, OPERATION_COLUMNS]. `blocks`: int64[names, BLOCK_COLUMNS]. `owner`: int32[pages of the zone],
    1 + the name of the exact block that holds a page, else 0. `answers`, `digests`: int64[n], filled; NO_ANSWER is no
    answer, -1 no digest: there is one at every multiple of `digest_every`, counted from 1, if that is not 0.
    """
    for i in range(first, last):
        if operations[i, 0] <= FREE_SERIES:
            answers[i] = run_block_operation(zone, operations[i], blocks, owner)
        else:
            answers[i] = run_zone_operation(zone, operations[i])
        if answers[i] == REFUSED:
            return i
        if digest_every and (i + 1) % digest_every == 0:
            digests[i] = zone_digest(zone)
    return last
