"""The maple tree of Linux 6.1 (lib/maple_tree.c, as in 6.1.y): which nodes every store takes and gives back.

A node is an object of the cache MAPLE_NODE of `mcsim.kernels.linux.slub`, and its number is its row in the arrays of
`Maple`. Unlike Linux, a node stores the upper bound of its last slot too and has no parent pointer: each
write keeps the way from the root to the leaf in `Maple.path`.

Rules that the whole file relies on: ranges are inclusive; equal neighbours are not joined, but neighbouring
NULLs always are; no node ends with a NULL except the rightmost; Linux compares
mt_min_slots sometimes with a count and sometimes with the index of a node's last slot.

Indices are int64. In the 32-bit layout they are themselves; in the 64-bit layout the highest, ULONG_MAX, is
2**63 - 2, so that no sum overflows. Entries are positive int64 and stand for aligned pointers, 0 is NULL: an
entry at index 0 alone needs no node.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import inlined_kernel, kernel, seldom_kernel
from mcsim.kernels.linux.gfp import GFP_KERNEL, GFP_NOWAIT, GFP_NOWARN
from mcsim.kernels.linux.machine import PREALLOC_TOPUP_ALLOWED
from mcsim.kernels.linux.page_alloc import Zone
from mcsim.kernels.linux.slub import (
    MAPLE_NODE,
    Slub,
    kmem_cache_alloc,
    kmem_cache_alloc_bulk,
    kmem_cache_free,
    kmem_cache_free_bulk,
)

ENOMEM = 12

LAYOUT_32 = 32
LAYOUT_64 = 64

# enum maple_type
MAPLE_LEAF_64 = 1
MAPLE_RANGE_64 = 2
MAPLE_ARANGE_64 = 3

MT_FLAGS_ALLOC_RANGE = 1  # inner nodes know the largest gap below each slot
MT_FLAGS_USE_RCU = 2  # nodes are replaced, not changed, and freed by a callback

# columns of Maple.tree
ROOT = 0  # node, -1 = none
ROOT_ENTRY = 1  # entry of index 0 in a tree without nodes
HEIGHT = 2  # levels of nodes
FLAGS = 3
TREE_COLUMNS = 4

# planes of Maple.node; the first three are also the rows of Maple.big
PIVOT = 0  # upper bound of each slot, inclusive
SLOT = 1  # entry in a leaf, else node
GAP = 2  # longest run of NULL below the slot; MAPLE_ARANGE_64 only
HEAD = 3
# columns of the plane HEAD
TYPE = 0  # enum maple_type
END = 1  # index of the last slot in use
MARKED = 2  # 1 while the node stands in Maple.replaced

# columns of Maple.state (struct ma_state, struct ma_wr_state)
TREE = 0
INDEX = 1
LAST = 2
ACTIVE = 3  # 1 after mas_find(): the next search starts behind LAST
PREALLOC = 4  # MA_STATE_PREALLOC
ALLOCATED = 5  # nodes held for a store, in the columns from HELD on (mas->alloc)
WR_FIRST = 6  # the range that a store really writes: a NULL includes its NULL neighbours
WR_LAST = 7
WR_LEVEL = 8  # of the leaf
WR_OFFSET = 9  # slots that the range touches, from
WR_OFFSET_END = 10  # to
WR_LOW = 11  # first index of slot WR_OFFSET
WR_NEW_END = 12  # the last slot of the leaf after the store, if it had room
HELD = 13
HELD_NODES = 128

# columns of Maple.path
NODE = 0
OFFSET = 1  # the slot through which the path goes on
MIN = 2  # the node's range
MAX = 3
PATH_COLUMNS = 4

# first index of Maple.path
LEFT = 0  # from the root to the leaf that is written
RIGHT = 1  # to the last leaf, if a write spans several
COVER = 2  # MIN and MAX: what is rebuilt at each level
WALK = 3  # stack of mt_destroy_walk()
PATHS = 4

# Maple.scalar
INDEX_MAX = 0  # the highest index, ULONG_MAX
RCU_PENDING = 1  # callbacks in the queue
RCU_HEAD = 2  # row of the oldest
RCU_CALLS = 3  # call_rcu() since the reset
NODE_SHORTAGE = 4  # stores that ran out of preallocated nodes (Linux crashes): the run is void if not 0
BIG_COUNT = 5  # slots of the big node in use
REPLACED = 6  # rows of Maple.replaced in use
DESTROY = 7  # rows of Maple.destroy in use
PARTS = 8  # parts that the big node is cut into
CUT = 9  # 3: the last slot of each part
SLOTS = 12  # 4, by maple type: slots of a node (mt_slots)
MIN_SLOTS = 16  # 4, by maple type (mt_min_slots)
RCU_DONE = 20  # callbacks in the queue that a quiescent state has passed
SCALARS = 21

MAX_HEIGHT = 16
BIG_SLOTS = 256

CALLBACK_NODE = 0  # mt_free_rcu: one node
CALLBACK_TREE = 1  # mt_free_walk: a node and all below it

# How a store is done (enum store_type of Linux 6.12, where these cases got names)
WR_STORE_ROOT = 0  # no node yet
WR_NEW_ROOT = 1  # all indices
WR_EXACT_FIT = 2  # one slot, replaced in place
WR_SPANNING_STORE = 3  # beyond the leaf, or a NULL up to its end
WR_SPLIT_STORE = 4  # the leaf becomes too full
WR_REBALANCE = 5  # the leaf becomes too empty
WR_SLOT_STORE = 6  # a border between two slots moves, in place
WR_NODE_STORE = 7  # the leaf is rewritten


class Maple(NamedTuple):
    """All maple trees of a machine, the states that work on them, and scratch space."""

    node: NDArray[np.int64]  # [nodes + 1, 4 planes, slots]
    tree: NDArray[np.int64]  # [trees, TREE_COLUMNS]
    state: NDArray[np.int64]  # [states, HELD + HELD_NODES]
    path: NDArray[np.int64]  # [PATHS, MAX_HEIGHT + 1, PATH_COLUMNS] from the root down
    big: NDArray[np.int64]  # [3 planes, BIG_SLOTS] the big node: more slots than a node holds
    replaced: NDArray[np.int64]  # [rows, 3] node, level, first index: nodes of the paths to be given back
    destroy: NDArray[np.int64]  # [rows] nodes to be given back with all below them
    objects: NDArray[np.int64]  # [HELD_NODES] scratch of the bulk calls
    callback: NDArray[np.int64]  # [nodes + 1, 2] ring of queued RCU callbacks: kind, node
    scalar: NDArray[np.int64]  # [SCALARS]


def make_maple(layout: int, nodes: int = 2048, trees: int = 64, states: int = 4) -> Maple:
    """Empty trees. `nodes` is max_slabs * objects per slab of the cache MAPLE_NODE.

    `layout` is LAYOUT_32 or LAYOUT_64 (bits of a pointer); a node has 256 bytes in both.
    """
    if layout == LAYOUT_32:
        slots, min_slots = (0, 32, 32, 21), (0, 14, 14, 9)
        index_max = 2**32 - 1
    elif layout == LAYOUT_64:
        slots, min_slots = (0, 16, 16, 10), (0, 6, 6, 4)
        index_max = 2**63 - 2
    else:
        raise ValueError(f"layout is {layout}, not {LAYOUT_32} or {LAYOUT_64}")
    maple = Maple(
        # the last row stands in for a node that could not be had, see NODE_SHORTAGE
        node=np.zeros((nodes + 1, HEAD + 1, slots[MAPLE_LEAF_64]), np.int64),
        tree=np.zeros((trees, TREE_COLUMNS), np.int64),
        state=np.zeros((states, HELD + HELD_NODES), np.int64),
        path=np.zeros((PATHS, MAX_HEIGHT + 1, PATH_COLUMNS), np.int64),
        big=np.zeros((GAP + 1, BIG_SLOTS), np.int64),
        replaced=np.zeros((16 * MAX_HEIGHT, 3), np.int64),
        destroy=np.zeros(16 * MAX_HEIGHT * slots[MAPLE_LEAF_64], np.int64),
        objects=np.zeros(HELD_NODES, np.int64),
        callback=np.zeros((nodes + 1, 2), np.int64),
        scalar=np.zeros(SCALARS, np.int64),
    )
    maple.scalar[INDEX_MAX] = index_max
    maple.scalar[SLOTS : SLOTS + 4] = slots
    maple.scalar[MIN_SLOTS : MIN_SLOTS + 4] = min_slots
    reset_maple(maple)
    return maple


def nodes_of_stores(layout: int, stores: NDArray[np.int64], entries: NDArray[np.int64]) -> int:
    """How many nodes can be in use after so many stores into each tree, which never has more than so many entries.

    Counted as if no node that a store replaces were ever given back (call_rcu), and with those in hand meanwhile.
    """
    slots, minimum = (32, 9) if layout == LAYOUT_32 else (16, 4)
    ranges = 2 * entries + 1  # NULL before, between and behind
    single = ranges < slots  # one leaf, which each store replaces
    height, room = 1, minimum
    while room < ranges.max(initial=0):
        height, room = height + 1, room * minimum
    most = 1 + 3 * height
    return int(stores[single].sum() + most * (stores[~single].sum() + 1))


@kernel
def reset_maple(maple: Maple) -> None:
    """All trees empty, no state holds a node, no callback is queued; nothing is given back to the cache."""
    maple.scalar[RCU_PENDING:PARTS] = 0
    maple.scalar[RCU_DONE] = 0
    maple.state[:] = 0
    for tree in range(maple.tree.shape[0]):
        mt_init_flags(maple, tree, MT_FLAGS_ALLOC_RANGE)


@kernel
def mt_init_flags(maple: Maple, tree: int, flags: int) -> None:
    """An empty tree with MT_FLAGS_* (mt_init_flags); nodes it had are forgotten."""
    row = maple.tree[tree]
    row[ROOT] = -1
    row[ROOT_ENTRY] = 0
    row[HEIGHT] = 0
    row[FLAGS] = flags


@kernel
def mt_init(maple: Maple, tree: int, rcu: int) -> None:
    """An empty tree as mm_init() makes it: MM_MT_FLAGS, in RCU mode if `rcu` is not 0."""
    if rcu:
        mt_init_flags(maple, tree, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU)
    else:
        mt_init_flags(maple, tree, MT_FLAGS_ALLOC_RANGE)


@kernel
def mas_set_range(maple: Maple, mas: int, first: int, last: int) -> None:
    """The range that the next call works on; a search starts afresh (mas_set_range)."""
    state = maple.state[mas]
    state[INDEX] = first
    state[LAST] = last
    state[ACTIVE] = 0


@kernel
def mas_init(maple: Maple, mas: int, tree: int, first: int, last: int) -> None:
    """State `mas` for `tree` without any node held (MA_STATE)."""
    state = maple.state[mas]
    state[TREE] = tree
    state[PREALLOC] = 0
    state[ALLOCATED] = 0
    mas_set_range(maple, mas, first, last)


# Nodes held by a state


@kernel
def mas_alloc_nodes(maple: Maple, slub: Slub, zone: Zone, mas: int, count: int, gfp: int) -> int:
    """Have `count` nodes in hand: the first by a single call, others in bulk (mas_alloc_nodes); 0 or -ENOMEM.

    What was obtained before a failure stays with the state.
    """
    state = maple.state[mas]
    if state[ALLOCATED] == 0:
        node = kmem_cache_alloc(slub, zone, MAPLE_NODE, gfp)
        if node < 0:
            return -ENOMEM
        state[HELD] = node
        state[ALLOCATED] = 1
    have = state[ALLOCATED]
    if count > have:
        if kmem_cache_alloc_bulk(slub, zone, MAPLE_NODE, gfp, count - have, maple.objects) == 0:
            return -ENOMEM
        for index in range(have, count):
            state[HELD + index] = maple.objects[index - have]
        state[ALLOCATED] = count
    return 0


@kernel
def mas_pop_node(maple: Maple, mas: int) -> int:
    """Take one held node. Linux keeps the list in the first node, so that one goes next to last."""
    state = maple.state[mas]
    held = state[HELD:]
    have = state[ALLOCATED]
    if have == 0:
        maple.scalar[NODE_SHORTAGE] += 1
        return maple.node.shape[0] - 1
    state[ALLOCATED] = have - 1
    if have > 2:
        return int(held[have - 1])
    node = held[0]
    held[0] = held[1]
    return int(node)


@inlined_kernel
def mas_destroy(maple: Maple, slub: Slub, zone: Zone, mas: int) -> None:
    """Give back the nodes that the state still holds (mas_destroy)."""
    maple.state[mas, PREALLOC] = 0
    if maple.state[mas, ALLOCATED]:
        give_back_nodes(maple, slub, zone, mas)


@kernel
def give_back_nodes(maple: Maple, slub: Slub, zone: Zone, mas: int) -> None:
    """What `mas_destroy` does if there is any node."""
    state = maple.state[mas]
    have = state[ALLOCATED]
    state[ALLOCATED] = 0
    if have > 2:
        for index in range(2, have):
            maple.objects[index - 2] = state[HELD + index]
        kmem_cache_free_bulk(slub, zone, MAPLE_NODE, have - 2, maple.objects)
    for index in range(min(have, 2)):
        kmem_cache_free(slub, zone, MAPLE_NODE, int(state[HELD + index]))


@kernel
def call_rcu(maple: Maple, kind: int, node: int) -> None:
    """Queue one callback."""
    scalar = maple.scalar
    row = (scalar[RCU_HEAD] + scalar[RCU_PENDING]) % maple.callback.shape[0]
    maple.callback[row, 0] = kind
    maple.callback[row, 1] = node
    scalar[RCU_PENDING] += 1
    scalar[RCU_CALLS] += 1


@kernel
def mas_free(maple: Maple, mas: int, node: int) -> None:
    """A node left the tree (mas_free): a callback in RCU mode, else the state holds it for further use."""
    state = maple.state[mas]
    if maple.tree[state[TREE], FLAGS] & MT_FLAGS_USE_RCU:
        call_rcu(maple, CALLBACK_NODE, node)
    else:
        state[HELD + state[ALLOCATED]] = node
        state[ALLOCATED] += 1


@seldom_kernel
def mt_destroy_walk(maple: Maple, slub: Slub, zone: Zone, top: int) -> None:
    """Give back `top` and all below it (mt_destroy_walk): children in bulk, after their own children."""
    depth = 0
    if maple.node[top, HEAD, TYPE] == MAPLE_LEAF_64:
        depth = -1
    maple.path[WALK, 0, NODE] = top
    maple.path[WALK, 0, OFFSET] = 0
    while depth >= 0:
        node = maple.path[WALK, depth, NODE]
        child = maple.path[WALK, depth, OFFSET]
        end = maple.node[node, HEAD, END]
        if child > end or maple.node[maple.node[node, SLOT, 0], HEAD, TYPE] == MAPLE_LEAF_64:
            for offset in range(end + 1):
                maple.objects[offset] = maple.node[node, SLOT, offset]
            kmem_cache_free_bulk(slub, zone, MAPLE_NODE, int(end) + 1, maple.objects)
            depth -= 1
        else:
            maple.path[WALK, depth, OFFSET] = child + 1
            depth += 1
            maple.path[WALK, depth, NODE] = maple.node[node, SLOT, child]
            maple.path[WALK, depth, OFFSET] = 0
    kmem_cache_free(slub, zone, MAPLE_NODE, top)


@kernel
def rcu_do_batch(maple: Maple, slub: Slub, zone: Zone, count: int) -> None:
    """Run the oldest `count` queued callbacks, or all if there are fewer (rcu_do_batch)."""
    scalar = maple.scalar
    for _ in range(min(count, scalar[RCU_PENDING])):
        row = scalar[RCU_HEAD]
        scalar[RCU_HEAD] = (row + 1) % maple.callback.shape[0]
        scalar[RCU_PENDING] -= 1
        node = int(maple.callback[row, 1])
        if maple.callback[row, 0] == CALLBACK_TREE:
            mt_destroy_walk(maple, slub, zone, node)
        else:
            kmem_cache_free(slub, zone, MAPLE_NODE, node)


@kernel
def mte_destroy_walk(maple: Maple, flags: int, node: int) -> None:
    """A subtree left its tree: one callback in RCU mode, else it waits in Maple.destroy."""
    if flags & MT_FLAGS_USE_RCU:
        call_rcu(maple, CALLBACK_TREE, node)
    else:
        maple.destroy[maple.scalar[DESTROY]] = node
        maple.scalar[DESTROY] += 1


@kernel
def mt_destroy(maple: Maple, slub: Slub, zone: Zone, tree: int) -> None:
    """Empty a tree (__mt_destroy). Its flags are lost as in Linux: it is neither RCU nor ALLOC_RANGE now."""
    root = int(maple.tree[tree, ROOT])
    flags = int(maple.tree[tree, FLAGS])
    mt_init_flags(maple, tree, 0)
    if root < 0 or maple.scalar[NODE_SHORTAGE] != 0:
        return
    if flags & MT_FLAGS_USE_RCU:
        call_rcu(maple, CALLBACK_TREE, root)
    else:
        mt_destroy_walk(maple, slub, zone, root)


# Walks


@inlined_kernel
def mas_slot(maple: Maple, node: int, index: int) -> int:
    """The slot of a node that holds `index`: as many pivots lie below.

    All are compared, also those that are not in use: so many in one instruction that no branch is needed. A store stops
    at the first that does not lie below: it reads the slots anyway.
    """
    pivots = maple.node[node, PIVOT]
    end = maple.node[node, HEAD, END]
    offset = 0
    for slot in range(pivots.shape[0]):
        offset += 1 if (slot < end) & (pivots[slot] < index) else 0
    return offset


@inlined_kernel
def mas_walk_path(maple: Maple, root: int, side: int, index: int) -> int:
    """Fill one side of the path for `index`; returns the leaf's level, 0 = the root is the leaf."""
    node = root
    low = 0
    high = maple.scalar[INDEX_MAX]
    level = 0
    while True:
        offset = 0
        while maple.node[node, PIVOT, offset] < index:
            offset += 1
        step = maple.path[side, level]
        step[NODE] = node
        step[OFFSET] = offset
        step[MIN] = low
        step[MAX] = high
        if maple.node[node, HEAD, TYPE] == MAPLE_LEAF_64:
            return level
        if offset > 0:
            low = maple.node[node, PIVOT, offset - 1] + 1
        high = maple.node[node, PIVOT, offset]
        node = maple.node[node, SLOT, offset]
        level += 1


