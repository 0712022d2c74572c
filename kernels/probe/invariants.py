"""What must hold between any two requests of a boot, each invariant in one place: for tests and `mcsim run --check`.

Written apart from the allocators: it reads their arrays and calls none of their functions, so that it shares no mistake
with them. A kernel that ends in `_violation` returns 0, or the number of an invariant in INVARIANTS that does not hold;
`Check.found` then says where, what was to be expected and what was there. The functions `check_*` are their faces for
plain Python and raise AssertionError.

After a request that failed a variant may have lost pages, objects or mappings, as its kernel does (nommu.py):
then only what holds all the same is asked for (`strict` 0).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.batch import BOOTED, FAILED, STRETCH, WRONG, write_outcome
from mcsim.kernels.boot.boot import (
    RESULT_WRONG,
    TASK_SLAB_PAGES,
    TASK_STRUCT_ROOM,
    TASKS_ALIVE,
    TASKS_SIZE,
    Boot,
    place_entry,
    reset_boot,
    restore_init,
    run_pre_init,
    save_init,
    wrong,
)
from mcsim.kernels.boot.program import (
    PRE_A,
    PRE_B,
    PRE_C,
    PRE_FREE_INITMEM,
    PRE_KIND,
    PRE_KMEM_CACHE_ALLOC,
    PRE_PAGE_ALLOC,
    PRE_PAGE_FREE,
    PRE_PAGE_FREE_PART,
    RIGHT,
    Program,
)
from mcsim.kernels.boot.sched import LOGIN, STREAM_LENGTH, WRONG_ROW, Sched, Timing, reset_sched, run_step
from mcsim.kernels.boot.sched import WRONG as WHY_WRONG
from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.machine import VMA_INDEX_MAPLE
from mcsim.kernels.linux.maple_tree import (
    ALLOCATED,
    CALLBACK_TREE,
    DESTROY,
    END,
    FLAGS,
    GAP,
    HEAD,
    HEIGHT,
    INDEX_MAX,
    MAPLE_ARANGE_64,
    MAPLE_LEAF_64,
    MAPLE_RANGE_64,
    MARKED,
    MAX_HEIGHT,
    MIN_SLOTS,
    MT_FLAGS_ALLOC_RANGE,
    NODE_SHORTAGE,
    PIVOT,
    RCU_DONE,
    RCU_HEAD,
    RCU_PENDING,
    REPLACED,
    ROOT,
    ROOT_ENTRY,
    SLOT,
    SLOTS,
    TYPE,
    Maple,
)
from mcsim.kernels.linux.nommu import (
    MM_MAP_COUNT,
    MM_MMAP,
    NONE,
    REGION_END,
    REGION_FLAGS,
    REGION_LIST,
    REGION_NEXT,
    REGION_PREV,
    REGION_START,
    REGION_TOP,
    REGION_USAGE,
    VM_MAYSHARE,
    VMA_END,
    VMA_FLAGS,
    VMA_NEXT,
    VMA_PREV,
    VMA_REGION,
    VMA_START,
    Memory,
    Nommu,
    address_to_pfn,
)
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    NR_FREE_PAGES,
    NR_PCP_LISTS,
    NR_RESERVED_HIGHATOMIC,
    PCP_COUNT,
    WATERMARK_BOOST,
    WMARK_MIN,
    ZONE_END_PFN,
    ZONE_START_PFN,
    Zone,
    pageblock_nr_pages,
    pcp_list,
)
from mcsim.kernels.linux.slub import (
    ALLOCATIONS,
    CPU_SLAB,
    FREELIST,
    FREES,
    INUSE,
    MAPLE_NODE,
    NEXT,
    NR_PARTIAL,
    OBJECTS,
    OBJECTS_PER_SLAB,
    PAGES,
    PARTIAL_HEAD,
    PARTIAL_TAIL,
    PFN,
    PREV,
    ROW_FAILURES,
    UNUSED,
    UNUSED_ROWS,
    VM_AREA_STRUCT,
    VM_REGION,
    Slub,
)

# Who has a page.
NOBODY = 0  # not claimed: in the end these are the slabs of tasks, which nothing names
OUTSIDE = 1
RESERVED = 2
PRE_INIT = 3
FREE = 4
PCP = 5
SLAB = 6
BLOCK = 7
REGION = 8
OWNER_NAMES = (
    "nobody",
    "outside of the zone",
    "never handed over",
    "the pre-init phase",
    "a free list",
    "a per-CPU list",
    "an object cache",
    "a block of a process",
    "a region",
)

# What an object of a cache is.
NO_OBJECT = 0  # its slab has no page
UNCLAIMED = 1  # handed out
UNUSED_OBJECT = 2
CLAIMED = 3  # handed out, and something refers to it
OBJECT_NAMES = ("in no slab", "handed out", "free", "in use elsewhere")

# Invariants.
HOLDS = 0
LIST_OF_PAGES = 1
LIST_LINKS = 2
BLOCK_ORDER = 3
BLOCK_ALIGNED = 4
BUDDIES_MERGED = 5
PAGE_OWNER = 6
NR_FREE_IS_SUM = 7
FREE_PAGES_IS_SUM = 8
ORDER_ON_LIST = 9
PCP_COUNT_IS_SUM = 10
FREE_OFF_LRU = 11
PAGEBLOCK_TYPES = 12
HIGHATOMIC_COUNT = 13
MARKS_ASCEND = 14
PARTIAL_LINKS = 15
PARTIAL_LENGTH = 16
CPU_SLAB_APART = 17
FREELIST_IN_SLAB = 18
INUSE_IS_SUM = 19
PARTIAL_HAS_FREE = 20
OBJECTS_IS_SUM = 21
SLAB_PAGES_IS_SUM = 22
SLAB_ROWS = 23
OBJECT_USE = 24
OBJECTS_ALL_USED = 25
VMA_LINKS = 26
VMA_RANGE = 27
VMAS_APART = 28
VMA_IN_REGION = 29
REGION_PAGES = 30
REGION_USERS = 31
MAP_COUNT = 32
REGION_LINKS = 33
REGION_LISTED = 34
TREE_ROOT = 35
NODE_TYPE = 36
NODE_MARK = 37
NODE_SLOTS = 38
NODE_END = 39
PIVOTS_ASCEND = 40
NULLS_JOINED = 41
NULL_LAST = 42
GAP_IS_LARGEST = 43
TREE_HAS_VMA = 44
TREE_ENTRIES = 45
NODES_GIVEN_BACK = 46
CALLBACKS = 47
BLOCK_ORDERS = 48
TASKS_HAVE_ROOM = 49
MANAGED_IS_SUM = 50
EVERY_PAGE_ACCOUNTED = 51
ROWS_SUFFICE = 52

# In words; {place} is the first of the numbers that a violation comes with, the others follow.
INVARIANTS = {
    LIST_OF_PAGES: "zone: list {place} leads to pages and ends",
    LIST_LINKS: "zone: prev of {place} is what next came from",
    BLOCK_ORDER: "zone: the order of block {place} is that of its free list",
    BLOCK_ALIGNED: "zone: block {place} begins at a multiple of its size",
    BUDDIES_MERGED: "zone: block {place} has no free buddy of its order",
    PAGE_OWNER: "page {place} belongs to one only",
    NR_FREE_IS_SUM: "zone: nr_free of order {place} is the number of blocks on its lists",
    FREE_PAGES_IS_SUM: "zone: NR_FREE_PAGES is the sum over the free lists",
    ORDER_ON_LIST: "zone: pages with an order are as many as blocks on free lists",
    PCP_COUNT_IS_SUM: "zone: PCP_COUNT is the sum over the per-CPU lists",
    FREE_OFF_LRU: "zone: free page {place} is not on the LRU",
    PAGEBLOCK_TYPES: "zone: pageblock {place} has a migratetype",
    HIGHATOMIC_COUNT: "zone: NR_RESERVED_HIGHATOMIC is the sum over HIGHATOMIC pageblocks",
    MARKS_ASCEND: "zone: watermark {place} is not below the one before",
    PARTIAL_LINKS: "slub: the link back of slab {place} on the partial list is right",
    PARTIAL_LENGTH: "slub: NR_PARTIAL of cache {place} is the length of its partial list",
    CPU_SLAB_APART: "slub: the cpu slab of cache {place} has a page and is not on the partial list",
    FREELIST_IN_SLAB: "slub: the free list of slab {place} stays in the slab and ends",
    INUSE_IS_SUM: "slub: INUSE of slab {place} is the number of objects off its free list",
    PARTIAL_HAS_FREE: "slub: slab {place} is on the partial list just if it has a free object",
    OBJECTS_IS_SUM: "slub: OBJECTS of cache {place} is the sum over its slabs, and allocations less frees",
    SLAB_PAGES_IS_SUM: "slub: PAGES of cache {place} is the number of its slabs",
    SLAB_ROWS: "slub: row {place} is a slab or on the stack of unused rows, and there once",
    OBJECT_USE: "an object in use is handed out and used once: {place}",
    OBJECTS_ALL_USED: "each object that cache {place} has handed out is in use",
    VMA_LINKS: "nommu: the link back of VMA {place} is right",
    VMA_RANGE: "nommu: VMA {place} is not empty",
    VMAS_APART: "nommu: VMA {place} begins behind the one before, unless it shares pages",
    VMA_IN_REGION: "nommu: VMA {place} lies inside its region",
    REGION_PAGES: "nommu: region {place} is of whole pages",
    REGION_USERS: "nommu: REGION_USAGE of region {place} is the number of its VMAs",
    MAP_COUNT: "nommu: MM_MAP_COUNT of mm {place} is the number of its VMAs",
    REGION_LINKS: "nommu: the list of shareable regions is sound at region {place}",
    REGION_LISTED: "nommu: as many shareable regions are in use as are on the list",
    TREE_ROOT: "maple tree {place}: a root just if there is a height, and no entry beside it",
    NODE_TYPE: "maple tree: the type of node {place} is that of its level, leaves all at the lowest",
    NODE_MARK: "maple tree: node {place} is not marked as replaced",
    NODE_SLOTS: "maple tree: node {place} has no fewer slots than it must have and no more than fit",
    NODE_END: "maple tree: the last pivot of node {place} is the end of its range",
    PIVOTS_ASCEND: "maple tree: the pivots of node {place} ascend",
    NULLS_JOINED: "maple tree: no two NULLs stand side by side in node {place}",
    NULL_LAST: "maple tree: node {place} does not end with a NULL, but for the rightmost",
    GAP_IS_LARGEST: "maple tree: a gap of node {place} is the largest below it",
    TREE_HAS_VMA: "maple tree: VMA {place} stands over just its own range",
    TREE_ENTRIES: "maple tree {place} has as many entries as its mm has VMAs",
    NODES_GIVEN_BACK: "maple tree: no node is held or waits between two requests",
    CALLBACKS: "maple tree: a quiescent state has passed for no more callbacks than are queued",
    BLOCK_ORDERS: "boot: the block of handle {place} has an order",
    TASKS_HAVE_ROOM: "boot: the tasks have room in their slabs of cache {place}",
    MANAGED_IS_SUM: "boot: MANAGED_PAGES is the number of pages handed over",
    EVERY_PAGE_ACCOUNTED: "boot: every page is free, reserved, or of an owner; the rest are the slabs of tasks",
    ROWS_SUFFICE: "boot: no table of the simulation is too small",
}

# Indices of Check.found and Check.at.
CODE = 0
PLACE = 1
EXPECTED = 2
GOT = 3
COUNT = 4  # what a kernel that finds no violation has counted
FOUND_SIZE = 5
BOOT_NUMBER = 0
POSITION = 1  # in the stream; before that, ROW is the row of Program.pre_init
ROW = 2
CHECKS = 3  # how often everything has been checked
AT_SIZE = 4

# Columns of Check.stack: the way down a maple tree.
STACK_NODE = 0
STACK_OFFSET = 1
STACK_LOW = 2
STACK_HIGH = 3
STACK_LONGEST = 4
STACK_COLUMNS = 5

VIOLATED = 3  # how a checked boot ends, beside the ways of kernels/boot/batch.py


class Check(NamedTuple):
    """Work space, and what was found.

    owner: int8[pages], who has each page, one of NOBODY to REGION. base: int8[pages], the same of what only the
    pre-init phase changes. object: int8[caches, objects], see OBJECT_NAMES. vma_mm: int32[VMAs], the mm of each.
    users: int64[regions], VMAs of each. crossed: int8[mms], 1 once two VMAs of the mm have shared pages: then the tree
    may lack some. taken: int64[caches], objects that the pre-init phase keeps.
    stack: int64[levels, STACK_COLUMNS]. found: int64, the violation. at: int64, the moment.
    """

    owner: NDArray[np.int8]
    base: NDArray[np.int8]
    object: NDArray[np.int8]
    vma_mm: NDArray[np.int32]
    users: NDArray[np.int64]
    crossed: NDArray[np.int8]
    taken: NDArray[np.int64]
    stack: NDArray[np.int64]
    found: NDArray[np.int64]
    at: NDArray[np.int64]


def make_check(pages: int = 0, objects: int = 0, mms: int = 0) -> Check:
    """Work space for so many pages, objects of the largest cache, and mms; every page nobody's, every object in use."""
    return Check(
        owner=np.zeros(pages, np.int8),
        base=np.zeros(pages, np.int8),
        object=np.full((VM_REGION + 1, objects), UNCLAIMED, np.int8),
        vma_mm=np.zeros(objects, np.int32),
        users=np.zeros(objects, np.int64),
        crossed=np.zeros(mms, np.int8),
        taken=np.zeros(VM_REGION + 1, np.int64),
        stack=np.zeros((MAX_HEIGHT + 1, STACK_COLUMNS), np.int64),
        found=np.zeros(FOUND_SIZE, np.int64),
        at=np.zeros(AT_SIZE, np.int64),
    )


