"""The loops of `mcsim check speed`: a call from Python takes longer than what is measured, so loops are kernels, too.

Each returns a checksum over what the allocators gave, sum = sum * 31 + answer (int64, wrapping), which the C twin in
benchmarks/ must return, too.
"""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.linux.maple_tree import (
    END,
    HEAD,
    HEIGHT,
    MAPLE_LEAF_64,
    PIVOT,
    ROOT,
    SLOT,
    TYPE,
    Maple,
    mas_preallocate,
    mas_set_range,
    mas_store_gfp,
    mas_store_prealloc,
    mtree_load,
)
from mcsim.kernels.linux.page_alloc import Zone, alloc_pages, alloc_pages_exact, free_pages, free_pages_exact
from mcsim.kernels.linux.slub import MAPLE_NODE, OBJECTS, Slub

TREE = 0  # the only tree, and the only state that works on it
MAS = 0


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
            order = int(orders[i])
            while used + (1 << order) > limit:
                row = (int(picks[frees]) * count) >> 31
                frees += 1
                freed = int(blocks[row, 1])
                free_pages(zone, int(blocks[row, 0]), freed)
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
            free_pages(zone, int(blocks[count, 0]), int(blocks[count, 1]))
    return checksum


@kernel
def buddy_exact(zone: Zone, gfp: int, pages: NDArray[np.int32], repeats: int) -> int:
    """alloc_pages_exact() of so many pages, each freed at once."""
    checksum = 0
    for _ in range(repeats):
        for i in range(pages.shape[0]):
            wanted = int(pages[i])
            pfn = alloc_pages_exact(zone, wanted, gfp)
            checksum = checksum * 31 + pfn
            if pfn >= 0:
                free_pages_exact(zone, pfn, wanted)
    return checksum


@kernel
def maple_store(
    maple: Maple,
    slub: Slub,
    zone: Zone,
    preallocate: int,
    picks: NDArray[np.int32],
    repeats: int,
    stride: int,
    length: int,
    present: NDArray[np.uint8],
) -> int:
    """For each pick the range of that number is stored if it is not there, else a NULL over it.

    Range i is `length` long and begins at (i + 1) * `stride`. `present`: uint8[ranges], 1 for those that are there,
    kept up to date. `preallocate` 1: mas_preallocate() and mas_store_prealloc(), 0: mas_store_gfp().
    """
    checksum = 0
    for _ in range(repeats):
        for i in range(picks.shape[0]):
            number = int(picks[i])
            first = (number + 1) * stride
            entry = 0
            present[number] ^= 1
            if present[number]:
                entry = number + 1
            mas_set_range(maple, MAS, first, first + length - 1)
            if preallocate:
                mas_preallocate(maple, slub, zone, MAS, GFP_KERNEL)
                mas_store_prealloc(maple, slub, zone, MAS, entry)
            else:
                mas_store_gfp(maple, slub, zone, MAS, entry, GFP_KERNEL)
            held = int(slub.scalar[MAPLE_NODE, OBJECTS])
            checksum = checksum * 31 + (maple.tree[TREE, ROOT] + (maple.tree[TREE, HEIGHT] << 32) + held)
    return checksum


@kernel
def maple_load(maple: Maple, picks: NDArray[np.int32], repeats: int, stride: int) -> int:
    """The entry at the first index of each picked range, as `maple_store` numbers them."""
    checksum = 0
    for _ in range(repeats):
        for i in range(picks.shape[0]):
            checksum = checksum * 31 + mtree_load(maple, TREE, (int(picks[i]) + 1) * stride)
    return checksum


@kernel
def maple_checksum(maple: Maple, stack: NDArray[np.int64]) -> int:
    """Of the tree as it is: number and type of every node, pivots and slots, from the root down.

    `stack`: int64[nodes], scratch.
    """
    checksum = int(maple.tree[TREE, HEIGHT])
    count = 0
    if checksum > 0:
        stack[0] = maple.tree[TREE, ROOT]
        count = 1
    while count > 0:
        count -= 1
        node = int(stack[count])
        kind = int(maple.node[node, HEAD, TYPE])
        checksum = (checksum * 31 + node) * 31 + kind
        for offset in range(maple.node[node, HEAD, END] + 1):
            slot = int(maple.node[node, SLOT, offset])
            checksum = (checksum * 31 + maple.node[node, PIVOT, offset]) * 31 + slot
            if kind != MAPLE_LEAF_64:
                stack[count] = slot
                count += 1
    return checksum
