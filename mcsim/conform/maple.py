"""Conformity of `kernels.maple_tree` with recorded runs of lib/maple_tree.c (Linux 6.1.y).

A vector is one line of a maple_*.jsonl.gz file: a sequence of operations on some trees and, after each, what
the kernel's code had taken from and given to the node cache, and the shape and content of the tree.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import slub as slabs
from kernels.compile import kernel
from kernels.gfp import GFP_KERNEL
from kernels.maple_tree import (
    ALLOCATED,
    END,
    HEAD,
    HEIGHT,
    INDEX_MAX,
    LAYOUT_64,
    MAPLE_LEAF_64,
    MT_FLAGS_ALLOC_RANGE,
    MT_FLAGS_USE_RCU,
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
    index_of,
    make_maple,
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
    mt_init_flags,
    mtree_load,
    rcu_do_batch,
    reset_maple,
    value_of,
)
from kernels.memblock import memblock_free_all
from kernels.page_alloc import Zone, make_zone, reset_zone
from kernels.slub import MAPLE_NODE, Slub, make_slub, reset_slub
from mcsim.conform.buddy import CRC32_TABLE, crc32_byte, crc32_number
from mcsim.conform.report import Conformity, Mismatch, check_line, check_lines

OPERATIONS = ("st", "er", "ps", "pr", "np", "s2", "pd", "pf", "sf", "ld", "fn", "wk", "ds", "ex", "gp")
ST, ER, PS, PR, NP, S2, PD, PF, SF, LD, FN, WK, DS, EX, GP = range(len(OPERATIONS))

# columns of an encoded operation: operation, tree, arguments
OPERATION_COLUMNS = 8
INDEX_ARGUMENTS = {
    ST: 2,
    ER: 1,
    PS: 2,
    PR: 2,
    NP: 2,
    S2: 5,
    SF: 2,
    LD: 1,
    FN: 2,
}  # the first ones may be indices

FIELDS = (
    "alloc",
    "free",
    "rcu_cb",
    "live",
    "peak",
    "height",
    "nodes",
    "shape",
    "content",
    "nranges",
    "ask",
    "left",
    "ret",
)
ALLOC, FREE, RCU_CB, LIVE, PEAK, HEIGHT_FIELD, NODES, SHAPE, CONTENT, NRANGES, ASK, LEFT, RET = range(len(FIELDS))

NODE_ROWS = 16384
PAGES = 2048
TREES = 16


class Bench(NamedTuple):
    """The machine that vectors of one layout run on; used again for each."""

    layout: int
    maple: Maple
    slub: Slub
    zone: Zone


@kernel
def crc_hex(table: NDArray[np.int64], crc: int, value: int, wide: int) -> int:
    """CRC-32 over `value` printed with %x; with `wide` it is an index of the 64-bit layout."""
    top = 0
    if wide and value >= (1 << 62) - 1:
        value += 1
        top = 8  # the digit's bit that int64 has no room for
    shift = 60
    while shift > 0 and value >> shift == 0:
        shift -= 4
    while shift >= 0:
        digit = (value >> shift) & 15
        if shift == 60:
            digit |= top
        crc = crc32_byte(table, crc, digit + (48 if digit < 10 else 87))
        shift -= 4
    return int(crc)


@kernel
def tree_digest(maple: Maple, table: NDArray[np.int64], tree: int, wide: int, row: NDArray[np.int64]) -> None:
    """Number of nodes, CRC of the shape, CRC of the content and number of ranges into a result row."""
    row[NODES] = 0
    row[NRANGES] = 0
    shape = 0xFFFFFFFF
    content = 0xFFFFFFFF
    if maple.tree[tree, HEIGHT] == 0:
        if maple.tree[tree, ROOT_ENTRY]:
            row[NRANGES] = 1
            for byte in (48, 45, 48, 58):
                content = crc32_byte(table, content, byte)
            content = crc_hex(table, content, maple.tree[tree, ROOT_ENTRY], 0)
            content = crc32_byte(table, content, 59)
    else:
        stack = maple.path[WALK]
        depth = 0
        stack[0, 0] = maple.tree[tree, ROOT]
        stack[0, 1] = -1
        low = 0
        while depth >= 0:
            node = stack[depth, 0]
            if stack[depth, 1] < 0:
                stack[depth, 1] = 0
                row[NODES] += 1
                shape = crc32_number(table, shape, depth + 1)
                shape = crc32_byte(table, shape, 46)
                shape = crc32_number(table, shape, maple.node[node, HEAD, TYPE])
                shape = crc32_byte(table, shape, 46)
                shape = crc32_number(table, shape, maple.node[node, HEAD, END] + 1)
                shape = crc32_byte(table, shape, 59)
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
                content = crc_hex(table, content, low, wide)
                content = crc32_byte(table, content, 45)
                content = crc_hex(table, content, high, wide)
                content = crc32_byte(table, content, 58)
                content = crc_hex(table, content, entry, 0)
                content = crc32_byte(table, content, 59)
            low = high + 1
    row[SHAPE] = shape ^ 0xFFFFFFFF
    row[CONTENT] = content ^ 0xFFFFFFFF


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
    """Do one encoded operation; ask, left and ret go into the row."""
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
    table: NDArray[np.int64],
    ops: NDArray[np.int64],
    settings: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Do all operations and fill one row each.

    `settings`: 1 = run the callbacks after each operation, digest_every, shape_every, 1 = 64-bit layout.
    """
    nodes = slub.scalar[MAPLE_NODE]
    every = min(settings[1], settings[2])
    for number in range(ops.shape[0]):
        row = rows[number]
        row[:] = 0
        allocations = nodes[slabs.ALLOCATIONS]
        frees = nodes[slabs.FREES]
        calls = maple.scalar[RCU_CALLS]
        nodes[slabs.OBJECTS_PEAK] = nodes[slabs.OBJECTS]
        run_operation(maple, slub, zone, ops[number], row)
        if settings[0]:
            rcu_do_batch(maple, slub, zone, maple.scalar[RCU_PENDING])
        row[ALLOC] = nodes[slabs.ALLOCATIONS] - allocations
        row[FREE] = nodes[slabs.FREES] - frees
        row[RCU_CB] = maple.scalar[RCU_CALLS] - calls
        row[LIVE] = nodes[slabs.OBJECTS]
        row[PEAK] = nodes[slabs.OBJECTS_PEAK]
        row[HEIGHT_FIELD] = maple.tree[ops[number, 1], HEIGHT]
        if (number + 1) % every == 0:
            tree_digest(maple, table, ops[number, 1], settings[3], row)


