"""A slow, plain twin of a maple tree's content, and what is read out of a tree; the structure: probe/invariants.py.

The twin knows ranges only. The readers use no function of the kernels.
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


def ranges_of(maple, tree):
    """The ranges of a whole tree, in the order of its leaves: (first, last, value)."""
    root, entry, height, _ = maple.tree[tree].tolist()
    if height == 0:
        return [(0, 0, entry)] if entry else []
    leaves = [root]
    for _ in range(height - 1):
        leaves = [int(child) for node in leaves for child in maple.node[node, 1, : int(maple.node[node, 3, 1]) + 1]]
    ranges, low = [], 0
    for leaf in leaves:
        pivots, slots, _, head = maple.node[leaf].tolist()
        for offset in range(head[1] + 1):
            if slots[offset]:
                ranges.append((low, pivots[offset], slots[offset]))
            low = pivots[offset] + 1
    return ranges


def count_nodes(maple, node):
    """Nodes of a subtree."""
    _, slots, _, head = maple.node[node]
    if head[0] == LEAF:
        return 1
    return 1 + sum(count_nodes(maple, int(child)) for child in slots[: int(head[1]) + 1])
