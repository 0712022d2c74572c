"""Buddy vectors: sequences of page requests with the answers and list states of the real mm/page_alloc.c.

The header says how the zone is made, `ops` what is asked. Per operation there is its answer, with a digest (CRC-32) of
all lists in order after every `digest_every` operations; dumps of the whole state at the beginning and where asked for.
Pages count from the start of the zone.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

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
from mcsim.kernels.linux.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_MOVABLE_SHIFT, GFP_NOMEMALLOC, GFP_NOWAIT
from mcsim.kernels.linux.machine import EXACT_TAIL_HEAD, EXACT_TAIL_TAIL, NO_POLICY, bare_machine
from mcsim.kernels.linux.memblock import memblock_free_all
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    MIGRATE_TYPES,
    NR_FREE_LISTS,
    NR_FREE_PAGES,
    NR_PCP_LISTS,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    PCP_COUNT,
    PCP_FREE_FACTOR,
    SLOWPATH,
    WATERMARK_BOOST,
    WMARK_MIN,
    ZONE_END_PFN,
    ZONE_START_PFN,
    Zone,
    build_all_zonelists,
    list_entries,
    make_zone,
)
from mcsim.kernels.probe.buddy_vector import (
    ALLOC,
    ALLOC_EXACT,
    BLOCK_COLUMNS,
    DUMP,
    FREE,
    FREE_SERIES,
    NO_ANSWER,
    OPERATION_COLUMNS,
    run_operations,
    zone_digest,
)

MAX_PAGES = 1 << 24
MAX_NUMBER = 2**31 - 1
AT_ONCE = 1 << 28  # pages times operations that one call may take, about a second: Ctrl-C waits for its end
GFP_KINDS = (GFP_KERNEL, GFP_NOWAIT, GFP_ATOMIC, GFP_KERNEL | GFP_NOMEMALLOC)
GFP_TYPES = 3  # migratetypes that can be asked for; GFP_KINDS[g // 4], type g % 4

ID = Operand("id", -MAX_NUMBER, MAX_NUMBER)
ORDER = Operand("order", 0, 30)
GFP = Operand("g", 0, 4 * len(GFP_KINDS) - 2)
PAGE = Operand("page", 0, MAX_NUMBER)
# In the order of the codes of kernels/probe/buddy_vector.py.
OPERATIONS: dict[str, tuple[Operand, ...]] = {
    "a": (ID, ORDER, GFP),
    "f": (ID,),
    "x": (ID, Operand("bytes", 1, 2**48), GFP),
    "y": (ID,),
    "s": (ID, PAGE, PAGE),
    "p": (),
    "w": (),
    "k": (Operand("kbytes", 0, MAX_NUMBER),),
    "W": (Operand("mark", 0, 4),),
    "P": (Operand("batch", 1, MAX_NUMBER), Operand("high", 0, MAX_NUMBER)),
    "S": (Operand("bits", 0, 7),),
    "R": (Operand("active", 0, 1),),
    "D": (),
    "o": (ORDER, Operand("mark", 0, 3), Operand("alloc_flags", 0, 0xFFFF)),
    "n": (),
    "b": (Operand("page", 0, MAX_PAGES - 1),),
    "d": (),
}
CODES = {name: code for code, name in enumerate(OPERATIONS)}


class BuddyVector(Vector):
    """One line of a buddy_*.jsonl.gz file."""

    config: Literal["nommu", "mmu"] = Field(description="nommu or mmu: how the kernel was built")
    base: int = Field(ge=0, lt=2**52, description="a whole number from 0: the first page of the zone")
    pages: int = Field(ge=1, le=MAX_PAGES, description=f"a whole number from 1 to {MAX_PAGES}")
    page_size: Literal[1024, 2048, 4096, 8192, 16384, 32768, 65536] = Field(
        description="a power of two from 1024 to 65536"
    )
    mobility: Literal[-1, 0, 1] = Field(description="-1 (decided by the size of the zone), 0 (off) or 1 (on)")
    memmap_pages: int = Field(ge=0, lt=2**52, description="a whole number from 0")
    exact_tail: Literal[0, 1] = Field(description="0 or 1")
    reserved: list[list[int]] = Field(description="a list of [first page, pages]")
    managed: Answer
    mobility_off: Answer
    init_digest: Answer
    init: Answer
    digest: Answer
    nr_free: Answer
    pcp_count: Answer
    final: Any = None


def check_buddy(vector: BuddyVector) -> Conformity:
    """Run one vector and compare every answer, digest and dump."""
    found: list[Mismatch] = []

    def compare(operation: int, expected: dict[str, Any], got: dict[str, Any]) -> None:
        if expected != got:
            request = vector.ops[operation - 1] if operation > 0 else None
            found.append(Mismatch(vector.id, operation, request, *differences(expected, got)))

    operations, names = encode(vector)
    digests = len(operations) // vector.digest_every if vector.digest_every else 0
    check_looks((digests + int((operations[:, 0] == DUMP).sum())) * vector.pages, "pages")
    zone = make_vector_zone(vector)
    at_start = {
        "managed": int(zone.scalar[MANAGED_PAGES]),
        "mobility_off": int(zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]),
        "init": zone_dump(zone),
        "init_digest": int(zone_digest(zone)),
    }
    compare(0, {key: getattr(vector, key) for key in at_start}, at_start)
    for number, (expected, got) in enumerate(zip(vector.res, run(vector, zone, operations, names), strict=True), 1):
        if expected != got:
            compare(number, named(expected), named(got))
    at_end = {
        "nr_free": int(zone.scalar[NR_FREE_PAGES]),
        "pcp_count": int(zone.scalar[PCP_COUNT]),
        **({} if vector.final is None else {"final": zone_dump(zone)}),
        "digest": int(zone_digest(zone)),
    }
    compare(-1, {key: getattr(vector, key) for key in at_end}, at_end)
    return Conformity(1, len(vector.ops), found)


def named(result: Any) -> dict[str, Any]:
    """The parts of a result with their names."""
    if isinstance(result, list) and len(result) == 2:
        return {"answer": result[0], "digest": result[1]}
    return {"dump" if isinstance(result, dict) else "answer": result}


def encode(vector: BuddyVector) -> tuple[NDArray[np.int64], int]:
    """The operations as int64[n, OPERATION_COLUMNS], blocks numbered from 0, and how many blocks there are.

    Ids of exact blocks (x, y, s) and of others (a, f) are two sets. Raises UserError for an operation that cannot be.
    """
    limits = dict(OPERATIONS, b=(Operand("page", 0, vector.pages - 1),))
    check_operations(vector.ops, limits)
    blocks: dict[tuple[bool, int], int] = {}
    rows = []
    for number, (name, *operands) in enumerate(vector.ops, 1):
        code = CODES[name]
        if code <= FREE_SERIES:
            key = (code not in (ALLOC, FREE), operands[0])
            operands[0] = blocks.setdefault(key, len(blocks))
        if code in (ALLOC, ALLOC_EXACT):
            kind, migratetype = divmod(operands[2], 4)
            if migratetype >= GFP_TYPES:
                what = f"g {operands[2]} has migratetype {migratetype}"
                raise wrong_operation(number, vector.ops[number - 1], what, "g = 4 * kind + migratetype 0, 1 or 2")
            operands[2] = GFP_KINDS[kind] | migratetype << GFP_MOVABLE_SHIFT
        if code == ALLOC_EXACT:
            operands[1] = -(-operands[1] // vector.page_size)
        if code == FREE_SERIES and operands[1] > operands[2]:
            raise wrong_operation(number, vector.ops[number - 1], "ends before it begins", "first page <= last page")
        rows.append([code, *operands, 0, 0, 0][:OPERATION_COLUMNS])
    return np.array(rows, np.int64).reshape(-1, OPERATION_COLUMNS), len(blocks)


def make_vector_zone(vector: BuddyVector) -> Zone:
    """The zone that a vector's header describes, after the hand-over of memory."""
    bare = bare_machine(vector.page_size, mmu=int(vector.config == "mmu"), memmap_pages=vector.memmap_pages)
    start = vector.base % (1 << bare.pageblock_order)
    machine = bare._replace(reserved=reserved_ranges(vector) + np.array([start, 0]))
    policy = NO_POLICY._replace(exact_tail=EXACT_TAIL_TAIL if vector.exact_tail else EXACT_TAIL_HEAD)
    zone = make_zone(start, start + vector.pages, machine, policy)
    zone.scalar[SLOWPATH] = 0
    if vector.mobility == -1:
        build_all_zonelists(zone)
    else:
        zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = 1 - vector.mobility
    memblock_free_all(zone)
    return zone