@kernel
def mtree_range_walk(maple: Maple, mas: int, index: int) -> int:
    """The entry at `index` or 0; the state's range becomes the one of the slot that holds it."""
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    low = 0
    high = maple.scalar[INDEX_MAX]
    if tree[HEIGHT] == 0:
        if index == 0:
            state[INDEX] = 0
            state[LAST] = 0
            return int(tree[ROOT_ENTRY])
        state[INDEX] = 1
        state[LAST] = high
        return 0
    node = tree[ROOT]
    while True:
        offset = mas_slot(maple, node, index)
        if offset > 0:
            low = maple.node[node, PIVOT, offset - 1] + 1
        high = maple.node[node, PIVOT, offset]
        if maple.node[node, HEAD, TYPE] == MAPLE_LEAF_64:
            state[INDEX] = low
            state[LAST] = high
            return int(maple.node[node, SLOT, offset])
        node = maple.node[node, SLOT, offset]


@kernel
def mas_find(maple: Maple, mas: int, last: int) -> int:
    """The first entry from the state's index, or behind the range found before, up to `last`; 0 if none.

    The state's range becomes the entry's (mas_find).
    """
    state = maple.state[mas]
    if state[ACTIVE]:
        if state[LAST] >= last:
            return 0
        index = state[LAST] + 1
    else:
        index = state[INDEX]
        state[ACTIVE] = 1
    while index <= last:
        entry = mtree_range_walk(maple, mas, index)
        if entry:
            return int(entry)
        if state[LAST] >= last:
            break
        index = state[LAST] + 1
    state[INDEX] = last
    state[LAST] = last
    return 0


