"""Replay of a recorded boot: the page requests that it made, made again to our own page allocator and object cache.

The answers must be those of the recording: every page, the block that a freed page merges into and the end of the list
it goes to, migratetypes, free pages after each request, watermarks, and the address of every maple node.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.files import is_file, parse_json, read_text
from mcsim.kernels.linux.gfp import GFP_KERNEL, GFP_MOVABLE_SHIFT
from mcsim.kernels.linux.machine import NO_POLICY, Machine
from mcsim.kernels.linux.memblock import memblock_free_all
from mcsim.kernels.linux.page_alloc import (
    FPI_TO_TAIL,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    Zone,
    build_all_zonelists,
    list_entries,
    make_zone,
    zone_set_pageset_high_and_batch,
)
from mcsim.kernels.linux.slub import make_slub
from mcsim.kernels.probe import replay as kernel
from mcsim.kernels.probe.invariants import check_zone
from mcsim.model.board import Board
from mcsim.simulator.machine import machine_of
from mcsim.workload.recording import Columns, Record, read_columns, text_of

OBJECTS_TAKEN_BEFORE = 2  # of the first page of maple nodes, by something unrecorded, before the first node
HAND_OVER = FPI_TO_TAIL | 4  # fpi flags of the frees by which memblock hands over: to the tail, no poisoning

# Per kind of event: what happens, and the names of its answers.
ANSWERS = {
    kernel.EVENT_ALLOC: ("page taken", ("page", "migratetype")),
    kernel.EVENT_ALLOC_RETURNS: ("request for pages ends", ("free pages",)),
    kernel.EVENT_ALLOC_FAILS: ("request for pages fails", ("page", "free pages")),
    kernel.EVENT_FREE: ("page freed", ("merged block", "its order", "end of list (0 head, 1 tail)", "migratetype")),
    kernel.EVENT_WMARKS: ("watermarks set", ("min", "low", "high", "managed pages")),
    kernel.EVENT_MOBILITY: ("mobility decided", ("min_free_kbytes", "page_group_by_mobility_disabled")),
    kernel.EVENT_KSWAPD: ("kswapd ends", ()),
    kernel.EVENT_OBJECT_ALLOC: ("maple node taken", ("address",)),
    kernel.EVENT_OBJECT_FREE: ("maple node freed", ()),
}


class RecordedEvents(NamedTuple):
    """The page-level events of one recording.

    machine: the board with so much RAM, of which memblock kept what it did not hand over. event: int64[n,
    EVENT_COLUMNS] and answer: int64[n, ANSWER_COLUMNS] as probe/replay.py has them; record: int64[n], index of each in
    the recording. objects: number of object handles. free_counts: free blocks per order at the end, if the index beside
    the recording has them.
    """

    name: str
    ram: int  # bytes
    machine: Machine
    event: NDArray[np.int64]
    answer: NDArray[np.int64]
    record: NDArray[np.int64]
    objects: int
    free_counts: list[int] | None


@dataclass(frozen=True)
class Difference:
    """The first event whose answer is not the recorded one, with the free lists around it, head first."""

    record: int
    event: str
    answers: tuple[str, ...]
    recorded: tuple[int, ...]
    replayed: tuple[int, ...]
    before: dict[str, list[int]]
    after: dict[str, list[int]]


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    hand_over_as_computed: whether memblock's rule for this RAM size gives the recorded hand-over.
    """

    name: str
    ram_mb: int
    events: int
    allocations: int
    frees: int
    nodes: int
    mismatches: int
    hand_over_as_computed: bool
    free_counts: list[int]
    recorded_free_counts: list[int] | None
    first: Difference | None

    @property
    def passed(self) -> bool:
        """True if every answer is the recorded one, and so are the free lists at the end if they are known."""
        return self.mismatches == 0 and self.recorded_free_counts in (None, self.free_counts)


def replay(path: Path, board: Board) -> Replay:
    """Replay the recording in a file, made on a board. Raises UserError if it is none."""
    recorded = read_events(path, board)
    zone, answers = run(recorded, len(recorded.event))
    wrong = np.flatnonzero((answers != recorded.answer).any(axis=1))
    kind = recorded.event[:, kernel.KIND]
    check_zone(zone)
    return Replay(
        name=recorded.name,
        ram_mb=recorded.ram >> 20,
        events=len(kind),
        allocations=int(np.isin(kind, (kernel.EVENT_ALLOC, kernel.EVENT_ALLOC_FAILS)).sum()),
        frees=int((kind == kernel.EVENT_FREE).sum()),
        nodes=max(0, int((kind == kernel.EVENT_OBJECT_ALLOC).sum()) - OBJECTS_TAKEN_BEFORE),
        mismatches=len(wrong),
        hand_over_as_computed=hand_over_as_computed(recorded, board),
        free_counts=zone.nr_free[: zone.machine.max_order].tolist(),
        recorded_free_counts=recorded.free_counts,
        first=difference(recorded, answers, int(wrong[0])) if len(wrong) else None,
    )


