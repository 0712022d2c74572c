"""The hand-over of memory from memblock to the buddy allocator (mm/memblock.c, Linux 6.1).

Also what there is to hand over, by size of RAM, on the m68k machine: ColdFire m5208evb, 8 KB pages, no MMU.
"""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.page_alloc import (
    FPI_TO_TAIL,
    MANAGED_PAGES,
    PAGEBLOCK_NR_PAGES,
    ZONE_END_PFN,
    ZONE_START_PFN,
    Zone,
    free_one_page_run,
    free_pages_exact,
)

PAGE_SIZE = 8192
PAGES_PER_MB = (1 << 20) // PAGE_SIZE
SIZEOF_STRUCT_PAGE = 32
KERNEL_IMAGE_PAGES = 505  # from the start of RAM
INITMEM_START = 417  # init text and data inside the image, freed before the first program runs
INITMEM_PAGES = 79
RAM_MB_VALID = (17, 128)  # smallest and largest size that `m68k_reserved` covers
RAM_MB_MEASURED = (24, 26, 28, 29, 30, 31, 32, 33, 34, 35, 36, 40, 48, 56, 64, 96)  # seen on the real kernel


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


@kernel
def free_initmem(zone: Zone, start_pfn: int, pages: int) -> None:
    """Free the kernel's init section page by page, ascending. The watermarks stay as they are."""
    free_pages_exact(zone, start_pfn, pages)
    zone.scalar[MANAGED_PAGES] += pages


def memmap_pages(ram_mb: int) -> int:
    """calc_memmap_size(): what `build_all_zonelists` takes off the zone for its struct pages, in pages."""
    return -(-ram_mb * PAGES_PER_MB * SIZEOF_STRUCT_PAGE // PAGE_SIZE)


def hash_table_pages(ram_mb: int, scale: int) -> int:
    """alloc_large_system_hash() of 4-byte buckets: one per 2^scale bytes of RAM, in pages (at least 1).

    The count is rounded up to a power of two. RAM less its struct pages is rounded up to a whole MB first:
    that is the RAM size again as long as the struct pages take less than 1 MB (256 MB of RAM).
    """
    entries = 1
    while entries < (ram_mb << 20) >> scale:
        entries *= 2
    return max(entries * 4 // PAGE_SIZE, 1)


def m68k_reserved(ram_mb: int) -> NDArray[np.int64]:
    """The ranges that the m68k machine with so much RAM does not hand over, for `memblock_free_all`.

    int64[n, 2]: first page, number of pages. At the bottom the kernel image. At the top, downwards, as
    memblock allocates them: the memory map and 2 pages; one page that is given back (the plan of the per-CPU
    allocator) and that the inode hash table takes if it is one page; 4 pages, the dentry and the inode table.

    Measured on the real kernel: the ranges at the sizes of RAM_MB_MEASURED, all reproduced. Inferred from the
    kernel's formulas for the tables: the other sizes of RAM_MB_VALID. Below, the dentry table would take the
    page given back; above, later tables grow too and so do the requests of the boot.
    Raises ValueError outside RAM_MB_VALID.
    """
    if not RAM_MB_VALID[0] <= ram_mb <= RAM_MB_VALID[1]:
        raise ValueError(f"{ram_mb} MB of RAM is outside {RAM_MB_VALID[0]} to {RAM_MB_VALID[1]} MB")
    pages = ram_mb * PAGES_PER_MB
    memory_map = -(-pages // PAGEBLOCK_NR_PAGES) * PAGEBLOCK_NR_PAGES * SIZEOF_STRUCT_PAGE // PAGE_SIZE
    upper = memory_map + 2
    given_back = pages - upper - 1
    inode = hash_table_pages(ram_mb, 14)
    lower = 4 + hash_table_pages(ram_mb, 13) + (inode if inode > 1 else 0)
    image = (0, KERNEL_IMAGE_PAGES)
    if inode == 1:
        top = given_back - lower
        return np.array([image, (top, pages - top)], np.int64)
    return np.array([image, (given_back - lower, lower), (given_back + 1, upper)], np.int64)
