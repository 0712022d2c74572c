"""Maple vectors: sequences of operations on trees with what the real lib/maple_tree.c (Linux 6.1.y) did for each.

The header says which layout and how many trees, `ops` what is done. Per operation there is what the kernel's code had
taken from and given to the node cache, and shape and content of the tree, as CRC-32.
"""

from bisect import bisect
from collections.abc import Iterable
from itertools import pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mcsim.errors import UserError
from mcsim.fidelity.allocators.vectors import (
    Answer,
    Conformity,
    Mismatch,
    Operand,
    Vector,
    check_looks,
    check_operations,
    differences,
    wrong_operation,
)
from mcsim.kernels.linux.machine import NO_POLICY, bare_machine
from mcsim.kernels.linux.maple_tree import (
    END,
    HEAD,
    HEIGHT,
    INDEX_MAX,
    MAPLE_LEAF_64,
    MT_FLAGS_ALLOC_RANGE,
    MT_FLAGS_USE_RCU,
    PIVOT,
    ROOT,
    ROOT_ENTRY,
    SLOT,
    TYPE,
    Maple,
    make_maple,
    mt_init_flags,
)
from mcsim.kernels.linux.memblock import memblock_free_all
from mcsim.kernels.linux.page_alloc import Zone, make_zone
from mcsim.kernels.linux.slub import MAPLE_NODE, PAGE_FAILURES, ROW_FAILURES, Slub, make_slub
from mcsim.kernels.probe.maple_vector import (
    CONTENT,
    END_FIELDS,
    HEIGHT_FIELD,
    NODES,
    NRANGES,
    OPERATION_COLUMNS,
    SETTINGS,
    SHAPE,
    end_of_vector,
    run_operations,
    tree_digests,
)

MAX_TREES = 4096
FIRST_SLABS = 64  # pages of nodes; a vector that needs more gets more
NODE_SIZE = 256  # bytes
NODES_PER_SLAB = 32  # of one page; no vector shows it
# Operations times entries that one call may take, about a second: Ctrl-C waits for its end. An operation adds two
# entries at most.
AT_ONCE = 1 << 24
POINTER_SHIFT = 4  # a value is stored as a pointer: times 16

# In the order of the codes of kernels/probe/maple_vector.py. `tree`, `index` and `value` are filled in per vector.
TREE, INDEX, VALUE = "tree", "index", "value"
OPERATIONS: dict[str, tuple[str, ...]] = {
    "st": (TREE, INDEX, INDEX, VALUE),
    "er": (TREE, INDEX),
    "ps": (TREE, INDEX, INDEX, VALUE),
    "pr": (TREE, INDEX, INDEX),
    "np": (TREE, INDEX, INDEX, VALUE),
    "s2": (TREE, INDEX, INDEX, VALUE, INDEX, INDEX, VALUE),
    "pd": (TREE,),
    "pf": (TREE, "budget"),
    "sf": (TREE, INDEX, INDEX, VALUE, "budget"),
    "ld": (TREE, INDEX),
    "fn": (TREE, INDEX, INDEX),
    "wk": (TREE,),
    "ds": (TREE,),
    "ex": (TREE,),
    "gp": (TREE,),
}
CODES = {name: code for code, name in enumerate(OPERATIONS)}
RANGES = {"ps": (2,), "pr": (2,), "np": (2,), "s2": (2, 5)}  # where ranges begin that must not be empty
# columns of a row of results
FIELDS = (
    "alloc", "free", "rcu_cb", "live", "peak", "height", "nodes", "shape", "content", "nranges", "ask", "left", "ret",
)  # fmt: skip
END_KEYS = ("live", "rcu_pending", "live_after_gp", "live_after_destroy", "allocs", "frees")


class MapleVector(Vector):
    """One line of a maple_*.jsonl.gz file."""

    layout: Literal[32, 64] = Field(description="32 or 64: bits of a pointer")
    flags: int = Field(ge=0, le=0xFFFF, description="a whole number from 0 to 65535: flags of the trees at the start")
    gp: Literal["each", "op"] = Field(
        description="each (callbacks run after every operation) or op (at the operation gp)"
    )
    ntrees: int = Field(ge=1, le=MAX_TREES, description=f"a whole number from 1 to {MAX_TREES}")
    shape_every: int = Field(ge=0, lt=2**31, description="a whole number from 0: every so many operations a shape")
    final: list[dict[str, Any]] = Field(description="a list of one object per tree")
    live: Answer
    rcu_pending: Answer
    live_after_gp: Answer
    live_after_destroy: Answer
    allocs: Answer
    frees: Answer


class Bench(NamedTuple):
    """The machine that a vector runs on."""

    maple: Maple
    slub: Slub
    zone: Zone


