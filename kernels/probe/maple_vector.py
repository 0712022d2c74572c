"""Operations of maple vectors on the trees of a `Maple`, and digests of a tree."""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux import slub as slabs
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.linux.maple_tree import (
    ALLOCATED,
    END,
    HEAD,
    HEIGHT,
    INDEX_MAX,
    MAPLE_LEAF_64,
    NODE_SHORTAGE,
    PIVOT,
    RCU_CALLS,
    RCU_PENDING,
    ROOT,
    ROOT_ENTRY,
    SLOT,
    TYPE,
    WALK,
    Maple,
    mas_destroy,
    mas_erase,
    mas_find,
    mas_init,
    mas_preallocate,
    mas_set_range,
    mas_store,
    mas_store_gfp,
    mas_store_nowait,
    mas_store_prealloc,
    mt_destroy,
    mtree_load,
    rcu_do_batch,
)
from mcsim.kernels.linux.page_alloc import Zone
from mcsim.kernels.linux.slub import MAPLE_NODE, Slub
from mcsim.kernels.probe.crc32 import CRC32_START, crc32_byte, crc32_decimal, crc32_hex

EINVAL = 22

# codes of operations
ST, ER, PS, PR, NP, S2, PD, PF, SF, LD, FN, WK, DS, EX, GP = range(15)
OPERATION_COLUMNS = 8  # code, tree, operands

# columns of a row of results
ALLOC, FREE, RCU_CB, LIVE, PEAK, HEIGHT_FIELD, NODES, SHAPE, CONTENT, NRANGES, ASK, LEFT, RET = range(13)
FIELDS = 13

# columns of a piece of the unsigned long numbers that indices stand for
FIRST_INDEX = 0
HIGH = 1  # the number that it stands for: high half
LOW = 2  # and low half
PIECE_COLUMNS = 3

# what `settings` of run_operations() holds
RUN_CALLBACKS = 0  # 1: all queued callbacks run at the end of every operation
DIGEST_EVERY = 1  # operations, 0: never
SHAPE_EVERY = 2
SETTINGS = 3

# what end_of_vector() returns
END_LIVE, END_RCU_PENDING, END_LIVE_AFTER_GP, END_LIVE_AFTER_DESTROY, END_ALLOCS, END_FREES = range(6)
END_FIELDS = 6


@kernel
def crc32_index(pieces: NDArray[np.int64], crc: int, index: int) -> int:
    """The CRC with the unsigned long that `index` stands for, printed with %x.

    `pieces`: int64[n, PIECE_COLUMNS], ascending: from FIRST_INDEX on, each index stands for the next number.
    """
    piece = 0
    behind = pieces.shape[0]
    while behind - piece > 1:
        middle = (piece + behind) >> 1
        if pieces[middle, FIRST_INDEX] > index:
            behind = middle
        else:
            piece = middle
    step = index - pieces[piece, FIRST_INDEX]
    low = pieces[piece, LOW] + (step & 0xFFFFFFFF)
    high = pieces[piece, HIGH] + (step >> 32) + (low >> 32)
    return int(crc32_hex(crc, high, low & 0xFFFFFFFF))


@kernel
def crc32_range(pieces: NDArray[np.int64], crc: int, first: int, last: int, entry: int) -> int:
    """The CRC with one entry: `first-last:entry;`."""
    crc = crc32_index(pieces, crc, first)
    crc = crc32_byte(crc, 45)  # -
    crc = crc32_index(pieces, crc, last)
    crc = crc32_byte(crc, 58)  # :
    crc = crc32_hex(crc, entry >> 32, entry & 0xFFFFFFFF)
    return crc32_byte(crc, 59)  # ;


@kernel
def crc32_node(maple: Maple, crc: int, node: int, depth: int) -> int:
    """The CRC with one node: `depth.type.slots;`."""
    crc = crc32_decimal(crc, depth)
    crc = crc32_byte(crc, 46)  # .
    crc = crc32_decimal(crc, maple.node[node, HEAD, TYPE])
    crc = crc32_byte(crc, 46)
    crc = crc32_decimal(crc, maple.node[node, HEAD, END] + 1)
    return crc32_byte(crc, 59)  # ;