@cache
def make_bench(layout: int) -> Bench:
    """A machine with room for every recorded sequence of this layout."""
    slub = make_slub(max_slabs=NODE_ROWS // 32)
    return Bench(layout, make_maple(layout, NODE_ROWS, TREES), slub, make_zone(0, PAGES))


def encode(vector: dict[str, Any]) -> NDArray[np.int64]:
    """The operations of a vector as rows of int64."""
    layout = vector["layout"]
    ops = np.zeros((len(vector["ops"]), OPERATION_COLUMNS), np.int64)
    for row, (name, *arguments) in zip(ops, vector["ops"], strict=True):
        code = OPERATIONS.index(name)
        row[0] = code
        row[1 : 1 + len(arguments)] = [
            argument if argument < 2**32 else index_of(argument, layout) for argument in arguments
        ]
    return ops


def tree_text(maple: Maple, tree: int) -> str:
    """The nodes in preorder as `depth.type.slots;`."""

    def text(node: int, depth: int) -> str:
        end = int(maple.node[node, HEAD, END])
        kind = int(maple.node[node, HEAD, TYPE])
        own = f"{depth}.{kind}.{end + 1};"
        if kind == MAPLE_LEAF_64:
            return own
        return own + "".join(text(int(child), depth + 1) for child in maple.node[node, SLOT, : end + 1])

    return text(int(maple.tree[tree, ROOT]), 1) if maple.tree[tree, HEIGHT] else ""


def tree_ranges(maple: Maple, tree: int, layout: int) -> list[list[int]]:
    """The entries as [first, last, entry], ascending."""
    ranges = []
    mas_init(maple, 0, tree, 0, 0)
    while entry := mas_find(maple, 0, maple.scalar[INDEX_MAX]):
        first, last = (value_of(int(index), layout) for index in maple.state[0, 1:3])
        ranges.append([first, last, int(entry)])
    return ranges


def check_maple_vector(vector: dict[str, Any]) -> Conformity:
    """Run one vector and compare all that it records."""
    bench = make_bench(vector["layout"])
    maple, slub, zone = bench.maple, bench.slub, bench.zone
    reset_maple(maple)
    reset_slub(slub)
    reset_zone(zone, 0, PAGES)
    memblock_free_all(zone, np.zeros((0, 2), np.int64))
    for tree in range(vector["ntrees"]):
        mt_init_flags(maple, tree, vector["flags"] & (MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU))
    ops = encode(vector)
    rows = np.zeros((len(ops), len(FIELDS)), np.int64)
    settings = np.array(
        [vector["gp"] == "each", vector["digest_every"], vector["shape_every"], bench.layout == LAYOUT_64],
        np.int64,
    )
    run_operations(maple, slub, zone, CRC32_TABLE, ops, settings, rows)
    found = compare_rows(vector, rows) + compare_end(bench, vector)
    return Conformity(1, len(ops), found)


def compare_rows(vector: dict[str, Any], rows: NDArray[np.int64]) -> list[Mismatch]:
    """Differences of the result rows; a null in the vector is not compared."""
    expected = vector["res"]
    known = np.array([[value is not None for value in row] for row in expected])
    values = np.array([[value or 0 for value in row] for row in expected], np.int64)
    return [
        Mismatch(
            vector["id"],
            int(number) + 1,
            {FIELDS[field]: int(values[number, field])},
            {FIELDS[field]: int(rows[number, field])},
        )
        for number, field in np.argwhere(known & (values != rows))
    ]


def final_trees(bench: Bench, vector: dict[str, Any]) -> dict[str, Any]:
    """What the vector's `final` says of each tree, from the kernels."""
    maple = bench.maple
    row = np.zeros(len(FIELDS), np.int64)
    trees = []
    for tree, final in enumerate(vector["final"]):
        tree_digest(maple, CRC32_TABLE, tree, int(bench.layout == LAYOUT_64), row)
        state: dict[str, Any] = {
            "height": int(maple.tree[tree, HEIGHT]),
            "nodes": int(row[NODES]),
            "shape": int(row[SHAPE]),
            "content": int(row[CONTENT]),
            "n": int(row[NRANGES]),
        }
        if "tree" in final:
            state["tree"] = tree_text(maple, tree)
        if "ranges" in final:
            state["ranges"] = tree_ranges(maple, tree, bench.layout)
        trees.append(state)
    return {"final": trees}


def compare_end(bench: Bench, vector: dict[str, Any]) -> list[Mismatch]:
    """Differences after the last operation, after a grace period and after destroying all trees."""
    maple, slub, zone = bench.maple, bench.slub, bench.zone
    nodes = slub.scalar[MAPLE_NODE]
    got = final_trees(bench, vector)
    got["live"] = int(nodes[slabs.OBJECTS])
    got["rcu_pending"] = int(maple.scalar[RCU_PENDING])
    rcu_do_batch(maple, slub, zone, int(maple.scalar[RCU_PENDING]))
    got["live_after_gp"] = int(nodes[slabs.OBJECTS])
    for tree in range(vector["ntrees"]):
        mt_destroy(maple, slub, zone, tree)
    rcu_do_batch(maple, slub, zone, int(maple.scalar[RCU_PENDING]))
    got["live_after_destroy"] = int(nodes[slabs.OBJECTS])
    got["allocs"] = int(nodes[slabs.ALLOCATIONS])
    got["frees"] = int(nodes[slabs.FREES])
    found = [
        Mismatch(vector["id"], -1, {name: vector[name]}, {name: value})
        for name, value in got.items()
        if vector[name] != value
    ]
    shortage = int(maple.scalar[NODE_SHORTAGE])
    if shortage:
        found.append(Mismatch(vector["id"], -1, "no store without a node", f"{shortage} of them"))
    return found


def check_maple_line(line: str) -> Conformity:
    """Compare one line of a vector file. Raises UserError if it is no maple tree vector."""
    return check_line(line, "maple tree", check_maple_vector)


def check_maple_file(path: str | Path) -> Conformity:
    """Compare every line of a vector file (`.gz` or plain). Raises UserError naming the file and the line."""
    return check_lines(path, check_maple_line)