@kernel
def mtree_load(maple: Maple, tree: int, index: int) -> int:
    """The entry at `index` or 0 (mtree_load)."""
    if maple.tree[tree, HEIGHT] == 0:
        return int(maple.tree[tree, ROOT_ENTRY]) if index == 0 else 0
    node = maple.tree[tree, ROOT]
    while True:
        offset = mas_slot(maple, node, index)
        if maple.node[node, HEAD, TYPE] == MAPLE_LEAF_64:
            return int(maple.node[node, SLOT, offset])
        node = maple.node[node, SLOT, offset]


# Gaps


@kernel
def mas_max_gap(maple: Maple, node: int, low: int) -> int:
    """The longest run of NULL in a node that starts at index `low`."""
    end = maple.node[node, HEAD, END]
    if maple.node[node, HEAD, TYPE] != MAPLE_LEAF_64:
        gaps = maple.node[node, GAP]
        longest = gaps[0]
        for offset in range(1, end + 1):
            longest = max(longest, gaps[offset])
        return int(longest)
    pivots = maple.node[node, PIVOT]
    slots = maple.node[node, SLOT]
    longest = pivots[0] - low + 1 if slots[0] == 0 else 0
    for offset in range(1, end + 1):
        # No branch, so that several slots are looked at in one instruction.
        gap = pivots[offset] - pivots[offset - 1] if slots[offset] == 0 else 0
        longest = max(longest, gap)
    return int(longest)


@kernel
def mas_parent_gap(maple: Maple, level: int, gap: int) -> None:
    """The largest gap of the node at `level` of the left path is `gap`: carry it upwards (mas_parent_gap)."""
    path = maple.path[LEFT]
    for above in range(level - 1, -1, -1):
        node = path[above, NODE]
        offset = path[above, OFFSET]
        if maple.node[node, GAP, offset] == gap:
            return
        maple.node[node, GAP, offset] = gap
        gap = mas_max_gap(maple, int(node), 0)


@inlined_kernel
def has_gaps(maple: Maple, tree: int, level: int) -> bool:
    """Whether the parent of a node at `level` knows the node's largest gap."""
    return level > 0 and maple.tree[tree, FLAGS] & MT_FLAGS_ALLOC_RANGE != 0