@kernel
def tree_digest(maple: Maple, pieces: NDArray[np.int64], tree: int, row: NDArray[np.int64]) -> None:
    """Number of nodes, CRC of the shape, CRC of the content and number of ranges into a row of results."""
    row[NODES] = 0
    row[NRANGES] = 0
    shape = CRC32_START
    content = CRC32_START
    depth = -1
    stack = maple.path[WALK]  # node, the slot to look at next
    if maple.tree[tree, HEIGHT]:
        depth = 0
        stack[0, 0] = maple.tree[tree, ROOT]
        stack[0, 1] = -1
    elif maple.tree[tree, ROOT_ENTRY]:
        row[NRANGES] = 1
        content = crc32_range(pieces, content, 0, 0, maple.tree[tree, ROOT_ENTRY])
    low = 0
    while depth >= 0:
        node = stack[depth, 0]
        if stack[depth, 1] < 0:
            stack[depth, 1] = 0
            row[NODES] += 1
            shape = crc32_node(maple, shape, node, depth + 1)
        offset = stack[depth, 1]
        if offset > maple.node[node, HEAD, END]:
            depth -= 1
            continue
        stack[depth, 1] = offset + 1
        if maple.node[node, HEAD, TYPE] != MAPLE_LEAF_64:
            depth += 1
            stack[depth, 0] = maple.node[node, SLOT, offset]
            stack[depth, 1] = -1
            continue
        high = maple.node[node, PIVOT, offset]
        entry = maple.node[node, SLOT, offset]
        if entry:
            row[NRANGES] += 1
            content = crc32_range(pieces, content, low, high, entry)
        low = high + 1
    row[SHAPE] = shape ^ CRC32_START
    row[CONTENT] = content ^ CRC32_START


@kernel
def count_entries(maple: Maple, mas: int) -> int:
    """Number of entries, by searching from 0 on."""
    mas_set_range(maple, mas, 0, 0)
    count = 0
    while mas_find(maple, mas, maple.scalar[INDEX_MAX]):
        count += 1
    return count


@kernel
def run_operation(maple: Maple, slub: Slub, zone: Zone, op: NDArray[np.int64], row: NDArray[np.int64]) -> None:
    """Do one operation; ASK, LEFT and RET go into the row."""
    code = op[0]
    tree = op[1]
    mas = 0
    mas_init(maple, mas, tree, 0, 0)
    nodes = slub.scalar[MAPLE_NODE]
    before = nodes[slabs.ALLOCATIONS]
    if code in (PF, SF):
        nodes[slabs.BUDGET] = op[2] if code == PF else op[5]
    if code in (PS, PR, S2, PD, PF):
        row[RET] = mas_preallocate(maple, slub, zone, mas, GFP_KERNEL) != 0
        row[ASK] = nodes[slabs.ALLOCATIONS] - before
    if code in (ST, PS, PR, NP, S2, SF):
        mas_set_range(maple, mas, op[2], op[3])
    if code in (ST, SF):
        if op[2] > op[3]:
            row[RET] = EINVAL
        else:
            row[RET] = -mas_store_gfp(maple, slub, zone, mas, op[4], GFP_KERNEL)
    elif code in (PS, PR):
        mas_store_prealloc(maple, slub, zone, mas, op[4])
    elif code == NP:
        mas_store_nowait(maple, slub, zone, mas, op[4])
    elif code == S2:
        mas_store(maple, slub, zone, mas, op[4])
        row[LEFT] = maple.state[mas, ALLOCATED]
        mas_set_range(maple, mas, op[5], op[6])
        mas_store_prealloc(maple, slub, zone, mas, op[7])
    elif code == PD:
        mas_destroy(maple, slub, zone, mas)
    elif code == PF:
        row[LEFT] = maple.state[mas, ALLOCATED]
        mas_destroy(maple, slub, zone, mas)
    elif code == ER:
        mas_set_range(maple, mas, op[2], op[2])
        row[RET] = mas_erase(maple, slub, zone, mas)
    elif code == LD:
        row[RET] = mtree_load(maple, tree, op[2])
    elif code == FN:
        mas_set_range(maple, mas, op[2], op[2])
        row[RET] = mas_find(maple, mas, op[3])
    elif code == GP:
        rcu_do_batch(maple, slub, zone, maple.scalar[RCU_PENDING])
    if code in (WK, EX):
        row[RET] = count_entries(maple, mas)
    if code in (DS, EX):
        mt_destroy(maple, slub, zone, tree)
    nodes[slabs.BUDGET] = -1


