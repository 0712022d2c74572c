"""The loops of `mcsim bench`: a call from Python takes longer than what is measured, so loops are kernels, too.

Each returns a checksum over what the allocators gave, sum = sum * 31 + answer (int64, wrapping), which the C twin in
benchmarks/ must return, too.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.compile import kernel
from kernels.page_alloc import Zone, alloc_pages, alloc_pages_exact, free_pages, free_pages_exact
from kernels.policy import EXACT_TAIL_HEAD


@kernel
def buddy_single(zone: Zone, gfp: int, pairs: int) -> int:
    """Single pages, each freed at once."""
    checksum = 0
    for _ in range(pairs):
        pfn = alloc_pages(zone, gfp, 0)
        checksum = checksum * 31 + pfn
        if pfn >= 0:
            free_pages(zone, pfn, 0)
    return checksum


@kernel
def buddy_mixed(
    zone: Zone,
    gfp: int,
    limit: int,
    orders: NDArray[np.int32],
    picks: NDArray[np.int32],
    repeats: int,
    blocks: NDArray[np.int32],
) -> int:
    """Blocks of `orders`; before each, random ones are freed until it fits below `limit` pages, in the end all.

    `picks`: 31 random bits for each free. `blocks`: int32[limit, 2], scratch: first page and order of what is held.
    """
    checksum = 0
    for _ in range(repeats):
        used = 0
        count = 0
        frees = 0
        for i in range(orders.shape[0]):
            order = np.int64(orders[i])
            while used + (1 << order) > limit:
                row = (np.int64(picks[frees]) * count) >> 31
                frees += 1
                freed = np.int64(blocks[row, 1])
                free_pages(zone, np.int64(blocks[row, 0]), freed)
                used -= 1 << freed
                count -= 1
                blocks[row, 0] = blocks[count, 0]
                blocks[row, 1] = blocks[count, 1]
            pfn = alloc_pages(zone, gfp, order)
            checksum = checksum * 31 + pfn
            if pfn >= 0:
                blocks[count, 0] = pfn
                blocks[count, 1] = order
                used += 1 << order
                count += 1
        while count > 0:
            count -= 1
            free_pages(zone, np.int64(blocks[count, 0]), np.int64(blocks[count, 1]))
    return checksum


@kernel
def buddy_exact(zone: Zone, gfp: int, pages: NDArray[np.int32], repeats: int) -> int:
    """alloc_pages_exact() of so many pages, each freed at once."""
    checksum = 0
    for _ in range(repeats):
        for i in range(pages.shape[0]):
            wanted = np.int64(pages[i])
            pfn = alloc_pages_exact(zone, EXACT_TAIL_HEAD, wanted, gfp)
            checksum = checksum * 31 + pfn
            if pfn >= 0:
                free_pages_exact(zone, pfn, wanted)
    return checksum
