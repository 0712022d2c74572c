"""Object caches (mm/slub.c, Linux 6.1) of a kernel without SMP: one cpu slab, one partial list per cache.

Without SMP there are no per-cpu partial lists; without SYSFS there is no slab debugging. Slabs are single
pages here: `make_slub` refuses an object size that Linux would put into larger ones.

An object is an int: slab row * objects per slab + index in the slab. Slab rows are numbered per cache and
used again after the page went back, so 0 <= object < max_slabs * objects per slab, and rows of other arrays
can be indexed by it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import inlined_kernel, kernel, seldom_kernel
from mcsim.kernels.linux.gfp import GFP_NORETRY, GFP_NOWARN
from mcsim.kernels.linux.machine import Machine
from mcsim.kernels.linux.page_alloc import Zone, alloc_pages, free_pages

# caches
MAPLE_NODE = 0
VM_AREA_STRUCT = 1
VM_REGION = 2

# columns of Slub.geometry
OBJECT_SIZE = 0  # bytes, alignment included
OBJECTS_PER_SLAB = 1
MIN_PARTIAL = 2  # slabs: from here on an emptied slab goes back to the page allocator
RECIPROCAL = 3  # of OBJECTS_PER_SLAB, for object_row()
RECIPROCAL_SHIFT = 32

# columns of Slub.slab
PFN = 0  # page of the slab, -1 = no page
INUSE = 1  # objects handed out
FREELIST = 2  # first free object, -1 = none
NEXT = 3  # neighbours on the partial list, -1 = none
PREV = 4
UNUSED = 5  # not of this slab: the stack of rows without a page, from row 0 up
SLAB_COLUMNS = 6

# columns of Slub.scalar
CPU_SLAB = 0  # slab row, -1 = none
PARTIAL_HEAD = 1  # slab row, -1 = none
PARTIAL_TAIL = 2
NR_PARTIAL = 3
UNUSED_ROWS = 4  # entries on the stack of slab rows without a page
BUDGET = 5  # failslab: objects that may still be handed out, -1 = unlimited
OBJECTS = 6  # objects handed out now
OBJECTS_PEAK = 7
PAGES = 8  # slab pages held now
PAGES_PEAK = 9
ALLOCATIONS = 10  # objects handed out since the reset
FREES = 11  # objects given back since the reset
PAGE_FAILURES = 12  # slab pages asked for and not got since the reset
ROW_FAILURES = 13  # slabs refused because max_slabs was too small: the simulation is void if this is not 0
SCALARS = 14

# Slub.log rows are (event, subject, value, number)
EVENT_OBJECT_ALLOC = 1  # cache, object, 0
EVENT_OBJECT_FREE = 2  # cache, object, 0
EVENT_SLAB_ALLOC = 3  # cache, pfn, 0
EVENT_SLAB_FREE = 4  # cache, pfn, 0
EVENT_OBJECT_FAIL = 5  # cache, 0, 0

NONE = -1


class Slub(NamedTuple):
    """Several caches; the first index of every array but `log` is the cache."""

    geometry: NDArray[np.int64]  # [caches, 4]
    scalar: NDArray[np.int64]  # [caches, SCALARS]
    slab: NDArray[np.int32]  # [caches, max_slabs, 6]
    next_object: NDArray[np.int32]  # [caches, max_slabs * most objects per slab] free list links, -1 = last
    log: NDArray[np.int64]  # [1 + events, 4] what was taken and given back in order; [0, 0] = events so far


def make_slub(machine: Machine, max_slabs: int = 64, log_events: int = 0) -> Slub:
    """Caches for objects of `Machine.object_sizes` bytes, empty, with room for `max_slabs` pages each.

    ValueError if a slab of such an object would not be a single page (calculate_order: at least 8 objects and
    at most one sixteenth of the page wasted).
    """
    page_size = 1 << machine.page_shift
    caches = len(machine.object_sizes)
    geometry = np.zeros((caches, 4), np.int64)
    for cache, size in enumerate(machine.object_sizes.tolist()):
        if size <= 0 or page_size // size < 8 or page_size % size > page_size // 16:
            raise ValueError(f"objects of {size} bytes do not live in single pages of {page_size} bytes")
        # set_min_partial(): half of ilog2(size), at least 5, at most 10
        objects = page_size // size
        reciprocal = -(-(1 << RECIPROCAL_SHIFT) // objects)
        geometry[cache] = size, objects, max(5, min(10, (size.bit_length() - 1) // 2)), reciprocal
    objects = max_slabs * int(geometry[:, OBJECTS_PER_SLAB].max())
    slub = Slub(
        geometry=geometry,
        scalar=np.zeros((caches, SCALARS), np.int64),
        slab=np.zeros((caches, max_slabs, SLAB_COLUMNS), np.int32),
        next_object=np.zeros((caches, objects), np.int32),
        log=np.zeros((1 + log_events, 4), np.int64),
    )
    reset_slub(slub)
    return slub


@kernel
def reset_slub(slub: Slub) -> None:
    """Back to no object, no page and no budget limit; pages are not given back to any zone."""
    caches, max_slabs = slub.slab.shape[:2]
    for cache in range(caches):
        scalar = slub.scalar[cache]
        scalar[:] = 0
        scalar[CPU_SLAB] = NONE
        scalar[PARTIAL_HEAD] = NONE
        scalar[PARTIAL_TAIL] = NONE
        scalar[UNUSED_ROWS] = max_slabs
        scalar[BUDGET] = -1
        for row in range(max_slabs):
            slub.slab[cache, row, PFN] = NONE
            slub.slab[cache, row, INUSE] = 0
            slub.slab[cache, row, FREELIST] = NONE
            slub.slab[cache, row, UNUSED] = max_slabs - 1 - row  # row 0 is on top
    slub.log[0, 0] = 0


@kernel
def copy_slub(destination: Slub, source: Slub) -> None:
    """Make `destination` equal to `source`, made with the same arguments, but for the log.

    Free list links are copied of slabs that `source` has used, rows from 0 up: nobody reads others before
    `allocate_slab` writes them.
    """
    caches, max_slabs = source.slab.shape[:2]
    for cache in range(caches):
        for i in range(SCALARS):
            destination.scalar[cache, i] = source.scalar[cache, i]
        for row in range(max_slabs):
            for i in range(SLAB_COLUMNS):
                destination.slab[cache, row, i] = source.slab[cache, row, i]
        rows = max_slabs
        while rows > 0 and source.slab[cache, rows - 1, PFN] == NONE:
            rows -= 1
        for obj in range(rows * source.geometry[cache, OBJECTS_PER_SLAB]):
            destination.next_object[cache, obj] = source.next_object[cache, obj]


@inlined_kernel
def log_event(slub: Slub, event: int, subject: int, value: int, number: int) -> None:
    """Append one event if there is a log with room."""
    if slub.log.shape[0] > 1:
        append_event(slub, event, subject, value, number)


@seldom_kernel
def append_event(slub: Slub, event: int, subject: int, value: int, number: int) -> None:
    """One more row of the log, if it has room."""
    row = slub.log[0, 0] + 1
    if row < slub.log.shape[0]:
        slub.log[row, 0] = event
        slub.log[row, 1] = subject
        slub.log[row, 2] = value
        slub.log[row, 3] = number
        slub.log[0, 0] = row


@inlined_kernel
def object_row(slub: Slub, cache: int, obj: int) -> int:
    """The slab of an object, as a quotient without a division (reciprocal_divide of Linux).

    Exact while objects * OBJECTS_PER_SLAB stays below 2^32, which is far more memory than there is.
    """
    return (obj * slub.geometry[cache, RECIPROCAL]) >> RECIPROCAL_SHIFT


@kernel
def object_pfn(slub: Slub, cache: int, obj: int) -> int:
    """The page that holds the object (virt_to_slab)."""
    return int(slub.slab[cache, object_row(slub, cache, obj), PFN])


@kernel
def object_offset(slub: Slub, cache: int, obj: int) -> int:
    """Bytes from the start of the object's page to the object."""
    return int(obj % slub.geometry[cache, OBJECTS_PER_SLAB] * slub.geometry[cache, OBJECT_SIZE])