def make_boot_check(boot: Boot) -> Check:
    """Work space for boots in this memory."""
    memory = boot.memory
    check = make_check(memory.zone.order.shape[0], memory.slub.next_object.shape[1], memory.nommu.mm.shape[0])
    check.object[:] = NO_OBJECT  # slub_violation() tells what those are that there are
    return check


def words_of(check: Check) -> str:
    """The violation that was found, in words."""
    code, place, expected, got = (int(each) for each in check.found[:COUNT])
    was, is_ = str(expected), str(got)
    if code == PAGE_OWNER:
        was, is_ = OWNER_NAMES[expected], OWNER_NAMES[got]
    elif code == OBJECT_USE:
        was, is_ = OBJECT_NAMES[expected], OBJECT_NAMES[got]
    return f"{INVARIANTS[code].format(place=place)} (expected {was}, got {is_})"


@kernel
def violated(check: Check, code: int, place: int, expected: int, got: int) -> int:
    """Note what does not hold; its number, for the caller to return."""
    check.found[CODE] = code
    check.found[PLACE] = place
    check.found[EXPECTED] = expected
    check.found[GOT] = got
    return code


@kernel
def claim_pages(check: Check, pfn: int, pages: int, owner: int) -> int:
    """These pages have this owner, and had none before."""
    for page in range(pfn, pfn + pages):
        if page < 0 or page >= check.owner.shape[0]:
            return violated(check, PAGE_OWNER, page, owner, OUTSIDE)
        if check.owner[page] != NOBODY:
            return violated(check, PAGE_OWNER, page, owner, np.int64(check.owner[page]))
        check.owner[page] = owner
    return HOLDS


