"""A slow, plain twin of a maple tree's content, and a checker of the node structure written apart from it.

The twin knows ranges only. The checker reads the arrays of a Maple, but uses no function of the kernels.
"""

LEAF, RANGE, ARANGE = 1, 2, 3
SLOTS = {32: {LEAF: 32, RANGE: 32, ARANGE: 21}, 64: {LEAF: 16, RANGE: 16, ARANGE: 10}}
FEWEST = {32: {LEAF: 14, RANGE: 14, ARANGE: 9}, 64: {LEAF: 6, RANGE: 6, ARANGE: 4}}
HIGHEST = {32: 2**32 - 1, 64: 2**63 - 2}


class TwinTree:
    """Inclusive ranges without overlap, ascending: (first, last, value)."""

    def __init__(self):
        self.ranges = []

    def store(self, first, last, value):
        """`value` at first..last; 0 removes."""
        kept = []
        for low, high, old in self.ranges:
            if high < first or low > last:
                kept.append((low, high, old))
                continue
            if low < first:
                kept.append((low, first - 1, old))
            if high > last:
                kept.append((last + 1, high, old))
        if value:
            kept.append((first, last, value))
        self.ranges = sorted(kept)

    def range_at(self, index):
        """The range that holds `index`, or None."""
        return next((found for found in self.ranges if found[0] <= index <= found[1]), None)

    def load(self, index):
        """The value at `index` or 0."""
        found = self.range_at(index)
        return found[2] if found else 0

    def erase(self, index):
        """Remove the range that holds `index`; its value or 0."""
        found = self.range_at(index)
        if found:
            self.ranges.remove(found)
        return found[2] if found else 0

    def find(self, start, last):
        """The first value at or behind `start`, not behind `last`, or 0."""
        return next((value for low, high, value in self.ranges if high >= start and low <= last), 0)


def longest_gap(maple, node, low):
    """Longest run of NULL below a node, counted in the leaves."""
    _, slots, _, head = maple.node[node]
    pivots = maple.node[node, 0]
    longest = 0
    for offset in range(int(head[1]) + 1):
        high = int(pivots[offset])
        if head[0] != LEAF:
            longest = max(longest, longest_gap(maple, int(slots[offset]), low))
        elif slots[offset] == 0:
            longest = max(longest, high - low + 1)
        low = high + 1
    return longest


def check_node(maple, layout, inner, node, low, high, depth, ranges):
    """Assert the structure below one node and append its ranges; returns (nodes, height below)."""
    pivots, slots, gaps, head = (plane.tolist() for plane in maple.node[node])
    kind, end = head[0], head[1]
    assert kind in (LEAF, inner), "a node of a foreign type"
    assert head[2] == 0, "a mark was left behind"
    assert 0 <= end < SLOTS[layout][kind], "more slots than a node has"
    if depth > 0:
        assert end + 1 >= FEWEST[layout][kind], "a node is too empty"
    elif kind != LEAF:
        assert end >= 1, "a root with a single child"
    assert pivots[end] == high, "the last slot does not end where the node ends"
    nodes, heights, start = 1, set(), low
    for offset in range(end + 1):
        assert start <= pivots[offset], "pivots do not ascend"
        if kind == LEAF:
            if slots[offset]:
                ranges.append((start, pivots[offset], slots[offset]))
            else:
                assert offset == 0 or slots[offset - 1], "two NULLs side by side"
        else:
            child, height = check_node(maple, layout, inner, slots[offset], start, pivots[offset], depth + 1, ranges)
            nodes += child
            heights.add(height)
            if kind == ARANGE:
                assert gaps[offset] == longest_gap(maple, slots[offset], start), "a gap is wrong"
        start = pivots[offset] + 1
    if kind == LEAF:
        assert slots[end] or high == HIGHEST[layout], "a node ends with a NULL"
        return nodes, 1
    assert len(heights) == 1, "leaves at different levels"
    return nodes, heights.pop() + 1


def check_tree(maple, layout, tree):
    """Assert the structure of a whole tree; returns (number of nodes, ranges)."""
    root, entry, height, flags = maple.tree[tree].tolist()
    if height == 0:
        assert root == -1, "a root without height"
        return 0, [(0, 0, entry)] if entry else []
    assert entry == 0, "a root entry beside nodes"
    ranges = []
    inner = ARANGE if flags & 1 else RANGE
    nodes, levels = check_node(maple, layout, inner, root, 0, HIGHEST[layout], 0, ranges)
    assert levels == height, "the stored height is not the height"
    return nodes, ranges


def count_nodes(maple, node):
    """Nodes of a subtree."""
    _, slots, _, head = maple.node[node]
    if head[0] == LEAF:
        return 1
    return 1 + sum(count_nodes(maple, int(child)) for child in slots[: int(head[1]) + 1])