@kernel
def add_partial(slub: Slub, cache: int, row: int) -> None:
    """Slab `row` to the tail of the partial list."""
    scalar = slub.scalar[cache]
    tail = scalar[PARTIAL_TAIL]
    slub.slab[cache, row, PREV] = tail
    slub.slab[cache, row, NEXT] = NONE
    if tail == NONE:
        scalar[PARTIAL_HEAD] = row
    else:
        slub.slab[cache, tail, NEXT] = row
    scalar[PARTIAL_TAIL] = row
    scalar[NR_PARTIAL] += 1


@kernel
def remove_partial(slub: Slub, cache: int, row: int) -> None:
    """Slab `row` off the partial list."""
    scalar = slub.scalar[cache]
    before = slub.slab[cache, row, PREV]
    after = slub.slab[cache, row, NEXT]
    if before == NONE:
        scalar[PARTIAL_HEAD] = after
    else:
        slub.slab[cache, before, NEXT] = after
    if after == NONE:
        scalar[PARTIAL_TAIL] = before
    else:
        slub.slab[cache, after, PREV] = before
    scalar[NR_PARTIAL] -= 1


@seldom_kernel
def allocate_slab(slub: Slub, zone: Zone, cache: int, gfp: int) -> int:
    """A new slab with all objects free, ascending; its row, or -1 if there is no page.

    The page is asked for first without warning and retry, then with the caller's own flags.
    """
    scalar = slub.scalar[cache]
    if scalar[UNUSED_ROWS] == 0:
        scalar[ROW_FAILURES] += 1
        return -1
    pfn = alloc_pages(zone, gfp | GFP_NOWARN | GFP_NORETRY, 0)
    if pfn < 0:
        pfn = alloc_pages(zone, gfp, 0)
    if pfn < 0:
        scalar[PAGE_FAILURES] += 1
        return -1
    scalar[UNUSED_ROWS] -= 1
    row = int(slub.slab[cache, scalar[UNUSED_ROWS], UNUSED])
    objects = slub.geometry[cache, OBJECTS_PER_SLAB]
    first = row * objects
    for obj in range(first, first + objects - 1):
        slub.next_object[cache, obj] = obj + 1
    slub.next_object[cache, first + objects - 1] = NONE
    slub.slab[cache, row, PFN] = pfn
    slub.slab[cache, row, INUSE] = 0
    slub.slab[cache, row, FREELIST] = first
    scalar[PAGES] += 1
    scalar[PAGES_PEAK] = max(scalar[PAGES_PEAK], scalar[PAGES])
    log_event(slub, EVENT_SLAB_ALLOC, cache, pfn, 0)
    return row