@kernel
def claim_object(check: Check, cache: int, obj: int) -> int:
    """Something uses this object, which is handed out and which nothing else uses."""
    state = NO_OBJECT
    if obj >= 0 and obj < check.object.shape[1]:
        state = int(check.object[cache, obj])
    if state != UNCLAIMED:
        return violated(check, OBJECT_USE, obj, UNCLAIMED, state)
    check.object[cache, obj] = CLAIMED
    return HOLDS


# The zone


@kernel
def free_block_violation(zone: Zone, check: Check, pfn: int, order: int) -> int:
    """A block on a free list of this order; it is claimed."""
    if zone.order[pfn] != order:
        return violated(check, BLOCK_ORDER, pfn, order, np.int64(zone.order[pfn]))
    if pfn & ((1 << order) - 1):
        return violated(check, BLOCK_ALIGNED, pfn, 0, pfn & ((1 << order) - 1))
    if order < zone.machine.max_order - 1 and zone.order[pfn ^ (1 << order)] == order:
        return violated(check, BUDDIES_MERGED, pfn, -1, pfn ^ (1 << order))
    for page in range(pfn, pfn + (1 << order)):
        if zone.lru[page]:
            return violated(check, FREE_OFF_LRU, page, 0, 1)
    return int(claim_pages(check, pfn, 1 << order, FREE))


@kernel
def list_violation(zone: Zone, check: Check, head: int, order: int, owner: int) -> int:
    """A list, walked both ways; its blocks of `order` are claimed and counted in check.found[COUNT]."""
    pages = zone.order.shape[0]
    before = head
    entry = int(zone.next[head])
    count = 0
    while entry != head:
        if entry < 0 or entry >= pages:
            return violated(check, LIST_OF_PAGES, head, before, entry)
        if zone.prev[entry] != before:
            return violated(check, LIST_LINKS, entry, before, np.int64(zone.prev[entry]))
        # A list that runs in a circle comes to a page that is claimed.
        if owner == FREE:
            violation = free_block_violation(zone, check, entry, order)
        else:
            violation = claim_pages(check, entry, 1 << order, owner)
        if violation:
            return violation
        count += 1
        before = entry
        entry = int(zone.next[entry])
    if zone.prev[head] != before:
        return violated(check, LIST_LINKS, head, before, np.int64(zone.prev[head]))
    check.found[COUNT] = count
    return HOLDS


@kernel
def zone_violation(zone: Zone, check: Check) -> int:
    """Lists, counts and states of pages and pageblocks. Begins a round: all other claims of pages are forgotten."""
    pages = zone.order.shape[0]
    for page in range(pages):
        check.owner[page] = check.base[page]
    free = 0
    blocks = 0
    for order in range(zone.machine.max_order):
        count = 0
        for migratetype in range(MIGRATE_TYPES):
            violation = list_violation(zone, check, pages + order * MIGRATE_TYPES + migratetype, order, FREE)
            if violation:
                return violation
            count += check.found[COUNT]
        if zone.nr_free[order] != count:
            return violated(check, NR_FREE_IS_SUM, order, count, zone.nr_free[order])
        blocks += count
        free += count << order
    if zone.scalar[NR_FREE_PAGES] != free:
        return violated(check, FREE_PAGES_IS_SUM, 0, free, zone.scalar[NR_FREE_PAGES])
    heads = 0
    for page in range(pages):
        heads += 1 if zone.order[page] >= 0 else 0
    if heads != blocks:
        return violated(check, ORDER_ON_LIST, 0, blocks, heads)
    held = 0
    for pindex in range(NR_PCP_LISTS):
        order = pindex // MIGRATE_PCPTYPES
        violation = list_violation(zone, check, pcp_list(zone, pindex), order, PCP)
        if violation:
            return violation
        held += check.found[COUNT] << order
    if zone.scalar[PCP_COUNT] != held:
        return violated(check, PCP_COUNT_IS_SUM, 0, held, zone.scalar[PCP_COUNT])
    return int(pageblock_violation(zone, check))


