"""Buddy vectors: sequences of page requests with the answers and list states of the real mm/page_alloc.c.

A vector file holds one JSON object a line (gzip or plain): how the zone is made, `ops`, and per operation the
answer, if asked for with a digest (CRC-32) of every free list in order.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.compile import kernel
from kernels.gfp import (
    GFP_ATOMIC,
    GFP_KERNEL,
    GFP_MOVABLE_SHIFT,
    GFP_NOMEMALLOC,
    GFP_NOWAIT,
)
from kernels.memblock import memblock_free_all
from kernels.page_alloc import (
    MANAGED_PAGES,
    MAX_ORDER,
    MIGRATE_TYPES,
    MIN_FREE_KBYTES,
    NR_FREE_PAGES,
    NR_PCP_LISTS,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    PAGEBLOCK_NR_PAGES,
    PCP_BATCH,
    PCP_COUNT,
    PCP_FREE_FACTOR,
    PCP_HIGH,
    SLOWPATH,
    WATERMARK_BOOST,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_END_PFN,
    ZONE_RECLAIM_ACTIVE,
    ZONE_START_PFN,
    Zone,
    alloc_pages,
    alloc_pages_exact,
    build_all_zonelists,
    calculate_min_free_kbytes,
    drain_pages_zone,
    free_pages,
    free_pages_exact,
    get_pageblock_migratetype,
    list_entries,
    make_zone,
    nr_free_pages,
    pageset_update,
    setup_per_zone_wmarks,
    zone_set_pageset_high_and_batch,
    zone_watermark_ok,
)
from mcsim.conform.report import Conformity, Mismatch, check_line, check_lines
from mcsim.errors import UserError

OPERATIONS = ("a", "f", "x", "y", "s", "p", "w", "k", "W", "P", "S", "R", "D", "o", "n", "b", "d")
(
    ALLOC,
    FREE,
    ALLOC_EXACT,
    FREE_EXACT,
    FREE_SERIES,
    SETUP_PAGESET,
    SETUP_WMARKS,
    SET_MIN_FREE_KBYTES,
    GET_WMARK,
    SET_PAGESET,
    SET_SLOWPATH,
    SET_RECLAIM_ACTIVE,
    DRAIN,
    WATERMARK_OK,
    GET_NR_FREE,
    GET_PAGEBLOCK,
    DUMP,
) = range(len(OPERATIONS))
CODES = {name: code for code, name in enumerate(OPERATIONS)}
NAMED = (
    ALLOC,
    FREE,
    ALLOC_EXACT,
    FREE_EXACT,
    FREE_SERIES,
)  # operations on the block named by their first operand

NO_ANSWER = np.iinfo(np.int64).min  # stands for JSON null
GFP_KINDS = (GFP_KERNEL, GFP_NOWAIT, GFP_ATOMIC, GFP_KERNEL | GFP_NOMEMALLOC)


def _crc32_table() -> NDArray[np.int64]:
    """The table of the CRC-32 of zlib: int64[256]."""
    table = np.zeros(256, np.int64)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table[byte] = value
    return table


CRC32_TABLE = _crc32_table()


@kernel
def crc32_byte(table: NDArray[np.int64], crc: int, byte: int) -> int:
    """The CRC with one more byte."""
    return crc >> 8 ^ table[(crc ^ byte) & 255]


@kernel
def crc32_number(table: NDArray[np.int64], crc: int, number: int) -> int:
    """The CRC with a non-negative number in decimal digits."""
    power = 1
    while power * 10 <= number:
        power *= 10
    while power:
        crc = crc32_byte(table, crc, 48 + number // power % 10)
        power //= 10
    return crc


@kernel
def crc32_list(zone: Zone, table: NDArray[np.int64], crc: int, head: int) -> int:
    """The CRC with the entries of one list, head first, and the closing mark."""
    entry = int(zone.next[head])
    while entry != head:
        crc = crc32_number(table, crc, entry - zone.scalar[ZONE_START_PFN])
        crc = crc32_byte(table, crc, 44)  # ,
        entry = int(zone.next[entry])
    return crc32_byte(table, crc, 59)  # ;


@kernel
def zone_digest(zone: Zone, table: NDArray[np.int64]) -> int:
    """CRC-32 of the text of all lists: `order.type:pfn,pfn,;`, `p<list>:...;` and `f<free pages>;`."""
    crc = 0xFFFFFFFF
    pages = zone.order.shape[0]
    for order in range(MAX_ORDER):
        for migratetype in range(MIGRATE_TYPES):
            head = pages + order * MIGRATE_TYPES + migratetype
            if zone.next[head] != head:
                crc = crc32_number(table, crc, order)
                crc = crc32_byte(table, crc, 46)  # .
                crc = crc32_number(table, crc, migratetype)
                crc = crc32_byte(table, crc, 58)  # :
                crc = crc32_list(zone, table, crc, head)
    for pindex in range(NR_PCP_LISTS):
        head = pages + MAX_ORDER * MIGRATE_TYPES + pindex
        if zone.next[head] != head:
            crc = crc32_byte(table, crc, 112)  # p
            crc = crc32_number(table, crc, pindex)
            crc = crc32_byte(table, crc, 58)
            crc = crc32_list(zone, table, crc, head)
    crc = crc32_byte(table, crc, 102)  # f
    crc = crc32_number(table, crc, zone.scalar[NR_FREE_PAGES])
    crc = crc32_byte(table, crc, 59)
    return crc ^ 0xFFFFFFFF


@kernel
def run_one(zone: Zone, op: NDArray[np.int64], blocks: NDArray[np.int64], exact_tail: int) -> int:
    """Run one operation (int64[5]: code and operands) and return its answer; see `run_operations`."""
    code, name, second, third = op[0], op[1], op[2], op[3]
    scalar = zone.scalar
    start = scalar[ZONE_START_PFN]
    answer = NO_ANSWER
    if code in (ALLOC, ALLOC_EXACT):
        if code == ALLOC:
            pfn = alloc_pages(zone, third, second)
        else:
            pfn = alloc_pages_exact(zone, exact_tail, second, third)
        blocks[name, 0] = pfn
        blocks[name, 1] = second
        answer = pfn - start if pfn != -1 else -1
    elif code in (FREE, FREE_EXACT):
        if blocks[name, 0] != -1:
            if code == FREE:
                free_pages(zone, blocks[name, 0], blocks[name, 1])
            else:
                free_pages_exact(zone, blocks[name, 0], blocks[name, 1])
        blocks[name, 0] = -1
    elif code == FREE_SERIES:
        if blocks[name, 0] != -1:
            free_pages_exact(zone, blocks[name, 0] + second, third - second)
    elif code == SETUP_PAGESET:
        zone_set_pageset_high_and_batch(zone)
        answer = scalar[PCP_BATCH] * 100000 + scalar[PCP_HIGH]
    elif code == SETUP_WMARKS:
        calculate_min_free_kbytes(zone)
        setup_per_zone_wmarks(zone)
        answer = scalar[MIN_FREE_KBYTES]
    elif code == SET_MIN_FREE_KBYTES:
        scalar[MIN_FREE_KBYTES] = name
        setup_per_zone_wmarks(zone)
        answer = scalar[WMARK_LOW]
    elif code == GET_WMARK:
        answer = scalar[WMARK_MIN + name]
    elif code == SET_PAGESET:
        pageset_update(zone, second, name)
    elif code == SET_SLOWPATH:
        scalar[SLOWPATH] = name
    elif code == SET_RECLAIM_ACTIVE:
        scalar[ZONE_RECLAIM_ACTIVE] = name
    elif code == DRAIN:
        drain_pages_zone(zone)
    elif code == WATERMARK_OK:
        mark = scalar[WMARK_MIN + second] + scalar[WATERMARK_BOOST]
        answer = 1 if zone_watermark_ok(zone, name, mark, third) else 0
    elif code == GET_NR_FREE:
        answer = nr_free_pages(zone)
    elif code == GET_PAGEBLOCK:
        answer = get_pageblock_migratetype(zone, name + start)
    return answer


@kernel
def run_operations(
    zone: Zone,
    operations: NDArray[np.int64],
    first: int,
    last: int,
    blocks: NDArray[np.int64],
    exact_tail: int,
    digest_every: int,
    table: NDArray[np.int64],
    answers: NDArray[np.int64],
    digests: NDArray[np.int64],
) -> None:
    """Run the operations [first, last).

    `operations`: int64[n, 5], code and operands. `blocks`: int64[names, 2], first page (-1: none) and order
    or pages. `answers`, `digests`: int64[n], filled; no answer is NO_ANSWER, no digest (that is, an ordinal
    which is not a multiple of `digest_every`) is -1.
    """
    for i in range(first, last):
        answers[i] = run_one(zone, operations[i], blocks, exact_tail)
        if digest_every and (i + 1) % digest_every == 0:
            digests[i] = zone_digest(zone, table)


def vector_zone(vector: dict[str, Any]) -> Zone:
    """The zone that a vector's header describes, after the hand-over of memory."""
    start = vector["base"] % PAGEBLOCK_NR_PAGES
    page_shift = int(vector["page_size"]).bit_length() - 1
    zone = make_zone(start, start + vector["pages"], page_shift, int(vector["config"] == "mmu"))
    zone.scalar[SLOWPATH] = 0
    if vector["mobility"] == -1:
        build_all_zonelists(zone, vector["memmap_pages"])
    else:
        zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = 1 - vector["mobility"]
    reserved = np.array(vector["reserved"], np.int64).reshape(-1, 2)
    reserved[:, 0] += start
    memblock_free_all(zone, reserved)
    return zone