@seldom_kernel
def discard_slab(slub: Slub, zone: Zone, cache: int, row: int) -> None:
    """The page of an empty slab back to the page allocator."""
    scalar = slub.scalar[cache]
    pfn = int(slub.slab[cache, row, PFN])
    slub.slab[cache, row, PFN] = NONE
    slub.slab[cache, scalar[UNUSED_ROWS], UNUSED] = row
    scalar[UNUSED_ROWS] += 1
    scalar[PAGES] -= 1
    log_event(slub, EVENT_SLAB_FREE, cache, pfn, 0)
    free_pages(zone, pfn, 0)


@seldom_kernel
def new_cpu_slab(slub: Slub, zone: Zone, cache: int, gfp: int) -> int:
    """Drop the exhausted cpu slab; the next is the head of the partial list, else a new page (___slab_alloc).

    Returns the slab row or -1. The dropped slab is full and on no list, even if nothing replaces it.
    """
    scalar = slub.scalar[cache]
    scalar[CPU_SLAB] = NONE
    row = int(scalar[PARTIAL_HEAD])
    if row != NONE:
        remove_partial(slub, cache, row)
    else:
        row = allocate_slab(slub, zone, cache, gfp)
    scalar[CPU_SLAB] = row
    return row


@kernel
def kmem_cache_alloc(slub: Slub, zone: Zone, cache: int, gfp: int) -> int:
    """One object of `cache` (kmem_cache_alloc); -1 if the budget is spent or no slab page is to be had."""
    scalar = slub.scalar[cache]
    if scalar[BUDGET] == 0:
        log_event(slub, EVENT_OBJECT_FAIL, cache, 0, 0)
        return -1
    row = int(scalar[CPU_SLAB])
    if row == NONE or slub.slab[cache, row, FREELIST] == NONE:
        row = int(new_cpu_slab(slub, zone, cache, gfp))
        if row == NONE:
            log_event(slub, EVENT_OBJECT_FAIL, cache, 0, 0)
            return -1
    obj = int(slub.slab[cache, row, FREELIST])
    slub.slab[cache, row, FREELIST] = slub.next_object[cache, obj]
    slub.slab[cache, row, INUSE] += 1
    if scalar[BUDGET] > 0:
        scalar[BUDGET] -= 1
    scalar[ALLOCATIONS] += 1
    scalar[OBJECTS] += 1
    if scalar[OBJECTS] > scalar[OBJECTS_PEAK]:
        scalar[OBJECTS_PEAK] = scalar[OBJECTS]
    log_event(slub, EVENT_OBJECT_ALLOC, cache, obj, 0)
    return obj


