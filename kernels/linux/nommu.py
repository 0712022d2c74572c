"""Memory mappings of processes without an MMU (mm/nommu.c).

The order in which a call takes and gives back objects, tree nodes and pages is the policy's: before the maple
tree, the maple tree with nodes taken inside the store, the mail of 1 June 2022, 6.1, and 6.6.

A VMA and a region are rows of `Nommu.vma` and `Nommu.region`, numbered by their objects in the caches
VM_AREA_STRUCT and VM_REGION. An mm is a row given by the caller; its maple tree has the same row. The tree
holds VMA row + 1 over the inclusive range [start, end - 1].

Addresses are bytes; without an MMU they are physical: RAM base + pfn * page size.

Departures: where the tree forgets a VMA (an overlapping mapping of the same file, a failed update) the list
of the mm still knows it, and that list is what calls go by; files are always copied (no direct mapping, so
NOMMU_MAP_DIRECT is never set); reading a file never fails; the list of regions holds the shareable ones
only, for no one looks for others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.linux.machine import (
    ERROR_PATHS_AS_MAILED,
    ERROR_PATHS_FIXED,
    ERROR_PATHS_LEAK_SPLIT,
    EXIT_MMAP_ERASE_EACH,
    MMAP_PREALLOC_EARLY,
    MMAP_PREALLOC_LATE_RANGED,
    MMAP_PREALLOC_MAILED,
    MMAP_PREALLOC_NONE_NOWAIT,
    SPLIT_OVERWRITE,
    SPLIT_READD,
    SPLIT_STORE_NEW,
    VMA_INDEX_MAPLE,
)
from mcsim.kernels.linux.maple_tree import (
    Maple,
    mas_destroy,
    mas_init,
    mas_preallocate,
    mas_preallocate_range,
    mas_set_range,
    mas_store,
    mas_store_gfp,
    mas_store_prealloc,
    mt_destroy,
    mt_init,
)
from mcsim.kernels.linux.page_alloc import Zone, alloc_pages_exact, free_pages_exact, get_order
from mcsim.kernels.linux.slub import (
    MAPLE_NODE,
    OBJECTS_PER_SLAB,
    VM_AREA_STRUCT,
    VM_REGION,
    Slub,
    kmem_cache_alloc,
    kmem_cache_free,
    log_event,
)

ENOMEM = 12
EINVAL = 22

VM_MAYSHARE = 0x80  # flag of do_mmap(): a read-only mapping of a file, which may share the pages of another

NONE = -1
NO_FILE = -1
SHARING_VIOLATION = -2
MAS = 0  # the row of the tree state used here

# columns of Nommu.vma
VMA_START = 0  # bytes
VMA_END = 1  # first byte behind
VMA_REGION = 2  # row
VMA_FILE = 3  # number of the file, -1 = anonymous
VMA_FLAGS = 4
VMA_PGOFF = 5  # pages
VMA_NEXT = 6  # neighbours in the mm, ascending by address, -1 = none
VMA_PREV = 7
VMA_COLUMNS = 8

# columns of Nommu.region
REGION_START = 0  # bytes
REGION_END = 1  # end of what is mapped
REGION_TOP = 2  # end of what is allocated: surplus pages that were not trimmed lie between end and top
REGION_USAGE = 3  # VMAs
REGION_FILE = 4
REGION_FLAGS = 5
REGION_PGOFF = 6
REGION_NEXT = 7  # neighbours on the list of shareable regions, ascending by address, -1 = none
REGION_PREV = 8
REGION_COLUMNS = 9

# columns of Nommu.mm
MM_MMAP = 0  # VMA with the lowest address, -1 = none
MM_MAP_COUNT = 1
MM_TOTAL_VM = 2  # pages
MM_COLUMNS = 3

# Nommu.scalar
REGION_LIST = 0  # shareable region with the lowest address, -1 = none
FAILURES = 1  # steps that did not get what they asked for, since the reset
FAILED_CLASS = 2  # of the first of them, as are the next three
FAILED_ORDER = 3  # 0 but for mappings
FAILED_PAGES = 4  # pages of the mapping; 1 for a slab page
FAILED_CACHE = 5  # -1 for mappings
BUGS = 6  # stores that ran out of nodes, most often for want of preallocation: the kernel stops there (BUG_ON)
SCALARS = 7

# values of FAILED_CLASS
FAILED_NOTHING = 0
FAILED_MAPPING = 1  # contiguous pages of a mapping
FAILED_SLAB_PAGE = 2  # object for a VMA or a region
FAILED_NODE = 3  # object for a maple node

# Slub.log: (event, subject, value, number)
EVENT_PAGES_ALLOC = 16  # order, pfn, pages kept
EVENT_PAGES_FREE = 17  # 0, pfn, pages
EVENT_PAGES_FAIL = 18  # order, 0, pages


class Nommu(NamedTuple):
    """All mappings of all processes."""

    vma: NDArray[np.int64]  # [VMA objects, VMA_COLUMNS]
    region: NDArray[np.int64]  # [region objects, REGION_COLUMNS]
    mm: NDArray[np.int64]  # [mms, MM_COLUMNS]
    scalar: NDArray[np.int64]  # [SCALARS]


class Memory(NamedTuple):
    """All the memory of a machine without MMU; what it is, and which kernel runs on it, says `zone`."""

    zone: Zone
    slub: Slub
    maple: Maple
    nommu: Nommu


def make_nommu(slub: Slub, mms: int) -> Nommu:
    """Room for `mms` address spaces and for as many VMAs and regions as `slub` has objects."""
    slabs = slub.slab.shape[1]
    nommu = Nommu(
        vma=np.zeros((slabs * int(slub.geometry[VM_AREA_STRUCT, OBJECTS_PER_SLAB]), VMA_COLUMNS), np.int64),
        region=np.zeros((slabs * int(slub.geometry[VM_REGION, OBJECTS_PER_SLAB]), REGION_COLUMNS), np.int64),
        mm=np.zeros((mms, MM_COLUMNS), np.int64),
        scalar=np.zeros(SCALARS, np.int64),
    )
    reset_nommu(nommu)
    return nommu


@kernel
def reset_nommu(nommu: Nommu) -> None:
    """No mm, no mapping, no failure."""
    nommu.mm[:, MM_MMAP] = NONE
    nommu.mm[:, MM_MAP_COUNT] = 0
    nommu.mm[:, MM_TOTAL_VM] = 0
    scalar = nommu.scalar
    scalar[REGION_LIST] = NONE
    scalar[FAILURES:SCALARS] = 0
    scalar[FAILED_CACHE] = NONE


@kernel
def mm_init(memory: Memory, mm: int) -> None:
    """An empty address space in row `mm` (mm_init of kernel/fork.c); takes nothing."""
    nommu = memory.nommu
    nommu.mm[mm, MM_MMAP] = NONE
    nommu.mm[mm, MM_MAP_COUNT] = 0
    nommu.mm[mm, MM_TOTAL_VM] = 0
    if memory.zone.policy.vma_index == VMA_INDEX_MAPLE:
        mt_init(memory.maple, mm, memory.zone.policy.maple_rcu)


@kernel
def address_to_pfn(memory: Memory, address: int) -> int:
    """Page that holds the byte at `address`."""
    return int((address - memory.zone.machine.ram_start) // memory.zone.machine.page_size)


@kernel
def record_failure(nommu: Nommu, failed_class: int, order: int, pages: int, cache: int) -> None:
    """Count a failed step; the first one is kept."""
    scalar = nommu.scalar
    if scalar[FAILURES] == 0:
        scalar[FAILED_CLASS] = failed_class
        scalar[FAILED_ORDER] = order
        scalar[FAILED_PAGES] = pages
        scalar[FAILED_CACHE] = cache
    scalar[FAILURES] += 1


@kernel
def alloc_object(memory: Memory, cache: int) -> int:
    """A VMA or region object, or -1 with the failure recorded."""
    obj = kmem_cache_alloc(memory.slub, memory.zone, cache, GFP_KERNEL)
    if obj < 0:
        record_failure(memory.nommu, FAILED_SLAB_PAGE, 0, 1, cache)
    return int(obj)


@kernel
def preallocate_all(memory: Memory, mm: int) -> int:
    """Nodes for any store into the tree of `mm`: 1 + 3 * height. 0 or -ENOMEM."""
    mas_init(memory.maple, MAS, mm, 0, 0)
    error = int(mas_preallocate(memory.maple, memory.slub, memory.zone, MAS, GFP_KERNEL))
    if error != 0:
        record_failure(memory.nommu, FAILED_NODE, 0, 1, MAPLE_NODE)
    return error


@kernel
def preallocate_range(memory: Memory, mm: int, start: int, end: int, entry: int) -> int:
    """Nodes for the store of `entry` over [start, end) and no other (6.6). 0 or -ENOMEM."""
    mas_init(memory.maple, MAS, mm, start, end - 1)
    error = int(mas_preallocate_range(memory.maple, memory.slub, memory.zone, MAS, entry, GFP_KERNEL))
    if error != 0:
        record_failure(memory.nommu, FAILED_NODE, 0, 1, MAPLE_NODE)
    return error


@kernel
def record_bug(nommu: Nommu, error: int) -> int:
    """Count a store that ran out of nodes: the kernel stops there (BUG_ON). Returns `error`."""
    if error != 0:
        record_failure(nommu, FAILED_NODE, 0, 1, MAPLE_NODE)
        nommu.scalar[BUGS] += 1
    return int(error)


@kernel
def store_prealloc(memory: Memory, start: int, end: int, entry: int) -> int:
    """Store with the nodes at hand, then give back those that were not needed (vma_mas_store)."""
    mas_set_range(memory.maple, MAS, start, end - 1)
    return int(record_bug(memory.nommu, mas_store_prealloc(memory.maple, memory.slub, memory.zone, MAS, entry)))


@kernel
def update_tree(memory: Memory, mm: int, start: int, end: int, entry: int) -> int:
    """One store over [start, end), nodes taken right before it or inside it. 0, or -ENOMEM and no change."""
    policy = memory.zone.policy
    if policy.vma_index != VMA_INDEX_MAPLE:
        return 0
    error = 0
    if policy.mmap_prealloc == MMAP_PREALLOC_NONE_NOWAIT:
        mas_init(memory.maple, MAS, mm, start, end - 1)  # nothing in hand: the store asks for what it needs
    elif policy.mmap_prealloc == MMAP_PREALLOC_LATE_RANGED:
        error = int(preallocate_range(memory, mm, start, end, entry))
    else:
        error = int(preallocate_all(memory, mm))
    if error == 0:
        error = int(store_prealloc(memory, start, end, entry))
    return error


@kernel
def link_vma(nommu: Nommu, mm: int, vma: int) -> None:
    """Put the VMA into the list of its mm, by address."""
    table = nommu.vma
    start = table[vma, VMA_START]
    before = NONE
    after = int(nommu.mm[mm, MM_MMAP])
    while after != NONE and table[after, VMA_START] < start:
        before = after
        after = int(table[after, VMA_NEXT])
    table[vma, VMA_PREV] = before
    table[vma, VMA_NEXT] = after
    if before == NONE:
        nommu.mm[mm, MM_MMAP] = vma
    else:
        table[before, VMA_NEXT] = vma
    if after != NONE:
        table[after, VMA_PREV] = vma
    nommu.mm[mm, MM_MAP_COUNT] += 1


@kernel
def unlink_vma(nommu: Nommu, mm: int, vma: int) -> None:
    """Take the VMA off the list of its mm."""
    table = nommu.vma
    before = int(table[vma, VMA_PREV])
    after = int(table[vma, VMA_NEXT])
    if before == NONE:
        nommu.mm[mm, MM_MMAP] = after
    else:
        table[before, VMA_NEXT] = after
    if after != NONE:
        table[after, VMA_PREV] = before
    nommu.mm[mm, MM_MAP_COUNT] -= 1


@kernel
def add_nommu_region(nommu: Nommu, region: int) -> None:
    """Put a shareable region on the list, by address."""
    table = nommu.region
    if not table[region, REGION_FLAGS] & VM_MAYSHARE:
        return
    start = table[region, REGION_START]
    before = NONE
    after = int(nommu.scalar[REGION_LIST])
    while after != NONE and table[after, REGION_START] < start:
        before = after
        after = int(table[after, REGION_NEXT])
    table[region, REGION_PREV] = before
    table[region, REGION_NEXT] = after
    if before == NONE:
        nommu.scalar[REGION_LIST] = region
    else:
        table[before, REGION_NEXT] = region
    if after != NONE:
        table[after, REGION_PREV] = region


@kernel
def delete_nommu_region(nommu: Nommu, region: int) -> None:
    """Take a shareable region off the list."""
    table = nommu.region
    if not table[region, REGION_FLAGS] & VM_MAYSHARE:
        return
    before = int(table[region, REGION_PREV])
    after = int(table[region, REGION_NEXT])
    if before == NONE:
        nommu.scalar[REGION_LIST] = after
    else:
        table[before, REGION_NEXT] = after
    if after != NONE:
        table[after, REGION_PREV] = before


@kernel
def free_page_series(memory: Memory, start: int, end: int) -> None:
    """Free the pages of [start, end) one by one, ascending."""
    pfn = address_to_pfn(memory, start)
    pages = (end - start) // memory.zone.machine.page_size
    log_event(memory.slub, EVENT_PAGES_FREE, 0, pfn, pages)
    free_pages_exact(memory.zone, pfn, pages)


@kernel
def put_nommu_region(memory: Memory, region: int) -> None:
    """One user less; after the last one the pages go back, then the object."""
    table = memory.nommu.region
    table[region, REGION_USAGE] -= 1
    if table[region, REGION_USAGE] > 0:
        return
    delete_nommu_region(memory.nommu, region)
    free_page_series(memory, table[region, REGION_START], table[region, REGION_TOP])
    kmem_cache_free(memory.slub, memory.zone, VM_REGION, region)


@kernel
def delete_vma(memory: Memory, vma: int) -> None:
    """Give back what a VMA that is in no list and no tree stands for: pages, region, VMA."""
    put_nommu_region(memory, memory.nommu.vma[vma, VMA_REGION])
    kmem_cache_free(memory.slub, memory.zone, VM_AREA_STRUCT, vma)


@kernel
def find_shared_region(memory: Memory, file: int, pgoff: int, pages: int) -> int:
    """The first region, by address, with all `pages` pages of the file from page `pgoff` on; -1 if none.

    SHARING_VIOLATION if a region before it holds some of them only.
    """
    table = memory.nommu.region
    page_size = memory.zone.machine.page_size
    region = int(memory.nommu.scalar[REGION_LIST])
    while region != NONE:
        first = table[region, REGION_PGOFF]
        last = first + (table[region, REGION_END] - table[region, REGION_START]) // page_size
        if table[region, REGION_FILE] == file and first < pgoff + pages and pgoff < last:
            if first <= pgoff and pgoff + pages <= last:
                return region
            return SHARING_VIOLATION
        region = int(table[region, REGION_NEXT])
    return NONE


@kernel
def do_mmap_private(memory: Memory, vma: int, region: int, pages: int) -> int:
    """Contiguous pages for a mapping of `pages` pages; 0 or -ENOMEM.

    A block of 2^order pages; if trimming is on and there are at least `trim_pages` surplus pages, these go
    back at once (where to is `exact_tail`), else they stay in the region.
    """
    nommu = memory.nommu
    policy = memory.zone.policy
    order = get_order(pages)
    total = 1 << order
    if policy.trim_pages != 0 and total - pages >= policy.trim_pages:
        total = pages
    pfn = alloc_pages_exact(memory.zone, total, GFP_KERNEL)
    if pfn < 0:
        log_event(memory.slub, EVENT_PAGES_FAIL, order, 0, total)
        record_failure(nommu, FAILED_MAPPING, order, pages, NONE)
        return -ENOMEM
    log_event(memory.slub, EVENT_PAGES_ALLOC, order, pfn, total)
    page_size = memory.zone.machine.page_size
    start = memory.zone.machine.ram_start + pfn * page_size
    nommu.region[region, REGION_START] = start
    nommu.region[region, REGION_END] = start + pages * page_size
    nommu.region[region, REGION_TOP] = start + total * page_size
    nommu.vma[vma, VMA_START] = start
    nommu.vma[vma, VMA_END] = start + pages * page_size
    return 0


@kernel
def do_mmap(memory: Memory, mm: int, length: int, file: int, flags: int, pgoff: int) -> int:
    """Map `length` bytes, anonymous (NO_FILE) or of a file from page `pgoff` on; `flags` 0 or VM_MAYSHARE.

    Returns the address or a negative errno: -EINVAL for no length and for the violation of a sharing,
    -ENOMEM. What failed first is in `Nommu.scalar`. In the order of `mmap_prealloc`:

    - NOWAIT: region, VMA, pages, store (nodes as it needs them). Without a node the kernel stops: nothing is
      given back.
    - MAILED: nodes, region, VMA, pages, store. EARLY: region, VMA, nodes, pages, store.
    - LATE_RANGED: region, VMA, pages, nodes for this very range, store. Departure: if there are no nodes the
      pages are given back here, so that the failing call has no effect.

    Unused nodes go back at the end of the store. With `error_paths` other than FIXED the nodes of a call that
    gets no pages are lost. A mapping that shares a region gives its own region object back before the store.
    """
    zone = memory.zone
    slub = memory.slub
    maple = memory.maple
    nommu = memory.nommu
    policy = memory.zone.policy
    if length <= 0:
        return -EINVAL
    page_size = memory.zone.machine.page_size
    pages = (length + page_size - 1) // page_size
    prealloc = policy.mmap_prealloc
    if policy.vma_index != VMA_INDEX_MAPLE:
        prealloc = MMAP_PREALLOC_NONE_NOWAIT

    if prealloc == MMAP_PREALLOC_MAILED and preallocate_all(memory, mm) != 0:
        return -ENOMEM
    region = alloc_object(memory, VM_REGION)
    if region < 0:
        if prealloc == MMAP_PREALLOC_MAILED:
            mas_destroy(maple, slub, zone, MAS)
        return -ENOMEM
    vma = alloc_object(memory, VM_AREA_STRUCT)
    if vma < 0:
        if prealloc == MMAP_PREALLOC_MAILED:
            mas_destroy(maple, slub, zone, MAS)
        kmem_cache_free(slub, zone, VM_REGION, region)
        return -ENOMEM
    if prealloc == MMAP_PREALLOC_EARLY and preallocate_all(memory, mm) != 0:
        kmem_cache_free(slub, zone, VM_REGION, region)
        kmem_cache_free(slub, zone, VM_AREA_STRUCT, vma)
        return -ENOMEM
    has_nodes = prealloc in (MMAP_PREALLOC_MAILED, MMAP_PREALLOC_EARLY)

    shared = NONE
    if flags & VM_MAYSHARE and file != NO_FILE:
        shared = find_shared_region(memory, file, pgoff, pages)
    if shared == SHARING_VIOLATION:
        if has_nodes:
            mas_destroy(maple, slub, zone, MAS)
        kmem_cache_free(slub, zone, VM_REGION, region)
        kmem_cache_free(slub, zone, VM_AREA_STRUCT, vma)
        return -EINVAL
    nommu.vma[vma, VMA_FILE] = file
    nommu.vma[vma, VMA_FLAGS] = flags
    nommu.vma[vma, VMA_PGOFF] = pgoff
    if shared != NONE:
        kmem_cache_free(slub, zone, VM_REGION, region)
        region = shared
        offset = (pgoff - nommu.region[region, REGION_PGOFF]) * page_size
        nommu.region[region, REGION_USAGE] += 1
        nommu.vma[vma, VMA_START] = nommu.region[region, REGION_START] + offset
        nommu.vma[vma, VMA_END] = nommu.vma[vma, VMA_START] + pages * page_size
    else:
        if do_mmap_private(memory, vma, region, pages) != 0:
            if has_nodes and policy.error_paths == ERROR_PATHS_FIXED:
                mas_destroy(maple, slub, zone, MAS)
            kmem_cache_free(slub, zone, VM_REGION, region)
            kmem_cache_free(slub, zone, VM_AREA_STRUCT, vma)
            return -ENOMEM
        nommu.region[region, REGION_USAGE] = 1
        nommu.region[region, REGION_FILE] = file
        nommu.region[region, REGION_FLAGS] = flags if file != NO_FILE else 0
        nommu.region[region, REGION_PGOFF] = pgoff
        add_nommu_region(nommu, region)
    nommu.vma[vma, VMA_REGION] = region
    start = int(nommu.vma[vma, VMA_START])
    end = int(nommu.vma[vma, VMA_END])

    if has_nodes:
        if store_prealloc(memory, start, end, vma + 1) != 0:
            return -ENOMEM
    elif update_tree(memory, mm, start, end, vma + 1) != 0:
        if prealloc == MMAP_PREALLOC_LATE_RANGED:
            delete_vma(memory, vma)
        return -ENOMEM
    link_vma(nommu, mm, vma)
    nommu.mm[mm, MM_TOTAL_VM] += pages
    return start


@kernel
def split_vma(memory: Memory, mm: int, vma: int, address: int, new_below: int) -> int:
    """Split an anonymous VMA at `address`; the new VMA is the part below it (`new_below` 1) or above it.

    Returns 0 or -ENOMEM (also for a VMA of a file). Takes region, VMA, and per `split`: READD three stores
    (the old range to NULL, old VMA, new VMA); OVERWRITE one preallocation and two stores; STORE_NEW nodes
    for the new part's range and its store.

    Failing for want of nodes gives VMA and region back, but AS_MAILED: there the preallocation follows the
    cut, so both objects are lost and the old VMA stays cut. LEAK_SPLIT takes the nodes first and does not
    give them back when region or VMA fails. READD stops the kernel, or with preallocation leaves the parts
    out of the tree.
    """
    zone = memory.zone
    slub = memory.slub
    nommu = memory.nommu
    policy = memory.zone.policy
    if nommu.vma[vma, VMA_FILE] != NO_FILE:
        return -ENOMEM
    maple_index = policy.vma_index == VMA_INDEX_MAPLE
    overwrite = maple_index and policy.split == SPLIT_OVERWRITE
    nodes_first = overwrite and policy.error_paths == ERROR_PATHS_LEAK_SPLIT
    nodes_last = overwrite and policy.error_paths == ERROR_PATHS_AS_MAILED
    if nodes_first and preallocate_all(memory, mm) != 0:
        return -ENOMEM
    region = alloc_object(memory, VM_REGION)
    if region < 0:
        return -ENOMEM
    new = alloc_object(memory, VM_AREA_STRUCT)
    if new < 0:
        kmem_cache_free(slub, zone, VM_REGION, region)
        return -ENOMEM

    start = int(nommu.vma[vma, VMA_START])
    end = int(nommu.vma[vma, VMA_END])
    error = 0
    if overwrite and not nodes_first and not nodes_last:
        error = preallocate_all(memory, mm)
    elif maple_index and policy.split == SPLIT_STORE_NEW:
        if new_below:
            error = preallocate_range(memory, mm, start, address, new + 1)
        else:
            error = preallocate_range(memory, mm, address, end, new + 1)
    elif policy.split == SPLIT_READD:
        error = update_tree(memory, mm, start, end, 0)
    if error != 0:
        if policy.mmap_prealloc != MMAP_PREALLOC_NONE_NOWAIT or policy.split != SPLIT_READD:
            kmem_cache_free(slub, zone, VM_AREA_STRUCT, new)
            kmem_cache_free(slub, zone, VM_REGION, region)
        return -ENOMEM

    cut_region(memory, vma, new, region, address, new_below)
    if nodes_last and preallocate_all(memory, mm) != 0:
        return -ENOMEM
    link_vma(nommu, mm, new)
    if not maple_index:
        return 0
    start = int(nommu.vma[vma, VMA_START])
    end = int(nommu.vma[vma, VMA_END])
    new_start = int(nommu.vma[new, VMA_START])
    new_end = int(nommu.vma[new, VMA_END])
    if policy.split == SPLIT_READD:
        error = update_tree(memory, mm, start, end, vma + 1)
        if error == 0:
            error = update_tree(memory, mm, new_start, new_end, new + 1)
        return error
    if policy.split == SPLIT_OVERWRITE:
        mas_set_range(memory.maple, MAS, start, end - 1)
        error = record_bug(nommu, mas_store(memory.maple, slub, zone, MAS, vma + 1))
    if error == 0:
        error = store_prealloc(memory, new_start, new_end, new + 1)
    return int(error)


@kernel
def cut_region(memory: Memory, vma: int, new: int, region: int, address: int, new_below: int) -> None:
    """Divide VMA and region between the old and the new pair. Surplus pages stay with the upper part."""
    nommu = memory.nommu
    old_region = nommu.vma[vma, VMA_REGION]
    pages = (address - nommu.vma[vma, VMA_START]) // memory.zone.machine.page_size
    for column in range(VMA_COLUMNS):
        nommu.vma[new, column] = nommu.vma[vma, column]
    for column in range(REGION_COLUMNS):
        nommu.region[region, column] = nommu.region[old_region, column]
    nommu.region[region, REGION_USAGE] = 1
    nommu.vma[new, VMA_REGION] = region
    if new_below:
        lower, lower_region, upper, upper_region = new, region, vma, old_region
    else:
        lower, lower_region, upper, upper_region = vma, old_region, new, region
    nommu.vma[lower, VMA_END] = address
    nommu.region[lower_region, REGION_END] = address
    nommu.region[lower_region, REGION_TOP] = address
    nommu.vma[upper, VMA_START] = address
    nommu.region[upper_region, REGION_START] = address
    nommu.vma[upper, VMA_PGOFF] += pages
    nommu.region[upper_region, REGION_PGOFF] += pages


@kernel
def shrink_vma(memory: Memory, mm: int, vma: int, start: int, end: int) -> int:
    """Cut [start, end) off the head or the tail of an anonymous VMA; 0 or -ENOMEM.

    Tree first, then the pages, ascending. Up to 6.1 the old range becomes NULL and the rest is stored
    again, each with its own nodes; if only the second store fails, VMA, region and pages are lost (out of
    the tree, never given back). Since 6.6 (SPLIT_STORE_NEW) one NULL over the cut, nodes taken as the store
    needs them.
    """
    nommu = memory.nommu
    policy = memory.zone.policy
    at_tail = start > nommu.vma[vma, VMA_START]
    old_start = int(nommu.vma[vma, VMA_START])
    old_end = int(nommu.vma[vma, VMA_END])
    if policy.vma_index == VMA_INDEX_MAPLE and policy.split == SPLIT_STORE_NEW:
        mas_init(memory.maple, MAS, mm, start, end - 1)
        if mas_store_gfp(memory.maple, memory.slub, memory.zone, MAS, 0, GFP_KERNEL) != 0:
            record_failure(nommu, FAILED_NODE, 0, 1, MAPLE_NODE)
            return -ENOMEM
    elif update_tree(memory, mm, old_start, old_end, 0) != 0:
        return -ENOMEM
    if at_tail:
        old_end = start
    else:
        old_start = end
    nommu.vma[vma, VMA_START] = old_start
    nommu.vma[vma, VMA_END] = old_end
    if policy.split != SPLIT_STORE_NEW:
        error = update_tree(memory, mm, old_start, old_end, vma + 1)
        if error != 0:
            unlink_vma(nommu, mm, vma)
            return -ENOMEM

    region = nommu.vma[vma, VMA_REGION]
    if at_tail:
        end = nommu.region[region, REGION_TOP]
        nommu.region[region, REGION_END] = start
        nommu.region[region, REGION_TOP] = start
    else:
        nommu.region[region, REGION_START] = end
    free_page_series(memory, start, end)
    return 0


@kernel
def unmap_vma(memory: Memory, mm: int, vma: int) -> int:
    """A whole VMA: NULL into the tree, then pages, region, VMA. 0 or -ENOMEM.

    Without nodes for the store the VMA stays (FIXED), or is given up although the tree still names it.
    """
    nommu = memory.nommu
    start = nommu.vma[vma, VMA_START]
    end = nommu.vma[vma, VMA_END]
    error = update_tree(memory, mm, start, end, 0)
    if error != 0:
        stopped = memory.zone.policy.mmap_prealloc == MMAP_PREALLOC_NONE_NOWAIT
        if stopped or memory.zone.policy.error_paths == ERROR_PATHS_FIXED:
            return -ENOMEM
    unlink_vma(nommu, mm, vma)
    delete_vma(memory, vma)
    return int(error)


@kernel
def do_munmap(memory: Memory, mm: int, start: int, length: int) -> int:
    """Unmap `length` bytes from `start` on, rounded up to pages: a whole VMA, or a part of an anonymous one.

    Returns 0; -EINVAL if no VMA is there, the range is not inside one, not of whole pages, or a part of a
    file; -ENOMEM. A part in the middle is split off (the new VMA below), then the upper VMA shrinks.
    """
    page_size = memory.zone.machine.page_size
    if length <= 0:
        return -EINVAL
    end = start + (length + page_size - 1) // page_size * page_size
    table = memory.nommu.vma
    vma = int(memory.nommu.mm[mm, MM_MMAP])
    while vma != NONE and table[vma, VMA_END] <= start:
        vma = int(table[vma, VMA_NEXT])
    if vma == NONE or table[vma, VMA_START] >= end:
        return -EINVAL

    if table[vma, VMA_FILE] != NO_FILE:
        # only the end is compared with a VMA's end: a range may begin in one and end with a later one
        while vma != NONE and table[vma, VMA_START] < end:
            if start > table[vma, VMA_START]:
                return -EINVAL
            if end == table[vma, VMA_END]:
                return int(unmap_vma(memory, mm, vma))
            vma = int(table[vma, VMA_NEXT])
        return -EINVAL

    vma_start = int(table[vma, VMA_START])
    vma_end = int(table[vma, VMA_END])
    if start == vma_start and end == vma_end:
        return int(unmap_vma(memory, mm, vma))
    if start < vma_start or end > vma_end:
        return -EINVAL
    if start % page_size != 0 or (end != vma_end and end % page_size != 0):
        return -EINVAL
    if start != vma_start and end != vma_end:
        error = int(split_vma(memory, mm, vma, start, 1))
        if error < 0:
            return error
    return int(shrink_vma(memory, mm, vma, start, end))


@kernel
def exit_mmap(memory: Memory, mm: int) -> int:
    """Give back a whole address space, VMA by VMA ascending: pages, region, VMA; then the tree's nodes.

    ERASE_EACH stores NULL over each VMA before it goes, so the tree is empty at its destruction. Returns 0,
    or -ENOMEM if such a store got no node: without preallocation the kernel stops there, else the VMA goes
    anyway.
    """
    nommu = memory.nommu
    policy = memory.zone.policy
    failed = 0
    nommu.mm[mm, MM_TOTAL_VM] = 0
    vma = int(nommu.mm[mm, MM_MMAP])
    while vma != NONE:
        after = int(nommu.vma[vma, VMA_NEXT])
        if policy.exit_mmap == EXIT_MMAP_ERASE_EACH:
            start = nommu.vma[vma, VMA_START]
            end = nommu.vma[vma, VMA_END]
            error = update_tree(memory, mm, start, end, 0)
            if error != 0:
                failed = error
                if policy.mmap_prealloc == MMAP_PREALLOC_NONE_NOWAIT:
                    return -ENOMEM
        unlink_vma(nommu, mm, vma)
        delete_vma(memory, vma)
        vma = after
    if policy.vma_index == VMA_INDEX_MAPLE:
        mt_destroy(memory.maple, memory.slub, memory.zone, mm)
    return int(failed)