def zone_dump(zone: Zone) -> dict[str, Any]:
    """The whole state of a zone, in the form of the vectors; pages relative to the start of the zone."""
    pages = len(zone.order)
    scalar = zone.scalar
    start, end = int(scalar[ZONE_START_PFN]), int(scalar[ZONE_END_PFN])

    def entries(head: int) -> list[int]:
        return [pfn - start for pfn in list_entries(zone, head)]

    free = {
        f"{order}.{migratetype}": entries(pages + order * MIGRATE_TYPES + migratetype)
        for order in range(MAX_ORDER)
        for migratetype in range(MIGRATE_TYPES)
    }
    pcp = {str(pindex): entries(pages + MAX_ORDER * MIGRATE_TYPES + pindex) for pindex in range(NR_PCP_LISTS)}
    first_block = -(-start // PAGEBLOCK_NR_PAGES)
    return {
        "free": {key: pfns for key, pfns in free.items() if pfns},
        "pcp": {key: pfns for key, pfns in pcp.items() if pfns},
        "nr_free": int(scalar[NR_FREE_PAGES]),
        "pcp_count": int(scalar[PCP_COUNT]),
        "free_factor": int(scalar[PCP_FREE_FACTOR]),
        "wmark": [int(mark) for mark in scalar[WMARK_MIN : WMARK_MIN + 3]],
        "boost": int(scalar[WATERMARK_BOOST]),
        "pb": [int(block) for block in zone.pageblock[first_block : -(-end // PAGEBLOCK_NR_PAGES)]],
    }


def encode_operations(vector: dict[str, Any]) -> tuple[NDArray[np.int64], int]:
    """The vector's operations as int64[n, 5], names numbered from 0, and how many names there are.

    Raises UserError for an operation that is not known.
    """
    page_size = vector["page_size"]
    names: dict[int, int] = {}
    operations = np.zeros((len(vector["ops"]), 5), np.int64)
    for i, op in enumerate(vector["ops"]):
        code = CODES.get(op[0])
        if code is None:
            raise UserError(f"unknown operation {op[0]!r}", key=vector["id"], valid=", ".join(OPERATIONS))
        operands = list(op[1:])
        if code in NAMED:
            operands[0] = names.setdefault(operands[0], len(names))
        if code in (ALLOC, ALLOC_EXACT):
            operands[2] = GFP_KINDS[op[3] >> 2] | (op[3] & 3) << GFP_MOVABLE_SHIFT
        if code == ALLOC_EXACT:
            operands[1] = -(-operands[1] // page_size)
        operations[i, 0] = code
        operations[i, 1 : 1 + len(operands)] = operands
    return operations, len(names)


def check_buddy_vector(vector: dict[str, Any]) -> Conformity:
    """Run one vector and compare every answer, digest and dump."""
    found = Conformity(sequences=1, operations=len(vector["ops"]))

    def compare(operation: int, expected: Any, got: Any) -> None:
        if expected != got:
            found.mismatches.append(Mismatch(vector["id"], operation, expected, got))

    zone = vector_zone(vector)
    compare(0, vector["managed"], int(zone.scalar[MANAGED_PAGES]))
    compare(0, vector["mobility_off"], int(zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]))
    compare(0, vector["init_digest"], int(zone_digest(zone, CRC32_TABLE)))
    compare(0, vector["init"], zone_dump(zone))

    operations, names = encode_operations(vector)
    count = len(operations)
    blocks = np.full((names, 2), -1, np.int64)
    answers = np.full(count, NO_ANSWER, np.int64)
    digests = np.full(count, -1, np.int64)
    dumps = {}
    done = 0
    for dump_at in [*np.flatnonzero(operations[:, 0] == DUMP).tolist(), count]:
        last = min(dump_at + 1, count)
        run_operations(
            zone, operations, done, last, blocks, vector["exact_tail"], vector["digest_every"], CRC32_TABLE,
            answers, digests,
        )  # fmt: skip
        if dump_at < count:
            dumps[dump_at] = zone_dump(zone)
        done = last

    rows = zip(vector["res"], answers.tolist(), digests.tolist(), strict=True)
    for i, (expected, answer, digest) in enumerate(rows):
        got: Any = None if answer == NO_ANSWER else answer
        if i in dumps:
            got = dumps[i]
        elif digest != -1:
            got = [got, digest]
        compare(i + 1, expected, got)
    compare(-1, vector["digest"], int(zone_digest(zone, CRC32_TABLE)))
    compare(-1, vector["nr_free"], int(zone.scalar[NR_FREE_PAGES]))
    compare(-1, vector["pcp_count"], int(zone.scalar[PCP_COUNT]))
    if "final" in vector:
        compare(-1, vector["final"], zone_dump(zone))
    return found


def check_buddy_line(line: str) -> Conformity:
    """Compare one line of a vector file. Raises UserError if it is no buddy vector."""
    return check_line(line, "buddy", check_buddy_vector)


def check_buddy_file(path: str | Path) -> Conformity:
    """Compare every line of a vector file (`.gz` or plain). Raises UserError naming the file and the line."""
    return check_lines(path, check_buddy_line)