@kernel
def run_operations(
    maple: Maple,
    slub: Slub,
    zone: Zone,
    pieces: NDArray[np.int64],
    ops: NDArray[np.int64],
    first: int,
    last: int,
    settings: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> int:
    """Do the operations [first, last) of int64[n, OPERATION_COLUMNS] and fill a row (int64[n, FIELDS]) each.

    Returns `last`, or fewer if a store found no preallocated node left: the tree is not sound then.
    """
    nodes = slub.scalar[MAPLE_NODE]
    for number in range(first, last):
        row = rows[number]
        row[:] = 0
        allocations = nodes[slabs.ALLOCATIONS]
        frees = nodes[slabs.FREES]
        calls = maple.scalar[RCU_CALLS]
        nodes[slabs.OBJECTS_PEAK] = nodes[slabs.OBJECTS]
        run_operation(maple, slub, zone, ops[number], row)
        if maple.scalar[NODE_SHORTAGE]:
            return number
        if settings[RUN_CALLBACKS]:
            rcu_do_batch(maple, slub, zone, maple.scalar[RCU_PENDING])
        row[ALLOC] = nodes[slabs.ALLOCATIONS] - allocations
        row[FREE] = nodes[slabs.FREES] - frees
        row[RCU_CB] = maple.scalar[RCU_CALLS] - calls
        row[LIVE] = nodes[slabs.OBJECTS]
        row[PEAK] = nodes[slabs.OBJECTS_PEAK]
        row[HEIGHT_FIELD] = maple.tree[ops[number, 1], HEIGHT]
        for every in (settings[DIGEST_EVERY], settings[SHAPE_EVERY]):
            if every and (number + 1) % every == 0:
                tree_digest(maple, pieces, ops[number, 1], row)
                break
    return last


@kernel
def tree_digests(maple: Maple, pieces: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    """Height and digest of the first trees, one row (int64[n, FIELDS]) each."""
    for tree in range(rows.shape[0]):
        rows[tree, HEIGHT_FIELD] = maple.tree[tree, HEIGHT]
        tree_digest(maple, pieces, tree, rows[tree])


@kernel
def end_of_vector(maple: Maple, slub: Slub, zone: Zone, trees: int, end: NDArray[np.int64]) -> None:
    """Count nodes into `end` (int64[END_FIELDS]); then after a grace period, then after all trees are destroyed."""
    nodes = slub.scalar[MAPLE_NODE]
    end[END_LIVE] = nodes[slabs.OBJECTS]
    end[END_RCU_PENDING] = maple.scalar[RCU_PENDING]
    rcu_do_batch(maple, slub, zone, maple.scalar[RCU_PENDING])
    end[END_LIVE_AFTER_GP] = nodes[slabs.OBJECTS]
    for tree in range(trees):
        mt_destroy(maple, slub, zone, tree)
    rcu_do_batch(maple, slub, zone, maple.scalar[RCU_PENDING])
    end[END_LIVE_AFTER_DESTROY] = nodes[slabs.OBJECTS]
    end[END_ALLOCS] = nodes[slabs.ALLOCATIONS]
    end[END_FREES] = nodes[slabs.FREES]
