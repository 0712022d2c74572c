"""The hand-over of memory from memblock to the buddy allocator (mm/memblock.c, Linux 6.1)."""

import numpy as np
from numpy.typing import NDArray

from kernels.compile import kernel
from kernels.page_alloc import (
    FPI_TO_TAIL,
    MANAGED_PAGES,
    ZONE_END_PFN,
    ZONE_START_PFN,
    Zone,
    free_one_page_run,
)


@kernel
def __free_memory_core(zone: Zone, start_pfn: int, end_pfn: int) -> None:
    """Hand over the pages [start_pfn, end_pfn) in the largest aligned blocks, ascending, each to the tail."""
    if start_pfn >= end_pfn:
        return
    zone.scalar[MANAGED_PAGES] += end_pfn - start_pfn
    free_one_page_run(zone, start_pfn, end_pfn - start_pfn, FPI_TO_TAIL)


@kernel
def memblock_free_all(zone: Zone, reserved: NDArray[np.int64]) -> None:
    """Hand over every page of the zone that is not reserved.

    `reserved`: int64[n, 2], first page and number of pages of each reserved range, ascending and disjoint.
    """
    zone.scalar[MANAGED_PAGES] = 0
    pfn = int(zone.scalar[ZONE_START_PFN])
    for i in range(reserved.shape[0]):
        __free_memory_core(zone, pfn, int(reserved[i, 0]))
        pfn = int(reserved[i, 0] + reserved[i, 1])
    __free_memory_core(zone, pfn, int(zone.scalar[ZONE_END_PFN]))