def run(recorded: RecordedEvents, last: int, pages: int = 0) -> tuple[Zone, NDArray[np.int64]]:
    """Replay the events before `last`: the zone that they leave, and the answers (int64[n, ANSWER_COLUMNS]).

    The events may come from a boot with more RAM than `recorded` now says: then that had so many `pages`.
    """
    zone = hand_over(recorded)
    page = np.full(max(pages, len(zone.order)), kernel.PAGE_FREE, np.int32)
    for first, count in recorded.machine.reserved:
        page[first : first + count] = kernel.PAGE_RESERVED
    answers = np.zeros_like(recorded.answer)
    kernel.replay_events(
        zone,
        make_slub(recorded.machine),
        recorded.event,
        recorded.answer,
        0,
        last,
        page,
        np.full(recorded.objects, -1, np.int64),
        np.zeros(recorded.objects, np.int64),
        answers,
    )
    return zone, answers


def hand_over(recorded: RecordedEvents) -> Zone:
    """The zone as memblock leaves it."""
    zone = make_zone(0, recorded.machine.ram_pages, recorded.machine, NO_POLICY)
    build_all_zonelists(zone)
    memblock_free_all(zone)
    zone_set_pageset_high_and_batch(zone)
    return zone


def machine_with(board: Board, ram: int, reserved: NDArray[np.int64]) -> Machine:
    """A board with `ram` bytes, of which memblock keeps `reserved`, whether or not the board can have so many."""
    any_size = machine_of(board, board.all_ram()[0])
    pages = ram // board.machine.page_size
    return any_size._replace(ram_pages=pages, memmap_pages=board.memmap_pages(ram), reserved=reserved)


def hand_over_as_computed(recorded: RecordedEvents, board: Board) -> bool:
    """Whether the board's rule for this RAM size gives the recorded hand-over (it holds for one kernel image)."""
    known = recorded.ram in board.all_ram()
    return known and np.array_equal(machine_of(board, recorded.ram).reserved, recorded.machine.reserved)


def difference(recorded: RecordedEvents, answers: NDArray[np.int64], i: int) -> Difference:
    """Event `i` in context."""
    before, after = (free_lists(run(recorded, last)[0]) for last in (i, i + 1))
    event, names = ANSWERS[int(recorded.event[i, kernel.KIND])]
    count = len(names)
    return Difference(
        record=int(recorded.record[i]),
        event=event,
        answers=names,
        recorded=tuple(recorded.answer[i, :count].tolist()),
        replayed=tuple(answers[i, :count].tolist()),
        before=before,
        after=after,
    )


def free_lists(zone: Zone) -> dict[str, list[int]]:
    """First pages of the free blocks, head of the list first, by `order.migratetype`; empty lists are left out."""
    lists = {
        f"{order}.{migratetype}": list_entries(zone, len(zone.order) + order * MIGRATE_TYPES + migratetype)
        for order in range(zone.machine.max_order)
        for migratetype in range(MIGRATE_TYPES)
    }
    return {name: pages for name, pages in lists.items() if pages}


# -- reading ---------------------------------------------------------------------------------------------------


def read_events(path: Path, board: Board) -> RecordedEvents:
    """The page-level events of a recording made on a board. Raises UserError if it is none."""
    columns, header, _ = read_columns(path, board)
    words = [int(word) for word in header]
    ram, base = words[9], words[14]
    encoder = _Encoder(path, columns, base, ram, board, nodes_inside=not words[6])
    encoder.encode()
    return RecordedEvents(
        name=path.stem,
        ram=ram,
        machine=machine_with(board, ram, encoder.reserved()),
        event=np.array([event for event, _, _ in encoder.rows], np.int64).reshape(-1, kernel.EVENT_COLUMNS),
        answer=np.array([answer for _, answer, _ in encoder.rows], np.int64).reshape(-1, kernel.ANSWER_COLUMNS),
        record=np.array([record for _, _, record in encoder.rows], np.int64),
        objects=encoder.objects,
        free_counts=_free_counts_end(path, board.machine.max_order),
    )


