"""Whether a program can be run: all that a kernel takes as an index or a count, looked at once before it does.

What depends on the order in which the lanes' requests come, the kernels look at themselves (boot/program.py: STUCK).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat

if TYPE_CHECKING:
    from mcsim.model.board import Board
    from mcsim.workload.program import RecordedProgram

# Far above what recordings have (6,400 requests, 130 processes, 300 mappings, 4.3 s of CPU time and 4.2 s of sleep),
# and low enough that a boot takes about a second of work and some megabytes.
MAX_REQUESTS = 1_000_000
MAX_LANES = 4_000
MAX_MAPPINGS = 20_000  # exec, mmap and munmap together: each looks for its place among those that are there
MAX_TICKS = 2_000_000  # CPU time and sleep of all processes together: five and a half hours of 10 ms
MAX_SIZE = 1 << 30  # bytes
MAX_TASKS = 32_768
MAX_PID = 1 << 22
MAX_FILE = 1 << 23
MAX_WORDS = 255

# As the kernels have them, which take longer to import than a program to be checked (tests/test_program_door.py).
CACHES = 3
SINGLE_MAPPING = 0x5  # FLAT_FLAG_RAM | FLAT_FLAG_GZIP

MAX_COUNT = 2**31 - 1
GFP_BITS = 26
GFP_MOBILITY = 0x18  # movable and reclaimable exclude each other
IMAGE_FLAG_BITS = 0x3F
OP_FLAG_BITS = flat.GAP_USER | flat.RESCHED_AFTER | flat.CALL_RCU
OP_KINDS = (*range(flat.LAST_PAGE_OP + 1), *range(flat.OP_NOP, flat.OP_EXEC_DELAY + 1))
PRE_KINDS = range(flat.PRE_TASKS + 1)

Rows = NDArray[Any]


def check_program(program: RecordedProgram, board: Board) -> None:
    """UserError, with the place, for the first thing in a program that no kernel should see on this board.

    A program may lack its user phase. The arrays must have their dtypes and columns already.
    """
    _check_pre_init(program.pre_init, program.pre_init_handles, board)
    if not program.has_lanes:
        for name in ("op", "record", "image", "stack_free", "task_free", "names"):
            if len(getattr(program, name)):
                raise UserError("is not empty, but there are no lanes", key=name, valid="nothing, or lanes")
        return
    _check_sizes(program)
    _check_lanes(program)
    _check_columns(program, board)
    _check_images(program.image)
    _check_blocks(program)
    _check_family(program)
    _check_mappings(program, board.machine.page_size)
    _check_time(program, board.clock.timer_counts_per_tick)
    _check_notes(program)


def _demand(right: Rows, what: str, values: Rows, valid: str, rows: Rows | None = None, where: str = "op") -> None:
    """UserError for the first value that is not right; `rows` are their numbers, `where` the array."""
    bad = np.flatnonzero(~right)
    if len(bad):
        row = int(bad[0]) if rows is None else int(rows[bad[0]])
        raise UserError(f"{what} {int(values[bad[0]])} is out of range", key=f"{where}, request {row}", valid=valid)


def _within(
    values: Rows, low: int, high: int, what: str, rows: Rows | None = None, where: str = "op", unit: str = ""
) -> None:
    """Demand low <= value <= high."""
    valid = f"{low} to {high}{unit}" if low <= high else f"none: there is no {what}"
    _demand((values >= low) & (values <= high), what, values, valid, rows, where)


def _once(values: Rows, rows: Rows, what: str, where: str = "op") -> None:
    """Demand that no value comes twice."""
    order = np.argsort(values, kind="stable")
    again = np.flatnonzero(values[order][1:] == values[order][:-1])
    if len(again):
        place = order[again + 1].min()  # the first request that comes again
        raise UserError(f"{what} {int(values[place])} for the second time", key=f"{where}, request {int(rows[place])}")


def _known(values: Rows, known: Rows, rows: Rows, what: str, valid: str, where: str = "op") -> None:
    """Demand that each value is one of the known ones."""
    bad = np.flatnonzero(~np.isin(values, known))
    if len(bad):
        raise UserError(f"{what} {int(values[bad[0]])}", key=f"{where}, request {int(rows[bad[0]])}", valid=valid)


def _refuse_any(rows: Rows, values: Rows, what: str, where: str = "op") -> None:
    """Demand that there are no such requests."""
    if len(rows):
        raise UserError(f"{what} {int(values[0])}", key=f"{where}, request {int(rows[0])}")


def _number(value: int, low: int, high: int, key: str) -> None:
    if not low <= value <= high:
        raise UserError(f"{value} is out of range", key=key, valid=f"{low} to {high}")


# -- before /init -------------------------------------------------------------------------------------------------


def _check_pre_init(rows: Rows, handles: int, board: Board) -> None:
    where = "pre_init"
    _number(len(rows), 0, MAX_REQUESTS, "requests of pre_init")
    _number(handles, 0, MAX_REQUESTS, "pre_init_handles")
    number = np.arange(len(rows))
    kind = rows[:, flat.PRE_KIND]
    a, b, c = (rows[:, column].astype(np.int64) for column in (flat.PRE_A, flat.PRE_B, flat.PRE_C))
    _within(kind, PRE_KINDS[0], PRE_KINDS[-1], "kind", where=where)

    taken, freed, cut = (kind == each for each in (flat.PRE_PAGE_ALLOC, flat.PRE_PAGE_FREE, flat.PRE_PAGE_FREE_PART))
    used = taken | freed | cut
    _within(a[used], 0, handles - 1, "handle", number[used], where)
    _within(b[taken], 0, board.machine.max_order - 1, "order", number[taken], where)
    _check_gfp(c[taken], number[taken], where)
    _once(a[taken], number[taken], "takes block", where)
    _once(a[freed], number[freed], "gives back block", where)
    at = np.full(handles, len(rows))  # by handle: the request that takes it
    at[a[taken]] = number[taken]
    back = freed | cut
    late = np.flatnonzero(at[a[back]] > number[back])
    if len(late):
        row = int(number[back][late[0]])
        raise UserError(f"gives back block {a[row]}, which is not taken before", key=f"{where}, request {row}")
    whole = cut & np.isin(a, a[freed])
    _refuse_any(number[whole], a[whole], "gives back a part of what is given back as a whole, block", where)
    order = np.zeros(handles, np.int64)
    order[a[taken]] = b[taken]
    pages = np.int64(1) << order[a[cut]]
    right = (b[cut] >= 0) & (c[cut] >= 1) & (b[cut] + c[cut] <= pages)
    _demand(right, "page", b[cut], "pages inside the block", number[cut], where)
    _apart(a[cut], b[cut], b[cut] + c[cut], number[cut], where)

    init = kind == flat.PRE_FREE_INITMEM
    _once(kind[init], number[init], "frees the init section: kind", where)
    right = (b[init] >= 0) & (c[init] >= 0) & (b[init] + c[init] <= board.image_pages)
    valid = f"pages of the kernel image, 0 to {board.image_pages - 1}"
    _demand(right, "page", b[init], valid, number[init], where)
    objects = kind == flat.PRE_KMEM_CACHE_ALLOC
    _within(a[objects], 0, CACHES - 1, "cache", number[objects], where)
    _within(b[objects], 0, MAX_REQUESTS, "count", number[objects], where)
    _number(int(b[objects].sum()), 0, MAX_REQUESTS, "objects of pre_init")
    tasks = kind == flat.PRE_TASKS
    _within(a[tasks], 0, MAX_TASKS, "number of tasks", number[tasks], where)


def _check_gfp(gfp: Rows, rows: Rows, where: str) -> None:
    right = (gfp >= 0) & (gfp < 1 << GFP_BITS) & (gfp & GFP_MOBILITY != GFP_MOBILITY)
    _demand(right, "gfp", gfp, f"{GFP_BITS} bits, movable or reclaimable", rows, where)


def _apart(names: Rows, first: Rows, end: Rows, rows: Rows, where: str = "op") -> None:
    """Demand that ranges of the same name have nothing in common."""
    order = np.lexsort((first, names))
    same = names[order][1:] == names[order][:-1]
    twice = np.flatnonzero(same & (first[order][1:] < end[order][:-1]))
    if len(twice):
        row = int(rows[order[twice[0] + 1]])
        raise UserError("gives back pages for the second time", key=f"{where}, request {row}")


# -- the user phase -----------------------------------------------------------------------------------------------


def _check_sizes(program: RecordedProgram) -> None:
    _number(len(program.op), 1, MAX_REQUESTS, "requests of op")
    _number(len(program.lane), 1, MAX_LANES, "lanes")
    _number(len(program.image), 0, MAX_REQUESTS, "images")
    for name in ("handles", "events"):
        _number(getattr(program, name), 0, MAX_REQUESTS, name)
    for name in ("mms", "mappings"):
        _number(getattr(program, name), 0, MAX_MAPPINGS, name)
    for name in ("names", "record"):
        wanted = len(program.lane if name == "names" else program.op)
        _number(len(getattr(program, name)), wanted, wanted, f"length of {name}")


def _check_lanes(program: RecordedProgram) -> None:
    """Lanes are ranges of requests, one after another, and none can leave its own."""
    op, lane = program.op, program.lane
    first, end = lane[:, flat.LANE_FIRST], lane[:, flat.LANE_END]
    right = (end > first) & (first == np.concatenate([[0], end[:-1]]))
    right[-1] &= end[-1] == len(op)
    bad = np.flatnonzero(~right)
    if len(bad):
        raise UserError(
            f"requests {first[bad[0]]} to {end[bad[0]]} do not begin where those of the lane before end, or not end",
            key=f"lane {bad[0]}",
            valid=f"ranges that cover requests 0 to {len(op)}",
        )
    pid = lane[:, flat.LANE_PID]
    _within(pid, 1, MAX_PID, "pid", where="lane")
    _once(pid, np.arange(len(pid)), "pid", "lane")
    kind = op[:, flat.KIND]
    _known(kind, np.array(OP_KINDS), np.arange(len(op)), "no kind of request:", ", ".join(map(str, OP_KINDS)))

    # A lane ends with its death, the login, or a wait for what never comes; only the last can be undone by others.
    signals = np.isin(kind, (flat.OP_SIGNAL, flat.OP_EXIT_NOTIFY))
    waits = kind == flat.OP_WAIT
    rows = np.flatnonzero(signals | waits)
    _within(op[rows, flat.A], 0, program.events - 1, "event", rows)
    counted = np.flatnonzero((kind == flat.OP_SIGNAL) | waits)
    _within(op[counted, flat.B], 1, MAX_COUNT, "count", counted)
    raised = np.zeros(program.events, np.int64)
    counts = np.where(kind == flat.OP_SIGNAL, op[:, flat.B], 1).astype(np.int64)
    np.add.at(raised, op[signals, flat.A], counts[signals])
    last = end - 1
    forever = waits[last]
    forever[forever] = raised[op[last[forever], flat.A]] < op[last[forever], flat.B]
    bad = np.flatnonzero(~(forever | np.isin(kind[last], (flat.OP_DEAD, flat.OP_LOGIN))))
    if len(bad):
        raise UserError(
            "its last request does not end it",
            key=f"lane {bad[0]}, request {last[bad[0]]}",
            valid="its death, the login, or a wait for an event that does not come",
        )
    dead = np.flatnonzero(kind == flat.OP_DEAD)
    early = dead[~np.isin(dead, last)]
    if len(early):
        raise UserError("requests follow it", key=f"op, request {early[0]}", valid="a lane's death as its last request")
    logins = np.flatnonzero(kind == flat.OP_LOGIN)
    if len(logins) != 1:
        raise UserError(f"{len(logins)} requests log in", key="op", valid="one: the boot has reached its prompt")


def _check_columns(program: RecordedProgram, board: Board) -> None:
    """Each column of `op`, by kind."""
    op = program.op
    kind = op[:, flat.KIND]
    flags = op[:, flat.FLAGS]
    files = kind == flat.OP_MMAP_FILE
    plain = np.where(files, flags & ((1 << flat.MMAP_FILE_SHIFT) - 1), flags)
    _demand((flags >= 0) & (plain & ~OP_FLAG_BITS == 0), "flags", flags, f"bits of {OP_FLAG_BITS}")
    _within(op[:, flat.GAP], 0, MAX_COUNT, "gap")
    pages = np.flatnonzero(np.isin(kind, (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS)))
    forks = np.flatnonzero(kind == flat.OP_COPY_PROCESS)
    _within(op[pages, flat.B], 0, board.machine.max_order - 1, "order", pages)
    stack = board.machine.thread_size_order
    _within(op[forks, flat.B], stack, stack, "order", forks)
    _check_gfp(op[pages, flat.C], pages, "op")
    sleeps = np.flatnonzero(kind == flat.OP_SLEEP)
    _within(op[sleeps, flat.A], 0, MAX_TICKS, "sleep", sleeps, unit=" ticks")
    delays = np.flatnonzero(kind == flat.OP_EXEC_DELAY)
    _within(op[delays, flat.A], 0, MAX_COUNT, "delay", delays)
    _within(op[delays, flat.B], 0, MAX_TICKS, "sleep", delays, unit=" ticks")
    lanes = np.flatnonzero(np.isin(kind, (flat.OP_FORK, flat.OP_RELEASE_TASK)))
    _within(op[lanes, flat.A], 1, len(program.lane) - 1, "lane", lanes)


def _check_images(image: Rows) -> None:
    where = "image"
    for column, what in enumerate(("text", "data", "bss", "stack")):
        _within(image[:, column], 0, MAX_SIZE, what, where=where, unit=" bytes")
    relocs = image[:, flat.IMAGE_RELOCS]
    _within(relocs, 0, MAX_SIZE >> 2, "number of relocations", where=where)
    _within(image[:, flat.IMAGE_FLAGS], 0, IMAGE_FLAG_BITS, "flags", where=where)
    _within(image[:, flat.IMAGE_FILE], 0, MAX_FILE - 1, "file", where=where)


def _check_blocks(program: RecordedProgram) -> None:
    """Each block is taken once and given back at most once, by a request or with the lane whose stack it is."""
    op = program.op
    kind = op[:, flat.KIND]
    taken = np.flatnonzero(np.isin(kind, (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS)))
    freed = np.flatnonzero(kind == flat.OP_PAGE_FREE)
    for rows in (taken, freed):
        _within(op[rows, flat.A], 0, program.handles - 1, "handle", rows)
    _once(op[taken, flat.A], taken, "takes block")
    _once(op[freed, flat.A], freed, "gives back block")
    _known(op[freed, flat.A], op[taken, flat.A], freed, "gives back block", "a block that a request takes")
    stack = program.lane[:, flat.LANE_STACK]
    lanes = np.arange(len(stack))
    _within(stack[:1], -1, -1, "kernel stack of the first lane", where="lane")
    _within(stack[1:], 0, program.handles - 1, "handle of the kernel stack", lanes[1:], "lane")
    _once(stack[1:], lanes[1:], "has the kernel stack", "lane")
    _known(stack[1:], op[taken, flat.A], lanes[1:], "kernel stack", "a block that a request takes", "lane")
    also = freed[np.isin(op[freed, flat.A], stack[1:])]
    _refuse_any(also, op[also, flat.A], "gives back a kernel stack, which goes with its lane: block")


def _check_family(program: RecordedProgram) -> None:
    """Each lane but the first is forked once, by one that leads back to the first, and reaped at most once."""
    op, lane = program.op, program.lane
    forks, reaped = (np.flatnonzero(op[:, flat.KIND] == each) for each in (flat.OP_FORK, flat.OP_RELEASE_TASK))
    _once(op[forks, flat.A], forks, "starts lane")
    _once(op[reaped, flat.A], reaped, "reaps lane")
    parent = np.full(len(lane), -1)
    lane_of = np.repeat(np.arange(len(lane)), lane[:, flat.LANE_END] - lane[:, flat.LANE_FIRST])
    parent[op[forks, flat.A]] = lane_of[forks]
    own = reaped[op[reaped, flat.A] == lane_of[reaped]]
    _refuse_any(own, op[own, flat.A], "reaps itself: lane")
    reached = np.zeros(len(lane), bool)
    reached[0] = True
    for each in range(1, len(lane)):
        way: list[int] = []
        at = each
        while at >= 0 and not reached[at] and len(way) <= len(lane):
            way.append(at)
            at = parent[at]
        if at < 0 or not reached[at]:
            raise UserError("is never started", key=f"lane {each}", valid="lanes that the first one leads to")
        reached[way] = True


def _check_mappings(program: RecordedProgram, page_size: int) -> None:
    op = program.op
    kind = op[:, flat.KIND]
    execs, exits, unmaps = (np.flatnonzero(kind == each) for each in (flat.OP_EXEC, flat.OP_EXIT_MMAP, flat.OP_MUNMAP))
    maps = np.flatnonzero(np.isin(kind, (flat.OP_MMAP, flat.OP_MMAP_FILE)))
    _number(len(execs) + len(maps) + len(unmaps), 0, MAX_MAPPINGS, "exec, mmap and munmap requests")
    for rows in (execs, exits, maps):
        _within(op[rows, flat.A], 0, program.mms - 1, "address space", rows)
    _once(op[execs, flat.A], execs, "makes address space")
    _once(op[exits, flat.A], exits, "ends address space")
    for rows in (exits, maps):
        _known(op[rows, flat.A], op[execs, flat.A], rows, "address space", "one that an exec makes")
    _within(op[execs, flat.B], 0, len(program.image) - 1, "image", execs)
    _check_mapped_images(program.image, op[execs, flat.B], execs)
    _within(op[maps, flat.B], 1, MAX_SIZE, "length", maps, unit=" bytes")
    _within(op[maps, flat.C], -1, program.mappings - 1, "mapping", maps)
    named = maps[op[maps, flat.C] >= 0]
    _once(op[named, flat.C], named, "makes mapping")
    _within(op[unmaps, flat.A], 0, program.mappings - 1, "mapping", unmaps)
    _known(op[unmaps, flat.A], op[named, flat.C], unmaps, "mapping", "one that an mmap makes")
    pages = np.zeros(program.mappings, np.int64)
    pages[op[named, flat.C]] = -(-op[named, flat.B].astype(np.int64) // page_size)
    first, count = (op[unmaps, column].astype(np.int64) for column in (flat.B, flat.C))
    right = (first >= 0) & (count >= 1) & (first + count <= pages[op[unmaps, flat.A]])
    _demand(right, "page", first, "pages of the mapping, 1 at least", unmaps)
    _apart(op[unmaps, flat.A], first, first + count, unmaps)


def _check_mapped_images(image: Rows, used: Rows, execs: Rows) -> None:
    """Every mapping of an image that is run has a length."""
    text, data, bss, stack, relocs = (image[:, column].astype(np.int64) for column in range(5))
    data += np.maximum(bss + stack, 4 * relocs)
    single = image[:, flat.IMAGE_FLAGS] & SINGLE_MAPPING != 0
    right = np.where(single, text + data >= 1, (text >= 1) & (data >= 1))
    _demand(right[used], "image", used, "an image whose mappings have a length", execs)


def _check_time(program: RecordedProgram, counts_per_tick: int) -> None:
    op = program.op
    kind = op[:, flat.KIND]
    counts = int(op[:, flat.GAP].sum(dtype=np.int64))
    delays = kind == flat.OP_EXEC_DELAY
    counts += int(op[delays, flat.A].sum(dtype=np.int64))
    ticks = int(op[kind == flat.OP_SLEEP, flat.A].sum(dtype=np.int64) + op[delays, flat.B].sum(dtype=np.int64))
    ticks += counts // counts_per_tick
    if ticks > MAX_TICKS:
        raise UserError(
            f"CPU time and sleep of all processes together are {ticks} ticks",
            key="op",
            valid=f"at most {MAX_TICKS} ticks",
        )


def _check_notes(program: RecordedProgram) -> None:
    """What is there for checks only."""
    _within(program.record, 0, MAX_COUNT, "record", where="record")
    lanes = len(program.lane)
    for name in ("stack_free", "task_free"):
        _number(len(getattr(program, name)), 0, lanes, f"length of {name}")
    _within(program.stack_free[:, 0], 0, MAX_COUNT, "record", where="stack_free")
    _within(program.stack_free[:, 1], 0, lanes - 1, "lane", where="stack_free")
    _once(program.stack_free[:, 1], np.arange(len(program.stack_free)), "frees the stack of lane", "stack_free")
    _within(program.task_free, 0, MAX_COUNT, "record", where="task_free")