@kernel
def put_objects(slub: Slub, zone: Zone, cache: int, row: int, head: int, tail: int, count: int) -> None:
    """`count` objects of one slab, linked from `head` to `tail`, onto its free list (do_slab_free)."""
    scalar = slub.scalar[cache]
    was_full = slub.slab[cache, row, FREELIST] == NONE
    slub.next_object[cache, tail] = slub.slab[cache, row, FREELIST]
    slub.slab[cache, row, FREELIST] = head
    slub.slab[cache, row, INUSE] -= count
    scalar[OBJECTS] -= count
    scalar[FREES] += count
    if row == scalar[CPU_SLAB]:
        return
    if slub.slab[cache, row, INUSE] == 0 and scalar[NR_PARTIAL] >= slub.geometry[cache, MIN_PARTIAL]:
        if not was_full:
            remove_partial(slub, cache, row)
        discard_slab(slub, zone, cache, row)
    elif was_full:
        add_partial(slub, cache, row)


@kernel
def kmem_cache_free(slub: Slub, zone: Zone, cache: int, obj: int) -> None:
    """Give back one object (kmem_cache_free)."""
    log_event(slub, EVENT_OBJECT_FREE, cache, obj, 0)
    put_objects(slub, zone, cache, object_row(slub, cache, obj), obj, obj, 1)


@kernel
def kmem_cache_free_bulk(slub: Slub, zone: Zone, cache: int, count: int, objects: NDArray[np.int64]) -> None:
    """Give back objects[0:count] (kmem_cache_free_bulk); the array is reordered.

    build_detached_freelist: from the end of the array, objects of one slab are collected into one list, until
    three foreign ones were met, and put back at once. slab_free_freelist_hook then turns that list round, so
    that the next allocation gets the one nearest the end, as after single frees.
    """
    left = count
    while left > 0:
        position = left - 1
        head = int(objects[position])
        tail = head
        row = object_row(slub, cache, head)
        same = position
        taken = 1
        lookahead = 3
        log_event(slub, EVENT_OBJECT_FREE, cache, head, 0)
        while position > 0:
            position -= 1
            obj = int(objects[position])
            if object_row(slub, cache, obj) == row:
                slub.next_object[cache, tail] = obj
                tail = obj
                taken += 1
                same -= 1
                objects[position] = objects[same]
                objects[same] = obj
                log_event(slub, EVENT_OBJECT_FREE, cache, obj, 0)
            else:
                lookahead -= 1
                if lookahead == 0:
                    break
        put_objects(slub, zone, cache, row, head, tail, taken)
        left = same


@kernel
def kmem_cache_alloc_bulk(slub: Slub, zone: Zone, cache: int, gfp: int, count: int, out: NDArray[np.int64]) -> int:
    """`count` objects into out[0:count] (kmem_cache_alloc_bulk); returns count, or 0 with nothing taken.

    The objects are those that single allocations would give; if one fails, all are given back. Budget spent
    on them stays spent.
    """
    for index in range(count):
        obj = kmem_cache_alloc(slub, zone, cache, gfp)
        if obj < 0:
            kmem_cache_free_bulk(slub, zone, cache, index, out)
            return 0
        out[index] = obj
    return count
