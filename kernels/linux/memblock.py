"""The hand-over of memory from memblock to the buddy allocator (mm/memblock.c, Linux 6.1)."""

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.page_alloc import (
    FPI_TO_TAIL,
    MANAGED_PAGES,
    ZONE_END_PFN,
    ZONE_START_PFN,
    Zone,
    free_one_page_run,
    free_pages_exact,
)


@kernel
def __free_memory_core(zone: Zone, start_pfn: int, end_pfn: int) -> None:
    """Hand over the pages [start_pfn, end_pfn) in the largest aligned blocks, ascending, each to the tail."""
    if start_pfn >= end_pfn:
        return
    zone.scalar[MANAGED_PAGES] += end_pfn - start_pfn
    free_one_page_run(zone, start_pfn, end_pfn - start_pfn, FPI_TO_TAIL)


@kernel
def memblock_free_all(zone: Zone) -> None:
    """Hand over every page of the zone that the machine does not keep (`Machine.reserved`)."""
    reserved = zone.machine.reserved
    zone.scalar[MANAGED_PAGES] = 0
    pfn = int(zone.scalar[ZONE_START_PFN])
    for i in range(reserved.shape[0]):
        __free_memory_core(zone, pfn, int(reserved[i, 0]))
        pfn = int(reserved[i, 0] + reserved[i, 1])
    __free_memory_core(zone, pfn, int(zone.scalar[ZONE_END_PFN]))


@kernel
def free_initmem(zone: Zone, start_pfn: int, pages: int) -> None:
    """Free the kernel's init section page by page, ascending. The watermarks stay as they are."""
    free_pages_exact(zone, start_pfn, pages)
    zone.scalar[MANAGED_PAGES] += pages