@kernel
def pageblock_violation(zone: Zone, check: Check) -> int:
    """The types of pageblocks, and the count of those in reserve."""
    reserved = 0
    for block in range(zone.pageblock.shape[0]):
        migratetype = np.int64(zone.pageblock[block])
        if migratetype < 0 or migratetype >= MIGRATE_TYPES:
            return violated(check, PAGEBLOCK_TYPES, block, MIGRATE_TYPES - 1, migratetype)
        if migratetype == MIGRATE_HIGHATOMIC:
            reserved += pageblock_nr_pages(zone)
    if zone.scalar[NR_RESERVED_HIGHATOMIC] != reserved:
        return violated(check, HIGHATOMIC_COUNT, 0, reserved, zone.scalar[NR_RESERVED_HIGHATOMIC])
    return HOLDS


@kernel
def marks_violation(zone: Zone, check: Check) -> int:
    """Watermarks: min, low, high and promo ascend from 0, a boost is not negative."""
    before = np.int64(0)
    for mark in range(4):
        if zone.scalar[WMARK_MIN + mark] < before:
            return violated(check, MARKS_ASCEND, mark, before, zone.scalar[WMARK_MIN + mark])
        before = zone.scalar[WMARK_MIN + mark]
    if zone.scalar[WATERMARK_BOOST] < 0:
        return violated(check, MARKS_ASCEND, 4, 0, zone.scalar[WATERMARK_BOOST])
    return HOLDS


# Object caches


@kernel
def partial_violation(slub: Slub, check: Check, cache: int) -> int:
    """The partial list of a cache, walked both ways."""
    scalar = slub.scalar[cache]
    rows = slub.slab.shape[1]
    before = np.int64(NONE)
    row = scalar[PARTIAL_HEAD]
    count = 0
    while row != NONE:
        if row < 0 or row >= rows:
            return violated(check, PARTIAL_LINKS, row, before, NONE)
        if slub.slab[cache, row, PREV] != before:
            return violated(check, PARTIAL_LINKS, row, before, np.int64(slub.slab[cache, row, PREV]))
        count += 1
        if count > rows:
            return violated(check, PARTIAL_LENGTH, cache, rows, count)
        if row == scalar[CPU_SLAB]:
            return violated(check, CPU_SLAB_APART, cache, -1, row)
        if slub.slab[cache, row, FREELIST] == NONE:
            return violated(check, PARTIAL_HAS_FREE, row, 1, 0)
        before = row
        row = np.int64(slub.slab[cache, row, NEXT])
    if scalar[PARTIAL_TAIL] != before:
        return violated(check, PARTIAL_LINKS, scalar[PARTIAL_TAIL], before, scalar[PARTIAL_TAIL])
    if scalar[NR_PARTIAL] != count:
        return violated(check, PARTIAL_LENGTH, cache, count, scalar[NR_PARTIAL])
    return HOLDS


@kernel
def slab_violation(slub: Slub, check: Check, cache: int, row: int) -> int:
    """A slab with a page: its free list and its count. Marks what its objects are."""
    per_slab = slub.geometry[cache, OBJECTS_PER_SLAB]
    first = row * per_slab
    for obj in range(first, first + per_slab):
        check.object[cache, obj] = UNCLAIMED
    free = 0
    obj = int(slub.slab[cache, row, FREELIST])
    while obj != NONE:
        if obj < first or obj >= first + per_slab or check.object[cache, obj] != UNCLAIMED:
            return violated(check, FREELIST_IN_SLAB, row, first, obj)
        check.object[cache, obj] = UNUSED_OBJECT
        free += 1
        obj = int(slub.next_object[cache, obj])
    if slub.slab[cache, row, INUSE] != per_slab - free:
        return violated(check, INUSE_IS_SUM, row, per_slab - free, np.int64(slub.slab[cache, row, INUSE]))
    return HOLDS


@kernel
def slub_violation(slub: Slub, check: Check) -> int:
    """Slabs, lists and counts of all caches. Begins a round: all other claims of objects are forgotten."""
    for cache in range(slub.slab.shape[0]):
        violation = cache_violation(slub, check, cache)
        if violation:
            return violation
    return HOLDS


@kernel
def cache_violation(slub: Slub, check: Check, cache: int) -> int:
    """Slabs, lists and counts of one cache."""
    violation = partial_violation(slub, check, cache)
    if violation:
        return violation
    scalar = slub.scalar[cache]
    per_slab = slub.geometry[cache, OBJECTS_PER_SLAB]
    rows = slub.slab.shape[1]
    objects = 0
    pages = 0
    with_free = 0
    for row in range(rows):
        if slub.slab[cache, row, PFN] == NONE:
            for obj in range(row * per_slab, (row + 1) * per_slab):
                check.object[cache, obj] = NO_OBJECT
            continue
        violation = slab_violation(slub, check, cache, row)
        if violation:
            return violation
        pages += 1
        objects += int(slub.slab[cache, row, INUSE])
        if row != scalar[CPU_SLAB] and slub.slab[cache, row, FREELIST] != NONE:
            with_free += 1
    if scalar[CPU_SLAB] != NONE and slub.slab[cache, scalar[CPU_SLAB], PFN] == NONE:
        return violated(check, CPU_SLAB_APART, cache, -1, scalar[CPU_SLAB])
    # All on the partial list have a free object, so with this they are just those that have one.
    if scalar[NR_PARTIAL] != with_free:
        return violated(check, PARTIAL_HAS_FREE, cache, with_free, scalar[NR_PARTIAL])
    if scalar[OBJECTS] != objects or scalar[ALLOCATIONS] - scalar[FREES] != objects:
        return violated(check, OBJECTS_IS_SUM, cache, objects, scalar[OBJECTS])
    if scalar[PAGES] != pages:
        return violated(check, SLAB_PAGES_IS_SUM, cache, pages, scalar[PAGES])
    if scalar[UNUSED_ROWS] != rows - pages:
        return violated(check, SLAB_ROWS, rows, rows - pages, scalar[UNUSED_ROWS])
    for i in range(scalar[UNUSED_ROWS]):
        row = int(slub.slab[cache, i, UNUSED])
        # The first object of an unused row tells whether it was on the stack before.
        if row < 0 or row >= rows or check.object[cache, row * per_slab] != NO_OBJECT:
            return violated(check, SLAB_ROWS, row, i, row)
        check.object[cache, row * per_slab] = UNUSED_OBJECT
    return HOLDS


# Mappings