class _Encoder:
    """Turns records into events. That their pages lie in the zone was checked when they were read."""

    def __init__(self, path: Path, columns: Columns, base: int, ram: int, board: Board, nodes_inside: bool) -> None:
        self.path = path
        self.columns = columns
        self.base = base
        self.page_size, self.node_size = board.machine.page_size, board.slabs.maple_node.size  # bytes
        self.pages = ram // self.page_size
        self.rows: list[tuple[tuple[int, ...], tuple[int, ...], int]] = []  # event, answer, record
        self.handed_over: list[tuple[int, int]] = []  # first page, pages
        self.gfp: dict[tuple[int, int], list[int]] = {}  # of the requests under way, by pid and irq
        self.objects = 0
        self.handle: dict[int, int] = {}  # of the objects in use, by address
        # Records of the requests for the cache's pages: the cache makes these by itself.
        self.first_node_page, self.node_pages = self._node_page_requests() if nodes_inside else (-1, set())
        self.of_context = {context: np.flatnonzero(columns["irq"] == context) for context in (0, 1)}
        self.handlers: dict[int, Callable[[int, dict[str, int]], None]] = {
            Record.CORE: self._core,
            Record.BFREE: self._free,
            Record.AREQ: self._request,
            Record.BALLOC: self._alloc,
            Record.ALLOC: self._request_over,
            Record.ZONE: self._zone,
            Record.KSWAPD: self._kswapd,
        }
        if nodes_inside:
            self.handlers |= {Record.MA_ALLOC: self._node, Record.MA_FREE: self._node_freed}

    def encode(self) -> None:
        kinds = self.columns["type"]
        for i in np.flatnonzero(np.isin(kinds, list(self.handlers))).tolist():
            self.handlers[int(kinds[i])](i, {name: int(column[i]) for name, column in self.columns.items()})

    def reserved(self) -> NDArray[np.int64]:
        """What was not handed over, as kernels/linux/memblock.py wants it."""
        if not self.handed_over:
            raise UserError("no memory is handed over", file=self.path, valid="a recording from the hand-over on")
        edges = [(0, 0), *sorted(self.handed_over), (self.pages, 0)]
        gaps = [(first + pages, after - first - pages) for (first, pages), (after, _) in pairwise(edges)]
        if min(pages for _, pages in gaps) < 0:
            raise UserError("memory is handed over twice", file=self.path)
        return np.array([gap for gap in gaps if gap[1]], np.int64).reshape(-1, 2)

    def _add(self, i: int, kind: int, *answer: int, first: int = 0, order: int = 0, flags: int = 0) -> None:
        padding = [0] * (kernel.ANSWER_COLUMNS - len(answer))
        self.rows.append(((kind, first, order, flags), (*answer, *padding), i))

    def _block(self, record: dict[str, int]) -> tuple[int, int]:
        """First page and order of a record's block."""
        return record["pfn"] - self.base, record["order"]

    def _core(self, _: int, record: dict[str, int]) -> None:
        first, order = self._block(record)
        self.handed_over.append((first, 1 << order))

    def _free(self, i: int, record: dict[str, int]) -> None:
        if record["flags"] & HAND_OVER == HAND_OVER:
            return
        first, order = self._block(record)
        answer = record["a"] - self.base, record["b"], record["c"], record["mt"]
        self._add(i, kernel.EVENT_FREE, *answer, first=first, order=order, flags=record["flags"])

    def _request(self, _: int, record: dict[str, int]) -> None:
        self.gfp.setdefault((record["pid"], record["irq"]), []).append(record["a"])

    def _alloc(self, i: int, record: dict[str, int]) -> None:
        first, order = self._block(record)
        under_way = self.gfp.get((record["pid"], record["irq"]))
        if not under_way and record["mt"] >= MIGRATE_PCPTYPES:
            what = f"a page of migratetype {record['mt']} is taken without a request"
            raise UserError(what, file=self.path, key=f"record {i}", valid=f"0 to {MIGRATE_PCPTYPES - 1}")
        # alloc_pages_bulk() leaves no request; no more than the migratetype is known of it.
        gfp = under_way[-1] if under_way else GFP_KERNEL | record["mt"] << GFP_MOVABLE_SHIFT
        if i not in self.node_pages:
            self._add(i, kernel.EVENT_ALLOC, first, record["mt"], first=first, order=order, flags=gfp)
        elif i == self.first_node_page:
            for number in range(OBJECTS_TAKEN_BEFORE):
                self._take_object(i, first * self.page_size + number * self.node_size, gfp)

    def _request_over(self, i: int, record: dict[str, int]) -> None:
        under_way = self.gfp.get((record["pid"], record["irq"]))
        if under_way:
            under_way.pop()
        if record["flags"] == 1:
            self._add(i, kernel.EVENT_ALLOC_FAILS, -1, record["c"], order=record["order"], flags=record["a"])
        elif i not in self.node_pages:
            self._add(i, kernel.EVENT_ALLOC_RETURNS, record["c"])

    def _zone(self, i: int, record: dict[str, int]) -> None:
        if record["order"] == 0:
            self._add(i, kernel.EVENT_WMARKS, record["a"], record["b"], record["c"], record["d"])
        elif record["order"] == 1:
            self._add(i, kernel.EVENT_MOBILITY, record["a"], record["b"])

    def _kswapd(self, i: int, record: dict[str, int]) -> None:
        if record["flags"] == 1:
            self._add(i, kernel.EVENT_KSWAPD)

    def _node_page_requests(self) -> tuple[int, set[int]]:
        """The first BALLOC record, then all BALLOC and ALLOC records of pages of the cache but the first ALLOC."""
        kinds, pfns = self.columns["type"], self.columns["pfn"]
        last: dict[tuple[int, int], int] = {}  # record of each kind that was the last about a page
        first, found = -1, set[int]()
        for i in np.flatnonzero(np.isin(kinds[:-1], (Record.BALLOC, Record.ALLOC, Record.SLAB))).tolist():
            pfn = int(pfns[i])
            if kinds[i] != Record.SLAB:
                last[int(kinds[i]), pfn] = i
            elif text_of(self.columns, i + 1) == "maple_node":
                if found:
                    found |= {last[Record.ALLOC, pfn]} if (Record.ALLOC, pfn) in last else set()
                taken = last.get((Record.BALLOC, pfn), -1)
                if taken >= 0:
                    found.add(taken)
                    first = taken if first < 0 else first
        return first, found

    def _take_object(self, i: int, address: int, gfp: int) -> None:
        """An object of the cache at this address (bytes from the start of RAM) is taken."""
        self._add(i, kernel.EVENT_OBJECT_ALLOC, address, first=self.objects, flags=gfp)
        self.handle[address] = self.objects
        self.objects += 1

    def _node(self, i: int, record: dict[str, int]) -> None:
        failed = record["flags"] == 1
        self._take_object(i, -1 if failed else record["a"] - self.base * self.page_size, record["b"])

    def _node_freed(self, i: int, record: dict[str, int]) -> None:
        handle = self.handle.pop(record["a"] - self.base * self.page_size, None)
        if handle is None:
            raise UserError("frees a maple node that was not taken", file=self.path, key=f"record {i}")
        bulk = record["order"] == 1
        more = bulk and self._next_of_bulk(i, record)
        self._add(i, kernel.EVENT_OBJECT_FREE, first=handle, flags=int(more))

    def _next_of_bulk(self, i: int, record: dict[str, int]) -> bool:
        """Whether the next record of this context is a bulk free, too: then it is of the same call."""
        rows = self.of_context[record["irq"]]
        after = int(np.searchsorted(rows, i, side="right"))
        if after == len(rows):
            return False
        kind, order = (self.columns[name][rows[after]] for name in ("type", "order"))
        return bool(kind == Record.MA_FREE and order == 1)


def _free_counts_end(path: Path, orders: int) -> list[int] | None:
    """What index.jsonl beside a recording says of the free lists at its end; None if it says nothing."""
    index = path.parent / "index.jsonl"
    if not is_file(index):
        return None
    for number, line in enumerate(read_text(index).split("\n"), 1):
        if not line:
            continue
        place = f"{index}:{number}"
        entry: Any = parse_json(line, place, "an index of recordings")
        if not isinstance(entry, dict) or "name" not in entry:
            raise UserError(
                "not an index of recordings", file=place, valid="an object with the key 'name' on each line"
            )
        counts = entry.get("free_counts_end")
        if entry["name"] != path.stem or counts is None:
            continue
        if not isinstance(counts, list) or len(counts) != orders or any(type(count) is not int for count in counts):
            valid = f"a list of {orders} whole numbers"
            raise UserError(
                f"not an index of recordings: {counts!r:.60}", file=place, key="free_counts_end", valid=valid
            )
        return counts
    return None