def reserved_ranges(vector: BuddyVector) -> NDArray[np.int64]:
    """The reserved ranges, ascending: int64[n, 2]. Raises UserError unless they lie in the zone, apart."""
    end = 0
    ranges = sorted(vector.reserved)
    for one in ranges:
        if len(one) != 2 or not end <= one[0] <= one[0] + one[1] <= vector.pages:
            raise UserError(
                f"{one} is not valid",
                key="reserved",
                valid=f"[first page, pages] of 0 to {vector.pages}, no page twice",
            )
        end = sum(one)
    return np.array(ranges, np.int64).reshape(-1, 2)


def run(vector: BuddyVector, zone: Zone, operations: NDArray[np.int64], names: int) -> Iterator[Any]:
    """Run the operations; yields the results as in a vector's `res`.

    Raises UserError for an operation that would free pages which their block does not hold (any more).
    """
    count = len(operations)
    blocks = np.full((names, BLOCK_COLUMNS), -1, np.int64)
    owner = np.zeros(len(zone.order), np.int32)
    answers = np.full(count, NO_ANSWER, np.int64)
    digests = np.full(count, -1, np.int64)
    ends = {index + 1 for index in np.flatnonzero(operations[:, 0] == DUMP).tolist()}
    ends |= {*range(0, count, max(1, AT_ONCE // vector.pages)), count}
    for first, last in pairwise(sorted({0, *ends})):
        done = run_operations(zone, operations, first, last, blocks, owner, vector.digest_every, answers, digests)
        if done < last:
            raise wrong_operation(
                done + 1, vector.ops[done], "frees pages that the block does not hold", "each page of a block once"
            )
        for index in range(first, last):
            answer = None if answers[index] == NO_ANSWER else int(answers[index])
            digest = int(digests[index])
            if operations[index, 0] == DUMP:
                yield zone_dump(zone)
            else:
                yield answer if digest == -1 else [answer, digest]


def zone_dump(zone: Zone) -> dict[str, Any]:
    """The whole state of a zone, in the form of the vectors; pages relative to the start of the zone."""
    pages, pageblock = len(zone.order), 1 << zone.machine.pageblock_order
    scalar = zone.scalar
    start, end = int(scalar[ZONE_START_PFN]), int(scalar[ZONE_END_PFN])

    def entries(head: int) -> list[int]:
        return [pfn - start for pfn in list_entries(zone, head)]

    free = {
        f"{order}.{migratetype}": entries(pages + order * MIGRATE_TYPES + migratetype)
        for order in range(zone.machine.max_order)
        for migratetype in range(MIGRATE_TYPES)
    }
    pcp = {str(pindex): entries(pages + NR_FREE_LISTS + pindex) for pindex in range(NR_PCP_LISTS)}
    first_block = -(-start // pageblock)
    return {
        "free": {key: pfns for key, pfns in free.items() if pfns},
        "pcp": {key: pfns for key, pfns in pcp.items() if pfns},
        "nr_free": int(scalar[NR_FREE_PAGES]),
        "pcp_count": int(scalar[PCP_COUNT]),
        "free_factor": int(scalar[PCP_FREE_FACTOR]),
        "wmark": [int(mark) for mark in scalar[WMARK_MIN : WMARK_MIN + 3]],
        "boost": int(scalar[WATERMARK_BOOST]),
        "pb": [int(block) for block in zone.pageblock[first_block : -(-end // pageblock)]],
    }