@kernel
def region_violation(memory: Memory, check: Check, region: int) -> int:
    """A region that a VMA is the first to refer to; its pages are claimed."""
    violation = claim_object(check, VM_REGION, region)
    if violation:
        return violation
    nommu = memory.nommu
    page_size = memory.zone.machine.page_size
    start = nommu.region[region, REGION_START]
    end = nommu.region[region, REGION_END]
    top = nommu.region[region, REGION_TOP]
    if start % page_size or end % page_size or top % page_size or top < end:
        return violated(check, REGION_PAGES, region, end, top)
    pfn = address_to_pfn(memory, start)
    return int(claim_pages(check, pfn, (top - start) // page_size, REGION))


@kernel
def vma_violation(memory: Memory, check: Check, mm: int, vma: int, before: int) -> int:
    """A VMA that follows `before` in the list of its mm. It is claimed, and counts as a user of its region."""
    violation = claim_object(check, VM_AREA_STRUCT, vma)
    if violation:
        return violation
    check.vma_mm[vma] = mm
    nommu = memory.nommu
    table = nommu.vma
    start = table[vma, VMA_START]
    end = table[vma, VMA_END]
    if table[vma, VMA_PREV] != before:
        return violated(check, VMA_LINKS, vma, before, table[vma, VMA_PREV])
    if start >= end:
        return violated(check, VMA_RANGE, vma, start + 1, end)
    if before != NONE and table[before, VMA_END] > start:
        if table[before, VMA_START] > start or not table[vma, VMA_FLAGS] & VM_MAYSHARE:
            return violated(check, VMAS_APART, vma, table[before, VMA_END], start)
        check.crossed[mm] = 1
    region = table[vma, VMA_REGION]
    if region >= 0 and region < check.users.shape[0] and check.object[VM_REGION, region] == CLAIMED:
        check.users[region] += 1
    else:
        violation = region_violation(memory, check, region)
        if violation:
            return violation
        check.users[region] = 1
    if start < nommu.region[region, REGION_START]:
        return violated(check, VMA_IN_REGION, vma, nommu.region[region, REGION_START], start)
    if end > nommu.region[region, REGION_END]:
        return violated(check, VMA_IN_REGION, vma, nommu.region[region, REGION_END], end)
    return HOLDS


@kernel
def nommu_violation(memory: Memory, check: Check, strict: int) -> int:
    """The lists of VMAs, their regions, and the list of shareable regions."""
    nommu = memory.nommu
    for mm in range(nommu.mm.shape[0]):
        before = np.int64(NONE)
        vma = nommu.mm[mm, MM_MMAP]
        count = 0
        if vma == NONE:
            check.crossed[mm] = 0
        while vma != NONE:
            # A list that runs in a circle comes to a VMA that is claimed.
            violation = vma_violation(memory, check, mm, vma, before)
            if violation:
                return violation
            count += 1
            before = vma
            vma = nommu.vma[vma, VMA_NEXT]
        if nommu.mm[mm, MM_MAP_COUNT] != count:
            return violated(check, MAP_COUNT, mm, count, nommu.mm[mm, MM_MAP_COUNT])
    shared = 0
    for mm in range(nommu.mm.shape[0]):
        vma = nommu.mm[mm, MM_MMAP]
        while vma != NONE:
            region = nommu.vma[vma, VMA_REGION]
            if check.users[region] > 0:  # not seen yet in this pass
                usage = nommu.region[region, REGION_USAGE]
                if usage != check.users[region]:
                    return violated(check, REGION_USERS, region, check.users[region], usage)
                shared += 1 if nommu.region[region, REGION_FLAGS] & VM_MAYSHARE else 0
                check.users[region] = 0
            vma = nommu.vma[vma, VMA_NEXT]
    return int(region_list_violation(nommu, check, shared, strict))


@kernel
def region_list_violation(nommu: Nommu, check: Check, shared: int, strict: int) -> int:
    """The list of shareable regions, of which VMAs have `shared`."""
    before = np.int64(NONE)
    region = nommu.scalar[REGION_LIST]
    low = np.int64(-1)
    count = 0
    while region != NONE:
        if region < 0 or region >= nommu.region.shape[0] or nommu.region[region, REGION_PREV] != before:
            return violated(check, REGION_LINKS, region, before, -1)
        if not nommu.region[region, REGION_FLAGS] & VM_MAYSHARE or nommu.region[region, REGION_USAGE] <= 0:
            return violated(check, REGION_LINKS, region, 1, nommu.region[region, REGION_USAGE])
        # By address, so that the list cannot run in a circle.
        start = nommu.region[region, REGION_START]
        if start <= low:
            return violated(check, REGION_LINKS, region, low + 1, start)
        low = start
        count += 1
        before = region
        region = nommu.region[region, REGION_NEXT]
    if count != shared and (strict or count < shared):
        return violated(check, REGION_LISTED, 0, shared, count)
    return HOLDS


# Maple trees


@kernel
def node_violation(maple: Maple, check: Check, tree: int, node: int, depth: int, high: int) -> int:
    """A node whose range ends at `high`, as one comes to it from above; it is claimed."""
    violation = claim_object(check, MAPLE_NODE, node)
    if violation:
        return violation
    kind = maple.node[node, HEAD, TYPE]
    end = maple.node[node, HEAD, END]
    expected = MAPLE_RANGE_64
    if depth == maple.tree[tree, HEIGHT] - 1:
        expected = MAPLE_LEAF_64
    elif maple.tree[tree, FLAGS] & MT_FLAGS_ALLOC_RANGE:
        expected = MAPLE_ARANGE_64
    if kind != expected:
        return violated(check, NODE_TYPE, node, expected, kind)
    if maple.node[node, HEAD, MARKED]:
        return violated(check, NODE_MARK, node, 0, maple.node[node, HEAD, MARKED])
    fewest = maple.scalar[MIN_SLOTS + kind]
    if depth == 0:
        fewest = 1 if kind == MAPLE_LEAF_64 else 2
    if end + 1 < fewest or end >= maple.scalar[SLOTS + kind]:
        return violated(check, NODE_SLOTS, node, fewest, end + 1)
    if maple.node[node, PIVOT, end] != high:
        return violated(check, NODE_END, node, high, maple.node[node, PIVOT, end])
    return HOLDS


@kernel
def leaf_violation(maple: Maple, check: Check, depth: int) -> int:
    """The slots of a leaf; its entries are counted, and its longest run of NULL goes onto the stack."""
    step = check.stack[depth]
    node = step[STACK_NODE]
    low = step[STACK_LOW]
    end = maple.node[node, HEAD, END]
    longest = np.int64(0)
    for offset in range(end + 1):
        high = maple.node[node, PIVOT, offset]
        if high < low:
            return violated(check, PIVOTS_ASCEND, node, low, high)
        if maple.node[node, SLOT, offset]:
            check.found[COUNT] += 1
        else:
            if offset > 0 and maple.node[node, SLOT, offset - 1] == 0:
                return violated(check, NULLS_JOINED, node, low - 1, high)
            longest = max(longest, high - low + 1)
        low = high + 1
    if maple.node[node, SLOT, end] == 0 and low - 1 != maple.scalar[INDEX_MAX]:
        return violated(check, NULL_LAST, node, maple.scalar[INDEX_MAX], low - 1)
    step[STACK_LONGEST] = longest
    return HOLDS


@kernel
def vmas_violation(maple: Maple, nommu: Nommu, check: Check, mm: int) -> int:
    """Each VMA of an mm stands in its tree, whose structure is sound, over just its range; `tree_violation` before.

    Where VMAs share pages, or did, the tree may lack those that may be shared.
    """
    entries = check.found[COUNT]
    if check.crossed[mm] == 0 and entries != nommu.mm[mm, MM_MAP_COUNT]:
        return violated(check, TREE_ENTRIES, mm, nommu.mm[mm, MM_MAP_COUNT], entries)
    vma = nommu.mm[mm, MM_MMAP]
    while vma != NONE:
        start = nommu.vma[vma, VMA_START]
        if check.crossed[mm] == 0 or not nommu.vma[vma, VMA_FLAGS] & VM_MAYSHARE:
            node = maple.tree[mm, ROOT]
            low = np.int64(0)
            high = np.int64(0)
            for _ in range(maple.tree[mm, HEIGHT]):
                offset = 0
                while maple.node[node, PIVOT, offset] < start:
                    low = maple.node[node, PIVOT, offset] + 1
                    offset += 1
                high = maple.node[node, PIVOT, offset]
                node = maple.node[node, SLOT, offset]  # below the leaf, the entry
            if node != vma + 1 or low != start or high != nommu.vma[vma, VMA_END] - 1:
                return violated(check, TREE_HAS_VMA, vma, start, low)
        vma = nommu.vma[vma, VMA_NEXT]
    return HOLDS


@kernel
def push_node(check: Check, depth: int, node: int, low: int, high: int) -> None:
    """One level further down."""
    step = check.stack[depth]
    step[STACK_NODE] = node
    step[STACK_OFFSET] = 0
    step[STACK_LOW] = low
    step[STACK_HIGH] = high
    step[STACK_LONGEST] = 0


@kernel
def tree_violation(maple: Maple, check: Check, tree: int) -> int:
    """The structure of a tree; its nodes are claimed, its entries counted in check.found[COUNT]."""
    row = maple.tree[tree]
    height = row[HEIGHT]
    check.found[COUNT] = 0
    if height < 0 or height > MAX_HEIGHT or (height == 0) != (row[ROOT] == NONE) or (height > 0 and row[ROOT_ENTRY]):
        return violated(check, TREE_ROOT, tree, height, row[ROOT])
    if height == 0:
        check.found[COUNT] = 1 if row[ROOT_ENTRY] else 0
        return HOLDS
    depth = 0
    push_node(check, 0, row[ROOT], 0, maple.scalar[INDEX_MAX])
    violation = node_violation(maple, check, tree, row[ROOT], 0, maple.scalar[INDEX_MAX])
    while violation == HOLDS:
        step = check.stack[depth]
        node = step[STACK_NODE]
        offset = step[STACK_OFFSET]
        if depth < height - 1 and offset <= maple.node[node, HEAD, END]:
            high = maple.node[node, PIVOT, offset]
            if high < step[STACK_LOW]:
                return violated(check, PIVOTS_ASCEND, node, step[STACK_LOW], high)
            depth += 1
            push_node(check, depth, maple.node[node, SLOT, offset], step[STACK_LOW], high)
            violation = node_violation(maple, check, tree, maple.node[node, SLOT, offset], depth, high)
            continue
        if depth == height - 1:
            violation = leaf_violation(maple, check, depth)
            if violation:
                return violation
        if depth == 0:
            return HOLDS
        violation = leave_node(maple, check, depth)
        depth -= 1
    return int(violation)


@kernel
def leave_node(maple: Maple, check: Check, depth: int) -> int:
    """Go on with the next slot of the node above, which must know the longest run of NULL below this one."""
    step, above = check.stack[depth], check.stack[depth - 1]
    node, offset = above[STACK_NODE], above[STACK_OFFSET]
    longest = step[STACK_LONGEST]
    if maple.node[node, HEAD, TYPE] == MAPLE_ARANGE_64 and maple.node[node, GAP, offset] != longest:
        return violated(check, GAP_IS_LARGEST, node, longest, maple.node[node, GAP, offset])
    above[STACK_LONGEST] = max(above[STACK_LONGEST], longest)
    above[STACK_OFFSET] = offset + 1
    above[STACK_LOW] = step[STACK_HIGH] + 1
    return HOLDS


@kernel
def subtree_violation(maple: Maple, check: Check, top: int) -> int:
    """A subtree that waits for RCU: its nodes are claimed, and that is all."""
    depth = 0
    push_node(check, 0, top, 0, 0)
    violation = claim_object(check, MAPLE_NODE, top)
    while violation == HOLDS and depth >= 0:
        step = check.stack[depth]
        node = step[STACK_NODE]
        offset = step[STACK_OFFSET]
        if maple.node[node, HEAD, TYPE] == MAPLE_LEAF_64 or offset > maple.node[node, HEAD, END]:
            depth -= 1
            continue
        step[STACK_OFFSET] = offset + 1
        if depth == MAX_HEIGHT or offset == maple.node.shape[2]:
            return violated(check, NODE_SLOTS, node, maple.node.shape[2], offset + 1)
        child = maple.node[node, SLOT, offset]
        depth += 1
        push_node(check, depth, child, 0, 0)
        violation = claim_object(check, MAPLE_NODE, child)
    return int(violation)


@kernel
def callback_violation(maple: Maple, check: Check) -> int:
    """What waits for RCU is claimed."""
    scalar = maple.scalar
    if scalar[RCU_DONE] < 0 or scalar[RCU_DONE] > scalar[RCU_PENDING] or scalar[RCU_PENDING] > maple.callback.shape[0]:
        return violated(check, CALLBACKS, 0, scalar[RCU_PENDING], scalar[RCU_DONE])
    for i in range(scalar[RCU_PENDING]):
        row = (scalar[RCU_HEAD] + i) % maple.callback.shape[0]
        if maple.callback[row, 0] == CALLBACK_TREE:
            violation = subtree_violation(maple, check, maple.callback[row, 1])
        else:
            violation = claim_object(check, MAPLE_NODE, maple.callback[row, 1])
        if violation:
            return violation
    return HOLDS


@kernel
def held_violation(maple: Maple, check: Check) -> int:
    """No state holds a node, none waits to leave its tree."""
    for mas in range(maple.state.shape[0]):
        if maple.state[mas, ALLOCATED]:
            return violated(check, NODES_GIVEN_BACK, mas, 0, maple.state[mas, ALLOCATED])
    if maple.scalar[REPLACED] or maple.scalar[DESTROY]:
        return violated(check, NODES_GIVEN_BACK, -1, 0, maple.scalar[REPLACED] + maple.scalar[DESTROY])
    return HOLDS


@kernel
def maple_violation(maple: Maple, nommu: Nommu, check: Check, maple_index: int, strict: int) -> int:
    """All trees and what waits for RCU. `maple_index` 1: each tree has the VMAs of its mm."""
    for tree in range(maple.tree.shape[0]):
        violation = tree_violation(maple, check, tree)
        if violation == HOLDS and strict and maple_index:
            violation = vmas_violation(maple, nommu, check, tree)
        if violation:
            return violation
    if strict:
        violation = held_violation(maple, check)
        if violation:
            return violation
    return int(callback_violation(maple, check))


# A boot


@kernel
def slab_pages_violation(slub: Slub, check: Check) -> int:
    """The pages of the object caches are claimed."""
    for cache in range(slub.slab.shape[0]):
        for row in range(slub.slab.shape[1]):
            if slub.slab[cache, row, PFN] != NONE:
                violation = claim_pages(check, np.int64(slub.slab[cache, row, PFN]), 1, SLAB)
                if violation:
                    return violation
    return HOLDS


@kernel
def handles_violation(boot: Boot, check: Check) -> int:
    """The blocks that the processes hold are claimed."""
    for handle in range(boot.handle.shape[0]):
        pfn = boot.handle[handle, 0]
        if pfn < 0:
            continue
        order = boot.handle[handle, 1]
        if order < 0 or order >= boot.memory.zone.machine.max_order:
            return violated(check, BLOCK_ORDERS, handle, boot.memory.zone.machine.max_order - 1, order)
        if pfn & ((1 << order) - 1):
            return violated(check, BLOCK_ALIGNED, pfn, 0, pfn & ((1 << order) - 1))
        violation = claim_pages(check, pfn, 1 << order, BLOCK)
        if violation:
            return violation
    return HOLDS


@kernel
def rooms_violation(boot: Boot, check: Check) -> int:
    """The caches of which each task has an object."""
    for room in range(TASK_STRUCT_ROOM, TASKS_SIZE):
        if boot.tasks[TASKS_ALIVE] > boot.tasks[room]:
            return violated(check, TASKS_HAVE_ROOM, room, boot.tasks[TASKS_ALIVE], boot.tasks[room])
    return HOLDS


@kernel
def rest_violation(boot: Boot, check: Check, strict: int) -> int:
    """What all claims together leave: pages for the slabs of tasks, and objects that the pre-init phase keeps."""
    nobody = 0
    handed_over = 0
    for page in range(boot.memory.zone.scalar[ZONE_START_PFN], boot.memory.zone.scalar[ZONE_END_PFN]):
        nobody += 1 if check.owner[page] == NOBODY else 0
        handed_over += 1 if check.owner[page] != RESERVED else 0
    if boot.memory.zone.scalar[MANAGED_PAGES] != handed_over:
        return violated(check, MANAGED_IS_SUM, 0, handed_over, boot.memory.zone.scalar[MANAGED_PAGES])
    slabs = boot.tasks[TASK_SLAB_PAGES]
    if nobody != slabs and (strict or nobody < slabs):
        return violated(check, EVERY_PAGE_ACCOUNTED, 0, slabs, nobody)
    for cache in range(boot.memory.slub.slab.shape[0]):
        unclaimed = 0
        for obj in range(boot.memory.slub.slab.shape[1] * boot.memory.slub.geometry[cache, OBJECTS_PER_SLAB]):
            unclaimed += 1 if check.object[cache, obj] == UNCLAIMED else 0
        if unclaimed != check.taken[cache] and (strict or unclaimed < check.taken[cache]):
            return violated(check, OBJECTS_ALL_USED, cache, check.taken[cache], unclaimed)
        if boot.memory.slub.scalar[cache, ROW_FAILURES]:
            return violated(check, ROWS_SUFFICE, cache, 0, boot.memory.slub.scalar[cache, ROW_FAILURES])
    return HOLDS


@kernel
def boot_violation(boot: Boot, check: Check, strict: int) -> int:
    """All invariants. `strict` 0 after a request that failed."""
    check.at[CHECKS] += 1
    if boot.memory.maple.scalar[NODE_SHORTAGE]:
        return violated(check, ROWS_SUFFICE, -1, 0, boot.memory.maple.scalar[NODE_SHORTAGE])
    violation = zone_violation(boot.memory.zone, check)
    if violation == HOLDS:
        violation = marks_violation(boot.memory.zone, check)
    if violation == HOLDS:
        violation = slub_violation(boot.memory.slub, check)
    if violation == HOLDS:
        violation = slab_pages_violation(boot.memory.slub, check)
    if violation == HOLDS:
        violation = handles_violation(boot, check)
    if violation == HOLDS:
        violation = nommu_violation(boot.memory, check, strict)
    if violation == HOLDS:
        maple_index = 1 if boot.memory.zone.policy.vma_index == VMA_INDEX_MAPLE else 0
        violation = maple_violation(boot.memory.maple, boot.memory.nommu, check, maple_index, strict)
    if violation == HOLDS:
        violation = rooms_violation(boot, check)
    if violation == HOLDS:
        violation = rest_violation(boot, check, strict)
    return int(violation)


# Checked boots


@kernel
def begin_check(boot: Boot, check: Check) -> None:
    """A boot right after memblock's hand-over: what is not free then was never handed over."""
    zone = boot.fresh_zone
    start, end = zone.scalar[ZONE_START_PFN], zone.scalar[ZONE_END_PFN]
    for page in range(check.base.shape[0]):
        check.base[page] = RESERVED if start <= page and page < end else OUTSIDE
    page = start
    while page < end:
        order = np.int64(zone.order[page])
        if order < 0:
            page += 1
            continue
        for free in range(page, page + (1 << order)):
            check.base[free] = NOBODY
        page += 1 << order
    check.crossed[:] = 0
    check.taken[:] = 0


@kernel
def move_pages(check: Check, pfn: int, pages: int, was: int, becomes: int) -> int:
    """The pre-init phase takes pages or gives them back."""
    for page in range(pfn, pfn + pages):
        if page < 0 or page >= check.base.shape[0]:
            return violated(check, PAGE_OWNER, page, was, OUTSIDE)
        if check.base[page] != was:
            return violated(check, PAGE_OWNER, page, was, np.int64(check.base[page]))
        check.base[page] = becomes
    return HOLDS


@kernel
def pre_init_violation(boot: Boot, program: Program, check: Check, row: int) -> int:
    """A request of the pre-init phase that has just been placed takes and gives back what is to be had."""
    kind = program.pre_init[row, PRE_KIND]
    a = np.int64(program.pre_init[row, PRE_A])
    b = np.int64(program.pre_init[row, PRE_B])
    c = np.int64(program.pre_init[row, PRE_C])
    if kind == PRE_PAGE_ALLOC:
        if boot.pre_handle[a, 0] & ((1 << b) - 1):
            return violated(check, BLOCK_ALIGNED, boot.pre_handle[a, 0], 0, boot.pre_handle[a, 0] & ((1 << b) - 1))
        return int(move_pages(check, boot.pre_handle[a, 0], 1 << b, NOBODY, PRE_INIT))
    if kind == PRE_PAGE_FREE:
        return int(move_pages(check, boot.pre_handle[a, 0], 1 << boot.pre_handle[a, 1], PRE_INIT, NOBODY))
    if kind == PRE_PAGE_FREE_PART:
        return int(move_pages(check, boot.pre_handle[a, 0] + b, c, PRE_INIT, NOBODY))
    if kind == PRE_FREE_INITMEM:
        return int(move_pages(check, b, c, RESERVED, NOBODY))
    if kind == PRE_KMEM_CACHE_ALLOC:
        check.taken[a] += b
    return HOLDS


@kernel
def check_pre_init(boot: Boot, program: Program, single: Program, check: Check, phase: int) -> int:
    """begin_boot() with a check after each request: BOOTED if there is memory for all, FAILED, or VIOLATED.

    `single` is the program with each row of the pre-init phase as a phase by itself.
    """
    check.at[POSITION] = -1
    check.at[ROW] = -1
    reset_boot(boot)
    begin_check(boot, check)
    if boot_violation(boot, check, 1):
        return VIOLATED
    for row in range(program.pre_init_range[phase, 0], program.pre_init_range[phase, 1]):
        check.at[ROW] = row
        placed = run_pre_init(boot, single, row)
        if placed and pre_init_violation(boot, program, check, row):
            return VIOLATED
        if boot_violation(boot, check, 1 if placed else 0):
            return VIOLATED
        if not placed:
            return FAILED if boot.result[RESULT_WRONG] == RIGHT else WRONG
    return BOOTED


@kernel
def check_user_phase(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    check: Check,
    seed: Any,
    number: int,
    recording: int,
) -> int:
    """run_and_place() with a check after each entry of the stream: BOOTED, FAILED, WRONG or VIOLATED."""
    check.at[POSITION] = -1
    check.at[ROW] = -1
    reset_sched(program, timing, sched, seed, number, recording)
    if boot_violation(boot, check, 1):
        return VIOLATED
    clock = sched.clock
    position = 0
    while clock[LOGIN] == 0:
        while clock[LOGIN] == 0 and clock[STREAM_LENGTH] < position + STRETCH:
            if not run_step(program, timing, sched, seed, number):
                wrong(boot, clock[WHY_WRONG], clock[WRONG_ROW])
                return WRONG
        end = clock[STREAM_LENGTH]
        while position < end:
            check.at[POSITION] = position
            placed = place_entry(boot, program, sched, recording, position)
            if boot_violation(boot, check, 1 if placed else 0):
                return VIOLATED
            if not placed:
                return FAILED if boot.result[RESULT_WRONG] == RIGHT else WRONG
            position += 1
    return BOOTED


@kernel
def check_boots(
    program: Program,
    single: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    check: Check,
    seed: Any,
    first: int,
    order: NDArray[np.int64],
    outcomes: Any,
) -> int:
    """simulate_boots() with a check after each request: BOOTED, or WRONG or VIOLATED; check.at says where."""
    prepared = np.int64(-1)
    ready = BOOTED
    for place in range(order.shape[0]):
        i = order[place]
        check.at[BOOT_NUMBER] = first + i
        phase = np.int64(outcomes[i]["pre_init"])
        recording = np.int64(outcomes[i]["recording"])
        if phase != prepared:
            prepared = phase
            ready = check_pre_init(boot, program, single, check, phase)
            if ready in (WRONG, VIOLATED):
                return ready
            save_init(boot)
        result = ready
        if ready == BOOTED:
            restore_init(boot)
            result = check_user_phase(program, timing, sched, boot, check, seed, first + i, recording)
            if result in (WRONG, VIOLATED):
                return result
        else:
            reset_sched(program, timing, sched, seed, first + i, recording)
        write_outcome(program, sched, boot, first + i, recording, result == FAILED, outcomes[i])
    return BOOTED


def one_request_a_phase(program: Program) -> Program:
    """The program with each row of the pre-init phase as a phase by itself, for `check_boots`."""
    rows = np.arange(len(program.pre_init), dtype=np.int32)
    handles = np.full(len(rows), program.pre_init_range[:, 2].max(), np.int32)
    return program._replace(pre_init_range=np.ascontiguousarray(np.stack([rows, rows + 1, handles], axis=1)))


# For plain Python


def check_zone(zone: Zone) -> None:
    """Raise AssertionError unless lists, counts, pages and pageblocks of a zone agree."""
    check = make_check(zone.order.shape[0])
    check.base[:] = OUTSIDE
    check.base[zone.scalar[ZONE_START_PFN] : zone.scalar[ZONE_END_PFN]] = NOBODY
    if zone_violation(zone, check):
        raise AssertionError(words_of(check))


def check_slub(slub: Slub) -> None:
    """Raise AssertionError unless slabs, lists and counts of the caches agree."""
    check = make_check(objects=slub.next_object.shape[1])
    if slub_violation(slub, check):
        raise AssertionError(words_of(check))


def check_nommu(memory: Memory) -> None:
    """Raise AssertionError unless VMAs, regions and the list of shareable regions agree."""
    nommu = memory.nommu
    pages = address_to_pfn(memory, int(nommu.region[:, REGION_TOP].max()))
    check = make_check(max(pages, 0), max(len(nommu.vma), len(nommu.region)), len(nommu.mm))
    check.object[VM_AREA_STRUCT, len(nommu.vma) :] = NO_OBJECT
    check.object[VM_REGION, len(nommu.region) :] = NO_OBJECT
    if nommu_violation(memory, check, 0):
        raise AssertionError(words_of(check))


def check_tree(maple: Maple, tree: int) -> int:
    """Raise AssertionError unless the structure of a maple tree is sound; the number of its nodes."""
    check = make_check(objects=maple.node.shape[0] - 1)
    if tree_violation(maple, check, tree):
        raise AssertionError(words_of(check))
    return int((check.object[MAPLE_NODE] == CLAIMED).sum())