def make_bench(vector: MapleVector, slabs: int) -> Bench:
    """A machine with the vector's trees, all empty, and room for so many slabs of nodes."""
    maple = make_maple(vector.layout, slabs * NODES_PER_SLAB, vector.ntrees)
    for tree in range(vector.ntrees):
        mt_init_flags(maple, tree, vector.flags & (MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU))
    # The tree of 6.1: a store on preallocated nodes takes no others (PREALLOC_TOPUP_FORBIDDEN, which is 0).
    sizes = np.array([NODE_SIZE], np.int64)
    machine = bare_machine(NODES_PER_SLAB * NODE_SIZE, pointer_bits=vector.layout, object_sizes=sizes)
    zone = make_zone(0, 2 * slabs, machine, NO_POLICY)
    memblock_free_all(zone)
    return Bench(maple, make_slub(machine, slabs), zone)


class Indices:
    """The unsigned long numbers of one vector and the int64 indices by which the kernels know them.

    The kernels' highest index stands for ULONG_MAX. In the 64-bit layout that leaves out half of all numbers: the
    widest gaps between the vector's numbers are narrowed, so that order and neighbourhood stay as they are.
    """

    def __init__(self, numbers: Iterable[int], ulong_max: int, index_max: int) -> None:
        """Of these numbers, 0 and `ulong_max`."""
        points = sorted({0, ulong_max, *numbers})
        left_out = narrowed(points, ulong_max - index_max)
        self.of: dict[int, int] = {}  # the index of each number
        self._pieces = [(0, 0)]  # first index, the number that it stands for
        total = 0
        for point in points:
            self.of[point] = point - total
            if point in left_out:
                total += left_out[point]
                # A store may end one behind a number and begin one before the next, not between.
                number = point + left_out[point] + 2
                self._pieces.append((number - total, number))

    def number_of(self, index: int) -> int:
        """The number that an index stands for."""
        first, number = self._pieces[bisect(self._pieces, index, key=itemgetter(0)) - 1]
        return number + index - first

    def pieces(self) -> NDArray[np.int64]:
        """What kernels/probe/maple_vector.py prints indices by: int64[n, PIECE_COLUMNS]."""
        return np.array([(first, number >> 32, number & 0xFFFFFFFF) for first, number in self._pieces], np.int64)


def narrowed(points: list[int], excess: int) -> dict[int, int]:
    """How many numbers to leave out behind which of the ascending `points`, `excess` in all."""
    left_out: dict[int, int] = {}
    gaps = sorted(((after - before, before) for before, after in pairwise(points)), reverse=True) if excess else []
    for gap, point in gaps:
        left_out[point] = min(excess, gap - 4)
        excess -= left_out[point]
        if excess == 0:
            break
    return left_out