@kernel
def mas_update_gap(maple: Maple, tree: int, level: int) -> None:
    """Search the node at `level` of the left path for its largest gap and carry that upwards (mas_update_gap)."""
    if has_gaps(maple, tree, level):
        step = maple.path[LEFT, level]
        mas_parent_gap(maple, level, mas_max_gap(maple, int(step[NODE]), int(step[MIN])))


# The big node


@kernel
def big_append(maple: Maple, pivot: int, entry: int, gap: int) -> None:
    """One more slot at the end of the big node."""
    count = maple.scalar[BIG_COUNT]
    maple.big[PIVOT, count] = pivot
    maple.big[SLOT, count] = entry
    maple.big[GAP, count] = gap
    maple.scalar[BIG_COUNT] = count + 1


@kernel
def big_append_slots(maple: Maple, node: int, first: int, last: int) -> None:
    """Slots first..last of a node to the end of the big node (mas_mab_cp)."""
    count = maple.scalar[BIG_COUNT]
    for offset in range(first, last + 1):
        maple.big[PIVOT, count] = maple.node[node, PIVOT, offset]
        maple.big[SLOT, count] = maple.node[node, SLOT, offset]
        maple.big[GAP, count] = maple.node[node, GAP, offset]
        count += 1
    maple.scalar[BIG_COUNT] = count


@kernel
def big_prepend_node(maple: Maple, node: int) -> None:
    """A whole node before the content of the big node (mab_shift_right)."""
    count = maple.scalar[BIG_COUNT]
    shift = maple.node[node, HEAD, END] + 1
    for offset in range(count - 1, -1, -1):
        maple.big[PIVOT, offset + shift] = maple.big[PIVOT, offset]
        maple.big[SLOT, offset + shift] = maple.big[SLOT, offset]
        maple.big[GAP, offset + shift] = maple.big[GAP, offset]
    maple.scalar[BIG_COUNT] = 0
    big_append_slots(maple, node, 0, shift - 1)
    maple.scalar[BIG_COUNT] = count + shift


@kernel
def big_append_child(maple: Maple, node: int, low: int) -> int:
    """A new node, whose range starts at `low`, as the next slot of the big node; returns its last index."""
    high = int(maple.node[node, PIVOT, maple.node[node, HEAD, END]])
    big_append(maple, high, node, mas_max_gap(maple, node, low))
    return high


@kernel
def mab_mas_cp(maple: Maple, mas: int, kind: int, first: int, last: int) -> int:
    """A new node of type `kind` with slots first..last of the big node (mab_mas_cp); returns the node."""
    node = mas_pop_node(maple, mas)
    maple.node[node, HEAD, TYPE] = kind
    maple.node[node, HEAD, END] = last - first
    for offset in range(last - first + 1):
        maple.node[node, PIVOT, offset] = maple.big[PIVOT, first + offset]
        maple.node[node, SLOT, offset] = maple.big[SLOT, first + offset]
        maple.node[node, GAP, offset] = maple.big[GAP, first + offset]
    return int(node)


@kernel
def mab_no_null_split(maple: Maple, split: int, kind: int, big_end: int) -> int:
    """Move a split point by one if the left part would end with a NULL (mab_no_null_split)."""
    if kind != MAPLE_LEAF_64 or maple.big[SLOT, split]:
        return split
    if split < maple.scalar[SLOTS + kind] - 1 and big_end - split > maple.scalar[MIN_SLOTS + kind]:
        return split + 1
    return split - 1