def check_maple(vector: MapleVector) -> Conformity:
    """Run one vector and compare all that it records."""
    if len(vector.final) != vector.ntrees:
        raise UserError(f"{len(vector.final)} trees", key="final", valid=f"one object per tree: {vector.ntrees}")
    check_operations(vector.ops, operands_of(vector))
    check_ranges(vector.ops)
    often = [len(vector.ops) // every for every in (vector.digest_every, vector.shape_every) if every]
    check_looks(sum(often) * len(vector.ops), "entries")
    slabs = FIRST_SLABS
    while True:
        bench = make_bench(vector, slabs)
        found = run(vector, bench)
        if not bench.slub.scalar[MAPLE_NODE, [PAGE_FAILURES, ROW_FAILURES]].any():
            return Conformity(1, len(vector.ops), found)
        slabs *= 2


def operands_of(vector: MapleVector) -> dict[str, tuple[Operand, ...]]:
    """What each operation takes in this vector."""
    operands = {
        TREE: Operand("tree", 0, vector.ntrees - 1),
        INDEX: Operand("index", 0, 2**vector.layout - 1),
        VALUE: Operand("value", 0, 2 ** (vector.layout - POINTER_SHIFT) - 1),
        "budget": Operand("budget", 0, 2**31 - 1),
    }
    return {name: tuple(operands[kind] for kind in kinds) for name, kinds in OPERATIONS.items()}


def check_ranges(operations: list[list[Any]]) -> None:
    """Raise UserError for a range that ends before it begins, where Linux does not look."""
    for number, operation in enumerate(operations, 1):
        for first in RANGES.get(operation[0], ()):
            if operation[first] > operation[first + 1]:
                raise wrong_operation(number, operation, "ends before it begins", "first <= last")


def encode(vector: MapleVector, indices: Indices) -> NDArray[np.int64]:
    """The operations as int64[n, OPERATION_COLUMNS]."""
    rows = []
    for name, *operands in vector.ops:
        kinds = OPERATIONS[name]
        row = [CODES[name]]
        row += [indices.of[x] if kind is INDEX else x for kind, x in zip(kinds, operands, strict=True)]
        rows.append(row + [0] * (OPERATION_COLUMNS - len(row)))
    return np.array(rows, np.int64).reshape(-1, OPERATION_COLUMNS)


def run(vector: MapleVector, bench: Bench) -> list[Mismatch]:
    """Run the operations on an unused machine and compare."""
    numbers = {
        x for name, *operands in vector.ops for kind, x in zip(OPERATIONS[name], operands, strict=True) if kind is INDEX
    }
    indices = Indices(numbers, 2**vector.layout - 1, int(bench.maple.scalar[INDEX_MAX]))
    ops = encode(vector, indices)
    rows = np.zeros((len(ops), len(FIELDS)), np.int64)
    settings = np.array([vector.gp == "each", vector.digest_every, vector.shape_every], np.int64)
    assert len(settings) == SETTINGS
    pieces = indices.pieces()
    done = last = 0
    while done == last < len(ops):
        last = min(len(ops), done + max(1, AT_ONCE // (done + FIRST_SLABS)))
        done = run_operations(*bench, pieces, ops, done, last, settings, rows)
    found = compare_rows(vector, rows[:done])
    if done < len(ops):
        # Linux would have crashed: nothing of this tree can be trusted any more.
        nodes = "preallocated nodes"
        found.append(Mismatch(vector.id, done + 1, vector.ops[done], {nodes: "enough"}, {nodes: "too few"}))
        return found
    return found + compare_end(vector, bench, indices)


def compare_rows(vector: MapleVector, rows: NDArray[np.int64]) -> list[Mismatch]:
    """Differences of the results; a null in the vector is not compared."""
    found = []
    for number, (expected, row) in enumerate(zip(vector.res, rows.tolist(), strict=False), 1):
        if type(expected) is not list or len(expected) != len(FIELDS):
            raise UserError(
                f"result {number} is no row", key="res", valid=f"lists of {len(FIELDS)}: {', '.join(FIELDS)}"
            )
        if any(value != other for value, other in zip(expected, row, strict=True) if value is not None):
            known = {field: value for field, value in zip(FIELDS, expected, strict=True) if value is not None}
            got = {field: other for field, other in zip(FIELDS, row, strict=True) if field in known}
            found.append(Mismatch(vector.id, number, vector.ops[number - 1], *differences(known, got)))
    return found


def compare_end(vector: MapleVector, bench: Bench, indices: Indices) -> list[Mismatch]:
    """Differences after the last operation, after a grace period and after destroying all trees."""
    rows = np.zeros((vector.ntrees, len(FIELDS)), np.int64)
    tree_digests(bench.maple, indices.pieces(), rows)
    final = []
    for tree, (expected, row) in enumerate(zip(vector.final, rows.tolist(), strict=True)):
        state: dict[str, Any] = {
            "height": row[HEIGHT_FIELD],
            "nodes": row[NODES],
            "n": row[NRANGES],
            "shape": row[SHAPE],
            "content": row[CONTENT],
        }
        if "tree" in expected:
            state["tree"] = tree_text(bench.maple, tree)
        if "ranges" in expected:
            state["ranges"] = [
                [indices.number_of(first), indices.number_of(last), entry]
                for first, last, entry in tree_ranges(bench.maple, tree)
            ]
        final.append(state)
    counts = np.zeros(END_FIELDS, np.int64)
    end_of_vector(*bench, vector.ntrees, counts)
    got = {"final": final, **dict(zip(END_KEYS, counts.tolist(), strict=True))}
    expected = {key: getattr(vector, key) for key in got}
    return [] if expected == got else [Mismatch(vector.id, -1, None, *differences(expected, got))]


def tree_text(maple: Maple, tree: int) -> str:
    """The nodes in preorder as `depth.type.slots;`."""

    def text(node: int, depth: int) -> str:
        kind, end = maple.node[node, HEAD, [TYPE, END]].tolist()
        own = f"{depth}.{kind}.{end + 1};"
        if kind == MAPLE_LEAF_64:
            return own
        return own + "".join(text(child, depth + 1) for child in maple.node[node, SLOT, : end + 1].tolist())

    return text(int(maple.tree[tree, ROOT]), 1) if maple.tree[tree, HEIGHT] else ""


def tree_ranges(maple: Maple, tree: int) -> list[tuple[int, int, int]]:
    """The entries as (first index, last index, entry), ascending."""
    slots: list[tuple[int, int]] = []  # last index, entry

    def walk(node: int) -> None:
        kind, end = maple.node[node, HEAD, [TYPE, END]].tolist()
        if kind == MAPLE_LEAF_64:
            slots.extend(zip(*maple.node[node, [PIVOT, SLOT], : end + 1].tolist(), strict=True))
        else:
            for child in maple.node[node, SLOT, : end + 1].tolist():
                walk(child)

    if maple.tree[tree, HEIGHT]:
        walk(int(maple.tree[tree, ROOT]))
    else:
        slots.append((0, int(maple.tree[tree, ROOT_ENTRY])))
    return [(before + 1, last, entry) for (before, _), (last, entry) in pairwise([(-1, 0), *slots]) if entry]