@kernel
def mab_calc_split(maple: Maple, kind: int) -> None:
    """Cut the big node into two or three parts: scalar[CUT:] holds the last slot of each (mab_calc_split)."""
    slots = maple.scalar[SLOTS + kind]
    end = maple.scalar[BIG_COUNT] - 1
    split = end // 2
    cut = maple.scalar[CUT:]
    ends_null = kind == MAPLE_LEAF_64 and maple.big[SLOT, split] == 0
    if end >= 2 * slots or (ends_null and end >= 2 * slots - 1):
        cut[0] = mab_no_null_split(maple, end // 3, kind, end)
        cut[1] = mab_no_null_split(maple, end // 3 * 2, kind, end)
        cut[2] = end
        maple.scalar[PARTS] = 3
    else:
        cut[0] = mab_no_null_split(maple, split, kind, end)
        cut[1] = end
        maple.scalar[PARTS] = 2


@kernel
def mas_store_b_node(maple: Maple, state: NDArray[np.int64], node: int, entry: int) -> None:
    """Fill the big node with a leaf up to the entry and, if the slot goes on, what follows in the last slot.

    Slots behind WR_OFFSET_END are the caller's to append (mas_store_b_node).
    """
    offset = state[WR_OFFSET]
    maple.scalar[BIG_COUNT] = 0
    big_append_slots(maple, node, 0, offset - 1)
    if state[WR_LOW] < state[WR_FIRST]:
        big_append(maple, state[WR_FIRST] - 1, maple.node[node, SLOT, offset], 0)
    big_append(maple, state[WR_LAST], entry, 0)
    offset_end = state[WR_OFFSET_END]
    if state[WR_LAST] < maple.node[node, PIVOT, offset_end]:
        big_append_slots(maple, node, offset_end, offset_end)


# Putting new nodes into the tree


@kernel
def mas_replace(maple: Maple, tree: int, level: int, node: int) -> None:
    """Node in place of the one at `level` of the left path."""
    if level == 0:
        maple.tree[tree, ROOT] = node
    else:
        above = maple.path[LEFT, level - 1]
        maple.node[above[NODE], SLOT, above[OFFSET]] = node
    maple.path[LEFT, level, NODE] = node


@kernel
def mark_replaced(maple: Maple, node: int, level: int, low: int) -> None:
    """Note that a node of a path will leave the tree; once."""
    if not maple.node[node, HEAD, MARKED]:
        maple.node[node, HEAD, MARKED] = 1
        row = maple.replaced[maple.scalar[REPLACED]]
        row[0] = node
        row[1] = level
        row[2] = low
        maple.scalar[REPLACED] += 1


@kernel
def free_replaced(maple: Maple, mas: int, levels: int) -> None:
    """Give back the noted nodes one by one, then what hung between them as whole subtrees.

    The path COVER says for each of the `levels` levels what was rebuilt.
    """
    scalar = maple.scalar
    flags = int(maple.tree[maple.state[mas, TREE], FLAGS])
    for row in range(scalar[REPLACED]):
        mas_free(maple, mas, int(maple.replaced[row, 0]))
    for row in range(scalar[REPLACED]):
        node = maple.replaced[row, 0]
        below = maple.replaced[row, 1] + 1
        if below >= levels:
            continue
        low = maple.replaced[row, 2]
        for offset in range(maple.node[node, HEAD, END] + 1):
            child = int(maple.node[node, SLOT, offset])
            high = maple.node[node, PIVOT, offset]
            inside = low >= maple.path[COVER, below, MIN] and high <= maple.path[COVER, below, MAX]
            if inside and not maple.node[child, HEAD, MARKED]:
                mte_destroy_walk(maple, flags, child)
            low = high + 1
    for row in range(scalar[REPLACED]):
        maple.node[maple.replaced[row, 0], HEAD, MARKED] = 0
    scalar[REPLACED] = 0


@kernel
def inner_type(maple: Maple, tree: int) -> int:
    """The type of the tree's inner nodes."""
    if maple.tree[tree, FLAGS] & MT_FLAGS_ALLOC_RANGE:
        return MAPLE_ARANGE_64
    return MAPLE_RANGE_64


@kernel
def mas_new_top(maple: Maple, mas: int, tree: int, height: int) -> None:
    """The big node's slots become a new root."""
    root = mab_mas_cp(maple, mas, inner_type(maple, tree), 0, maple.scalar[BIG_COUNT] - 1)
    maple.tree[tree, ROOT] = root
    maple.tree[tree, HEIGHT] = height


# Splitting


@kernel
def mas_push_data(maple: Maple, level: int, direction: int) -> int:
    """Try to move data of the overfull big node to a sibling: -1 left, 1 right (mas_push_data).

    If the sibling has room its slots join the big node, and the split point is returned, else -1.
    """
    above = maple.path[LEFT, level - 1]
    offset = above[OFFSET] + direction
    if offset < 0 or offset > maple.node[above[NODE], HEAD, END]:
        return -1
    step = maple.path[LEFT, level]
    kind = maple.node[step[NODE], HEAD, TYPE]
    sibling = int(maple.node[above[NODE], SLOT, offset])
    slots = maple.scalar[SLOTS + kind]
    total = maple.scalar[BIG_COUNT] - 1 + maple.node[sibling, HEAD, END]
    space = 2 * slots - 2
    if kind == MAPLE_LEAF_64:
        space -= 1
    if step[MAX] == maple.scalar[INDEX_MAX]:
        space -= 1
    if total >= space:
        return -1
    if direction < 0:
        mark_replaced(maple, int(step[NODE]), level, 0)
        mark_replaced(maple, sibling, level, 0)
        big_prepend_node(maple, sibling)
        return int(mab_no_null_split(maple, slots - 2, kind, maple.scalar[BIG_COUNT] - 1))
    mark_replaced(maple, sibling, level, 0)
    mark_replaced(maple, int(step[NODE]), level, 0)
    big_append_slots(maple, sibling, 0, maple.node[sibling, HEAD, END])
    # here the end that Linux compares with is one more than the last slot
    return int(mab_no_null_split(maple, total - (slots - 2), kind, maple.scalar[BIG_COUNT]))


@kernel
def mas_split(maple: Maple, mas: int) -> None:
    """The big node does not fit into the leaf: split upwards until a level has room (mas_split)."""
    tree = int(maple.state[mas, TREE])
    path = maple.path[LEFT]
    height = maple.tree[tree, HEIGHT]
    level = height - 1
    while True:
        old = int(path[level, NODE])
        kind = int(maple.node[old, HEAD, TYPE])
        end = maple.scalar[BIG_COUNT] - 1
        if end < maple.scalar[SLOTS + kind]:
            mark_replaced(maple, old, level, 0)
            mas_replace(maple, tree, level, mab_mas_cp(maple, mas, kind, 0, end))
            mas_update_gap(maple, tree, level)
            break
        before = 0  # siblings before and behind that take part
        behind = 0
        split = -1
        if level > 0:
            split = mas_push_data(maple, level, -1)
            if split >= 0:
                before = 1
            else:
                split = mas_push_data(maple, level, 1)
                if split >= 0:
                    behind = 1
        if split < 0:
            mab_calc_split(maple, kind)
            split = maple.scalar[CUT]
            mark_replaced(maple, old, level, 0)
        left = mab_mas_cp(maple, mas, kind, 0, split)
        right = mab_mas_cp(maple, mas, kind, split + 1, maple.scalar[BIG_COUNT] - 1)
        maple.scalar[BIG_COUNT] = 0
        if level == 0:
            big_append_child(maple, right, big_append_child(maple, left, 0) + 1)
            mas_new_top(maple, mas, tree, height + 1)
            break
        level -= 1
        above = int(path[level, NODE])
        offset = path[level, OFFSET]
        first = offset - before
        big_append_slots(maple, above, 0, first - 1)
        start = path[level, MIN] if first == 0 else maple.node[above, PIVOT, first - 1] + 1
        big_append_child(maple, right, big_append_child(maple, left, start) + 1)
        big_append_slots(maple, above, offset + behind + 1, maple.node[above, HEAD, END])
    free_replaced(maple, mas, 0)


# Rebalancing and spanning stores


@kernel
def mark_side(maple: Maple, side: int, top: int, bottom: int) -> None:
    """Note the nodes of one side of the path from `bottom` up to `top` that are not on the other side."""
    for level in range(bottom, top - 1, -1):
        step = maple.path[side, level]
        if step[NODE] != maple.path[1 - side, level, NODE]:
            mark_replaced(maple, int(step[NODE]), level, int(step[MIN]))


@kernel
def shift_side(maple: Maple, side: int, top: int, bottom: int, direction: int) -> None:
    """Move one side of the path by one slot at level `top`, and down to the nearest node at `bottom`."""
    path = maple.path[side]
    path[top, OFFSET] += direction
    for level in range(top + 1, bottom + 1):
        node = path[level - 1, NODE]
        offset = path[level - 1, OFFSET]
        child = maple.node[node, SLOT, offset]
        path[level, NODE] = child
        path[level, OFFSET] = 0 if direction > 0 else maple.node[child, HEAD, END]
        path[level, MIN] = maple.node[node, PIVOT, offset - 1] + 1 if offset > 0 else path[level - 1, MIN]
        path[level, MAX] = maple.node[node, PIVOT, offset]


@kernel
def mast_spanning_rebalance(maple: Maple, level: int) -> None:
    """Take the nearest neighbour into the big node, looking right, then left, level by level upwards."""
    for above in range(level - 1, -1, -1):
        right = maple.path[RIGHT, above]
        if right[OFFSET] < maple.node[right[NODE], HEAD, END]:
            mark_side(maple, RIGHT, above + 1, level)
            shift_side(maple, RIGHT, above, level, 1)
            node = int(maple.path[RIGHT, level, NODE])
            big_append_slots(maple, node, 0, maple.node[node, HEAD, END])
            return
        if maple.path[LEFT, above, OFFSET] > 0:
            mark_side(maple, LEFT, above + 1, level)
            shift_side(maple, LEFT, above, level, -1)
            big_prepend_node(maple, int(maple.path[LEFT, level, NODE]))
            return


@kernel
def mas_mab_to_node(maple: Maple, kind: int) -> None:
    """Decide how many nodes the big node needs and where to cut it (mas_mab_to_node)."""
    end = maple.scalar[BIG_COUNT] - 1
    if end < maple.scalar[SLOTS + kind]:
        maple.scalar[CUT] = end
        maple.scalar[PARTS] = 1
    else:
        mab_calc_split(maple, kind)


@kernel
def mas_spanning_rebalance(maple: Maple, mas: int) -> None:
    """Rebuild all levels from the leaves, whose content is in the big node, up to the root.

    Both sides of the path are set; everything between them is replaced (mas_spanning_rebalance).
    """
    tree = int(maple.state[mas, TREE])
    height = maple.tree[tree, HEIGHT]
    index_max = maple.scalar[INDEX_MAX]
    cut = maple.scalar[CUT:]
    level = height - 1
    while True:
        kind = int(maple.node[maple.path[LEFT, level, NODE], HEAD, TYPE])
        if maple.scalar[BIG_COUNT] <= maple.scalar[MIN_SLOTS + kind]:
            mast_spanning_rebalance(maple, level)
        left = maple.path[LEFT, level]
        right = maple.path[RIGHT, level]
        low = int(left[MIN])
        whole = low == 0 and right[MAX] == index_max
        mark_replaced(maple, int(left[NODE]), level, low)
        mark_replaced(maple, int(right[NODE]), level, int(right[MIN]))
        maple.path[COVER, level, MIN] = low
        maple.path[COVER, level, MAX] = right[MAX]
        mas_mab_to_node(maple, kind)
        parts = maple.scalar[PARTS]
        first = 0
        for part in range(parts):
            cut_end = cut[part]
            cut[part] = mab_mas_cp(maple, mas, kind, first, cut_end)
            first = cut_end + 1
        if whole and parts == 1:
            maple.tree[tree, ROOT] = cut[0]
            maple.tree[tree, HEIGHT] = height - level
            break
        maple.scalar[BIG_COUNT] = 0
        if level > 0:
            left = maple.path[LEFT, level - 1]
            big_append_slots(maple, int(left[NODE]), 0, left[OFFSET] - 1)
        for part in range(parts):
            low = big_append_child(maple, int(cut[part]), low) + 1
        if level == 0:
            mas_new_top(maple, mas, tree, height + 1)
            break
        level -= 1
        right = maple.path[RIGHT, level]
        big_append_slots(maple, int(right[NODE]), right[OFFSET] + 1, maple.node[right[NODE], HEAD, END])
    while level > 0:
        level -= 1
        for side in range(2):
            step = maple.path[side, level]
            mark_replaced(maple, int(step[NODE]), level, int(step[MIN]))
        maple.path[COVER, level, MIN] = 0
        maple.path[COVER, level, MAX] = index_max
    free_replaced(maple, mas, height)


@kernel
def mas_rebalance(maple: Maple, level: int) -> None:
    """The leaf has become too small: join it with a sibling (mas_rebalance)."""
    for above in range(level + 1):
        for column in range(PATH_COLUMNS):
            maple.path[RIGHT, above, column] = maple.path[LEFT, above, column]
    mast_spanning_rebalance(maple, level)


# Stores


@inlined_kernel
def mas_wr_extend_null(maple: Maple, state: NDArray[np.int64], node: int, minimum: int) -> None:
    """A NULL takes in the NULL slots around it that lie in the leaf (mas_wr_extend_null)."""
    slots = maple.node[node, SLOT]
    pivots = maple.node[node, PIVOT]
    offset_end = state[WR_OFFSET_END]
    if slots[offset_end] == 0:
        state[WR_LAST] = pivots[offset_end]
    if (
        state[WR_LAST] == pivots[offset_end]
        and offset_end != maple.node[node, HEAD, END]
        and slots[offset_end + 1] == 0
    ):
        state[WR_OFFSET_END] = offset_end + 1
        state[WR_LAST] = pivots[offset_end + 1]
    offset = state[WR_OFFSET]
    if slots[offset] == 0:
        state[WR_FIRST] = state[WR_LOW]
    elif state[WR_FIRST] == state[WR_LOW] and offset > 0 and slots[offset - 1] == 0:
        state[WR_OFFSET] = offset - 1
        state[WR_LOW] = pivots[offset - 2] + 1 if offset > 1 else minimum
        state[WR_FIRST] = state[WR_LOW]


@inlined_kernel
def mas_wr_new_end(maple: Maple, state: NDArray[np.int64], node: int) -> int:
    """The last slot of the leaf after the store, if there were room for all (mas_wr_new_end)."""
    new_end = maple.node[node, HEAD, END] - (state[WR_OFFSET_END] - state[WR_OFFSET])
    if state[WR_LOW] < state[WR_FIRST]:
        new_end += 1
    if state[WR_LAST] < maple.node[node, PIVOT, state[WR_OFFSET_END]]:
        new_end += 1
    return int(new_end)


@inlined_kernel
def mas_wr_walk(maple: Maple, mas: int, entry: int) -> int:
    """Find the leaf and the slots that a store touches; returns WR_SPANNING_STORE or WR_NODE_STORE."""
    state = maple.state[mas]
    first = state[INDEX]
    last = state[LAST]
    level = mas_walk_path(maple, int(maple.tree[state[TREE], ROOT]), LEFT, first)
    step = maple.path[LEFT, level]
    node = step[NODE]
    offset = step[OFFSET]
    state[WR_FIRST] = first
    state[WR_LAST] = last
    state[WR_LEVEL] = level
    state[WR_OFFSET] = offset
    state[WR_LOW] = maple.node[node, PIVOT, offset - 1] + 1 if offset > 0 else step[MIN]
    if last > step[MAX] or (last == step[MAX] and entry == 0 and last != maple.scalar[INDEX_MAX]):
        return WR_SPANNING_STORE
    while maple.node[node, PIVOT, offset] < last:
        offset += 1
    state[WR_OFFSET_END] = offset
    return WR_NODE_STORE


@inlined_kernel
def mas_wr_store_type(maple: Maple, mas: int, entry: int) -> int:
    """How `entry` (0 = NULL) will be stored at the state's range; fills the columns WR_* of the state."""
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    index_max = maple.scalar[INDEX_MAX]
    if tree[HEIGHT] == 0:
        return WR_STORE_ROOT
    if state[INDEX] == 0 and state[LAST] == index_max:
        return WR_NEW_ROOT
    if mas_wr_walk(maple, mas, entry) == WR_SPANNING_STORE:
        return WR_SPANNING_STORE
    level = state[WR_LEVEL]
    step = maple.path[LEFT, level]
    node = int(step[NODE])
    if entry == 0:
        mas_wr_extend_null(maple, state, node, int(step[MIN]))
        if state[WR_FIRST] == 0 and state[WR_LAST] == index_max:
            return WR_NEW_ROOT
    offset = state[WR_OFFSET]
    if state[WR_LOW] == state[WR_FIRST] and maple.node[node, PIVOT, offset] == state[WR_LAST]:
        return WR_EXACT_FIT
    end = maple.node[node, HEAD, END]
    new_end = mas_wr_new_end(maple, state, node)
    slots = maple.scalar[SLOTS + MAPLE_LEAF_64]
    if new_end >= slots:
        return WR_SPLIT_STORE
    if level > 0 and new_end < maple.scalar[MIN_SLOTS + MAPLE_LEAF_64]:
        return WR_REBALANCE
    offset_end = state[WR_OFFSET_END]
    size = end - offset_end + offset + 2
    if step[MAX] == index_max:
        size += 1
    # a nearly full node is not changed in place, although a moved border needs no room
    if offset_end == offset + 1 and new_end == end and size < slots:
        return WR_SLOT_STORE
    return WR_NODE_STORE


@inlined_kernel
def mas_prealloc_calc(maple: Maple, mas: int, entry: int, store_type: int) -> int:
    """Nodes that a store of this type asks for, the worst case (mas_node_count in each path of 6.1)."""
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    if store_type in (WR_SPANNING_STORE, WR_REBALANCE):
        return int(1 + 3 * tree[HEIGHT])
    if store_type == WR_SPLIT_STORE:
        return int(1 + 2 * tree[HEIGHT])
    if store_type == WR_STORE_ROOT:
        return 0 if state[LAST] == 0 or entry == 0 else 1
    if store_type == WR_NEW_ROOT:
        return 1 if entry else 0
    if store_type == WR_NODE_STORE:
        return 1 if tree[FLAGS] & MT_FLAGS_USE_RCU else 0
    return 0


@kernel
def mas_new_root(maple: Maple, mas: int, entry: int) -> None:
    """A store over all indices: one new leaf, or no node for a NULL; the old nodes go (mas_new_root)."""
    tree = maple.tree[maple.state[mas, TREE]]
    mte_destroy_walk(maple, int(tree[FLAGS]), int(tree[ROOT]))
    if entry:
        maple.scalar[BIG_COUNT] = 0
        big_append(maple, int(maple.scalar[INDEX_MAX]), entry, 0)
        tree[ROOT] = mab_mas_cp(maple, mas, MAPLE_LEAF_64, 0, 0)
        tree[HEIGHT] = 1
    else:
        tree[ROOT] = -1
        tree[HEIGHT] = 0


@kernel
def mas_store_root(maple: Maple, mas: int, entry: int) -> None:
    """A store into a tree without nodes (mas_store_root, mas_root_expand)."""
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    first = int(state[INDEX])
    last = int(state[LAST])
    if last == 0 or entry == 0:
        if first == 0:
            tree[ROOT_ENTRY] = entry
        return
    maple.scalar[BIG_COUNT] = 0
    if first > 0 and tree[ROOT_ENTRY]:
        big_append(maple, 0, int(tree[ROOT_ENTRY]), 0)
    if first > 1 or (first == 1 and tree[ROOT_ENTRY] == 0):
        big_append(maple, first - 1, 0, 0)
    big_append(maple, last, entry, 0)
    if last < maple.scalar[INDEX_MAX]:
        big_append(maple, int(maple.scalar[INDEX_MAX]), 0, 0)
    tree[ROOT] = mab_mas_cp(maple, mas, MAPLE_LEAF_64, 0, maple.scalar[BIG_COUNT] - 1)
    tree[ROOT_ENTRY] = 0
    tree[HEIGHT] = 1


@kernel
def mas_wr_spanning_store(maple: Maple, mas: int, entry: int) -> int:
    """Join the first leaf up to the range, the entry and the last leaf behind it (mas_wr_spanning_store).

    Returns the store type: WR_NEW_ROOT if nothing but NULLs would be left.
    """
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    index_max = maple.scalar[INDEX_MAX]
    level = state[WR_LEVEL]
    left = maple.path[LEFT, level]
    node = int(left[NODE])
    behind = state[LAST] + 1 if state[LAST] < index_max else index_max
    mas_walk_path(maple, int(tree[ROOT]), RIGHT, behind)
    right = maple.path[RIGHT, level]
    rest = right[OFFSET]
    if entry == 0:
        offset = state[WR_OFFSET]
        if maple.node[node, SLOT, offset] == 0:
            state[WR_FIRST] = state[WR_LOW]
        elif state[WR_FIRST] == state[WR_LOW] and offset > 0 and maple.node[node, SLOT, offset - 1] == 0:
            state[WR_OFFSET] = offset - 1
            state[WR_LOW] = maple.node[node, PIVOT, offset - 2] + 1 if offset > 1 else left[MIN]
            state[WR_FIRST] = state[WR_LOW]
        if maple.node[right[NODE], SLOT, rest] == 0:
            state[WR_LAST] = maple.node[right[NODE], PIVOT, rest]
            rest += 1
        if state[WR_FIRST] == 0 and state[WR_LAST] == index_max:
            return WR_NEW_ROOT
    state[WR_OFFSET_END] = maple.node[node, HEAD, END]
    mas_store_b_node(maple, state, node, entry)
    if state[WR_LAST] < right[MAX]:
        big_append_slots(maple, int(right[NODE]), rest, maple.node[right[NODE], HEAD, END])
    return WR_SPANNING_STORE


@inlined_kernel
def mas_wr_node_store(maple: Maple, mas: int, entry: int, target: int) -> None:
    """The leaf with the new range goes to node `target`, which may be the leaf itself (mas_wr_node_store)."""
    state = maple.state[mas]
    source = maple.path[LEFT, state[WR_LEVEL], NODE]
    pivots = maple.node[source, PIVOT]
    slots = maple.node[source, SLOT]
    new_pivots = maple.node[target, PIVOT]
    new_slots = maple.node[target, SLOT]
    offset = state[WR_OFFSET]
    offset_end = state[WR_OFFSET_END]
    end = maple.node[source, HEAD, END]
    before = slots[offset]
    behind = slots[offset_end]
    high = pivots[offset_end]
    position = offset
    if state[WR_LOW] < state[WR_FIRST]:
        position += 1
    tail = position + 1
    if state[WR_LAST] < high:
        tail += 1
    shift = tail - (offset_end + 1)
    if shift > 0:
        for slot in range(end, offset_end, -1):
            new_pivots[slot + shift] = pivots[slot]
            new_slots[slot + shift] = slots[slot]
    elif shift < 0 or source != target:
        for slot in range(offset_end + 1, end + 1):
            new_pivots[slot + shift] = pivots[slot]
            new_slots[slot + shift] = slots[slot]
    if source != target:
        maple.node[target, HEAD, TYPE] = MAPLE_LEAF_64
        for slot in range(offset):
            new_pivots[slot] = pivots[slot]
            new_slots[slot] = slots[slot]
    if position > offset:
        new_pivots[offset] = state[WR_FIRST] - 1
        new_slots[offset] = before
    new_pivots[position] = state[WR_LAST]
    new_slots[position] = entry
    if state[WR_LAST] < high:
        new_pivots[position + 1] = high
        new_slots[position + 1] = behind
    maple.node[target, HEAD, END] = end + shift


@inlined_kernel
def mas_wr_gap(maple: Maple, mas: int, entry: int) -> int:
    """The largest gap that the leaf will have after a store into it, -1 if that has to be searched for.

    Linux searches the leaf each time. But a NULL is one gap and takes in those that it touches, and an entry only
    shrinks those that it touches: the largest changes only if it is one of them.
    """
    state = maple.state[mas]
    level = state[WR_LEVEL]
    above = maple.path[LEFT, level - 1]
    largest = maple.node[above[NODE], GAP, above[OFFSET]]
    if entry == 0:
        return int(max(largest, state[WR_LAST] - state[WR_FIRST] + 1))
    node = maple.path[LEFT, level, NODE]
    low = state[WR_LOW]
    for offset in range(state[WR_OFFSET], state[WR_OFFSET_END] + 1):
        high = maple.node[node, PIVOT, offset]
        if maple.node[node, SLOT, offset] == 0 and high - low + 1 == largest:
            return -1
        low = high + 1
    return int(largest)


@inlined_kernel
def mas_wr_modify(maple: Maple, mas: int, entry: int, store_type: int) -> None:
    """A store that needs no more than the leaf: WR_NODE_STORE, WR_SLOT_STORE or WR_EXACT_FIT."""
    state = maple.state[mas]
    tree = int(state[TREE])
    level = int(state[WR_LEVEL])
    node = int(maple.path[LEFT, level, NODE])
    gaps = has_gaps(maple, tree, level)
    gap = mas_wr_gap(maple, mas, entry) if gaps else 0
    if store_type == WR_EXACT_FIT:
        maple.node[node, SLOT, state[WR_OFFSET]] = entry
    else:
        target = node
        if store_type == WR_NODE_STORE and maple.tree[tree, FLAGS] & MT_FLAGS_USE_RCU:
            target = int(mas_pop_node(maple, mas))
        mas_wr_node_store(maple, mas, entry, target)
        if target != node:
            mas_replace(maple, tree, level, target)
            mas_free(maple, mas, node)
    if gap < 0:
        mas_update_gap(maple, tree, level)
    elif gaps:
        mas_parent_gap(maple, level, gap)


@seldom_kernel
def mas_wr_bnode(maple: Maple, mas: int, entry: int, store_type: int) -> None:
    """A store that makes or unmakes nodes: all other types (mas_wr_bnode, mas_wr_spanning_store)."""
    state = maple.state[mas]
    if store_type == WR_STORE_ROOT:
        mas_store_root(maple, mas, entry)
        return
    if store_type == WR_SPANNING_STORE:
        store_type = mas_wr_spanning_store(maple, mas, entry)
    if store_type == WR_NEW_ROOT:
        mas_new_root(maple, mas, entry)
        return
    if store_type != WR_SPANNING_STORE:
        level = int(state[WR_LEVEL])
        node = int(maple.path[LEFT, level, NODE])
        mas_store_b_node(maple, state, node, entry)
        big_append_slots(maple, node, state[WR_OFFSET_END] + 1, maple.node[node, HEAD, END])
        if store_type == WR_SPLIT_STORE:
            mas_split(maple, mas)
            return
        mas_rebalance(maple, level)
    mas_spanning_rebalance(maple, mas)


@kernel
def mas_wr_store_entry(maple: Maple, slub: Slub, zone: Zone, mas: int, entry: int, gfp: int) -> int:
    """Store `entry`, 0 = NULL, at the state's range (mas_wr_store_entry); 0, or -ENOMEM and nothing changed.

    Nodes that the state does not hold are asked for with `gfp`, unless the state is a preallocated one with
    any node left: the count is the worst case, fewer may do. Nodes left over stay with the state.
    """
    state = maple.state[mas]
    if maple.scalar[NODE_SHORTAGE] != 0:
        return -ENOMEM  # a tree is no tree any more
    store_type = mas_wr_store_type(maple, mas, entry)
    count = mas_prealloc_calc(maple, mas, entry, store_type)
    have = state[ALLOCATED]
    asks = have == 0 or state[PREALLOC] == 0 or zone.policy.prealloc_topup == PREALLOC_TOPUP_ALLOWED
    if have < count and asks and mas_alloc_nodes(maple, slub, zone, mas, count, gfp):
        return -ENOMEM
    if store_type in (WR_NODE_STORE, WR_SLOT_STORE, WR_EXACT_FIT):
        mas_wr_modify(maple, mas, entry, store_type)
        return 0
    mas_wr_bnode(maple, mas, entry, store_type)
    for row in range(maple.scalar[DESTROY]):
        mt_destroy_walk(maple, slub, zone, int(maple.destroy[row]))
    maple.scalar[DESTROY] = 0
    return -ENOMEM if maple.scalar[NODE_SHORTAGE] != 0 else 0


@kernel
def mas_store(maple: Maple, slub: Slub, zone: Zone, mas: int, entry: int) -> int:
    """Store at the state's range and keep the nodes left over (mas_store); 0 or -ENOMEM.

    Nodes that are not in hand are asked for with GFP_NOWAIT.
    """
    return int(mas_wr_store_entry(maple, slub, zone, mas, entry, GFP_NOWAIT | GFP_NOWARN))


@kernel
def mas_store_prealloc(maple: Maple, slub: Slub, zone: Zone, mas: int, entry: int) -> int:
    """Store at the state's range with the preallocated nodes and give back the rest (mas_store_prealloc).

    With nothing preallocated the nodes are asked for with GFP_NOWAIT. Returns 0, or -ENOMEM where Linux has a
    BUG_ON.
    """
    error = mas_wr_store_entry(maple, slub, zone, mas, entry, GFP_NOWAIT | GFP_NOWARN)
    mas_destroy(maple, slub, zone, mas)
    return int(error)


mas_store_nowait = mas_store_prealloc  # what nommu did in 2022: mas_store_prealloc() with nothing preallocated


@kernel
def mas_store_gfp(maple: Maple, slub: Slub, zone: Zone, mas: int, entry: int, gfp: int) -> int:
    """Store at the state's range; nodes by GFP_NOWAIT, then by `gfp` (mas_store_gfp); 0 or -ENOMEM.

    Linux repeats as long as any node is in hand; here the second failure is final.
    """
    error = mas_wr_store_entry(maple, slub, zone, mas, entry, GFP_NOWAIT | GFP_NOWARN)
    if error:
        error = mas_wr_store_entry(maple, slub, zone, mas, entry, gfp)
    mas_destroy(maple, slub, zone, mas)
    return int(error)


@kernel
def mas_erase(maple: Maple, slub: Slub, zone: Zone, mas: int) -> int:
    """Remove the entry at the state's index with all its range (mas_erase); the old entry, 0, or -ENOMEM."""
    entry = mtree_range_walk(maple, mas, maple.state[mas, INDEX])
    if entry and mas_store_gfp(maple, slub, zone, mas, 0, GFP_KERNEL):
        return -ENOMEM
    return int(entry)


# Preallocation


@kernel
def range_request(maple: Maple, mas: int, entry: int) -> int:
    """How many nodes mas_preallocate() of Linux 6.6 asks for to store `entry` at the state's range.

    The range is taken as it is: a NULL is not extended here.
    """
    state = maple.state[mas]
    tree = maple.tree[state[TREE]]
    height = tree[HEIGHT]
    if height == 0 or (state[INDEX] == 0 and state[LAST] == maple.scalar[INDEX_MAX]):
        return 1
    if mas_wr_walk(maple, mas, entry) == WR_SPANNING_STORE:
        return int(1 + 3 * height)
    node = int(maple.path[LEFT, state[WR_LEVEL], NODE])
    offset = state[WR_OFFSET]
    if state[WR_LOW] == state[WR_FIRST] and maple.node[node, PIVOT, offset] == state[WR_LAST]:
        return 0
    new_end = mas_wr_new_end(maple, state, node)
    if new_end == maple.node[node, HEAD, END] and (
        state[WR_OFFSET_END] == offset + 1 or not tree[FLAGS] & MT_FLAGS_USE_RCU
    ):
        return 0
    if new_end >= maple.scalar[SLOTS + MAPLE_LEAF_64]:
        return int(1 + 2 * height)
    if height > 1 and new_end - 1 <= maple.scalar[MIN_SLOTS + MAPLE_LEAF_64]:
        return int(2 * height - 1)
    return 1


@kernel
def mas_preallocate_count(maple: Maple, slub: Slub, zone: Zone, mas: int, count: int, gfp: int) -> int:
    """Have `count` nodes in hand for the next store; 0, or -ENOMEM and the state holds none."""
    if maple.state[mas, ALLOCATED] < count and mas_alloc_nodes(maple, slub, zone, mas, count, gfp):
        mas_destroy(maple, slub, zone, mas)
        return -ENOMEM
    if count > 0:
        maple.state[mas, PREALLOC] = 1
    return 0


@kernel
def mas_preallocate(maple: Maple, slub: Slub, zone: Zone, mas: int, gfp: int) -> int:
    """Nodes for any store: 1 + 3 * height, whatever the range (mas_preallocate, 6.1); 0 or -ENOMEM."""
    count = 1 + 3 * maple.tree[maple.state[mas, TREE], HEIGHT]
    return int(mas_preallocate_count(maple, slub, zone, mas, int(count), gfp))


@kernel
def mas_preallocate_range(maple: Maple, slub: Slub, zone: Zone, mas: int, entry: int, gfp: int) -> int:
    """Nodes for storing `entry` at the state's range (mas_preallocate, 6.6); 0 or -ENOMEM.

    If the store asks for none, none is taken: should it need one after all, it takes it itself.
    """
    if maple.scalar[NODE_SHORTAGE] != 0:
        return -ENOMEM  # a tree is no tree any more
    return int(mas_preallocate_count(maple, slub, zone, mas, range_request(maple, mas, entry), gfp))
