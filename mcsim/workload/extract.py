"""From a recorded boot to a program: lanes of requests with CPU gaps and causal edges, and the pre-init page requests.

What a variant decides is left out and simulated: maple nodes, VMAs, regions and their slab pages, the leftovers of
alloc_pages_exact(). So is what the scheduler decides: the order of lanes, and when a dead task's kernel stack comes
back.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.linux.binfmt_flat import FLAT_FLAG_RAM
from mcsim.workload.program import RecordedProgram, read_gaps
from mcsim.workload.recording import Record, Recording

SIMULATED_SLABS = ("maple_node", "vm_area_struct", "vm_region")
# Of these each task has one object; the pages that the pre-init phase takes for them stay requests of it.
TASK_SLABS = ("task_struct", "sighand_cache", "signal_cache")
# workqueue_init_early() takes two pool_workqueue objects from the merged cache before anything else does.
POOL_WORKQUEUES = 2
MAPLE_NODE_CACHE = 0
# Callbacks that the scheduler kernel queues by itself. Those of maple nodes stay: that they were queued is part of the
# recorded timing, which nodes they free is not.
SIMULATED_CALLBACKS = ("delayed_put_task_struct", "thread_stack_free_rcu")
IDLE_PID = 0
INIT_PID = 1
VFORK_WAIT = 0x2102
TASK_DEAD = 0x80
WNOHANG_RETURNS = 1 << 31  # a return value with this bit set is -errno
PAGE_RECORDS = (Record.ALLOC, Record.PALLOC, Record.FREE, Record.FUNREF, Record.PFREE)
BLOCKING = (flat.OP_WAIT, flat.OP_SLEEP, flat.OP_EXEC_DELAY)
NEVER = 0  # the event that is never signalled
# Median CPU time (counts) of the step of exec in which the artificial delay lies, in 1,624 execs without that delay.
RELEASE_GAP = 206
# A callback is queued no more than this much CPU time (counts) too early, lest each needs a request of its own.
CALLBACK_SLACK = 130
MAX_NUMBER = 2**31 - 1  # of a column of a program


def extract(recording: Recording, pre_init_only: bool = False) -> RecordedProgram:
    """The program of one recorded boot.

    A recording without scheduler records gives its pre-init phase only, and no lanes; so does any if asked for.
    Raises UserError if the recording does not reach the kernel's start of /init, or naming the first record that does
    not go with those before it.
    """
    cut = _end_of_pre_init(recording)
    pre_init, handles = _extract_pre_init(recording, cut)
    program = RecordedProgram(
        name=recording.name,
        environment=recording.environment,
        variant=recording.variant,
        ram_mb=recording.ram_mb,
        jitter=recording.jitter,
        sha256=recording.sha256,
        pre_init=pre_init,
        pre_init_handles=handles,
    )
    if recording.has_scheduler_records and not pre_init_only:
        _UserPhase(recording, cut).extract_into(program)
        if not _reaches_login(program):
            what = "the recorded boot does not come to its login prompt: its processes wait for what never happens"
            raise UserError(what, file=recording.path, valid="a complete recording of a boot")
    return program


def _reaches_login(program: RecordedProgram) -> bool:
    """Whether the lanes, if each runs until it must wait, come to the login prompt: then they do in any order."""
    ops, lanes = program.op.tolist(), program.lane.tolist()
    counts = [0] * program.events
    waiting: dict[int, list[int]] = defaultdict(list)  # lanes, by event
    place = [lane[flat.LANE_FIRST] for lane in lanes]
    ready = [0]
    while ready:
        lane = ready.pop()
        while place[lane] < lanes[lane][flat.LANE_END]:
            row = ops[place[lane]]
            kind, event = row[flat.KIND], row[flat.A]
            if kind == flat.OP_LOGIN:
                return True
            if kind == flat.OP_WAIT and counts[event] < row[flat.B]:
                waiting[event].append(lane)
                break
            if kind == flat.OP_FORK:
                ready.append(event)
            elif kind in (flat.OP_SIGNAL, flat.OP_EXIT_NOTIFY):
                counts[event] += row[flat.B] if kind == flat.OP_SIGNAL else 1
                ready += waiting.pop(event, [])
            place[lane] += 1
    return False


def _end_of_pre_init(recording: Recording) -> int:
    """Index of the last record of free_initmem(): after it only pid 1 runs, about to start /init."""
    types = recording.columns["type"]
    frees = [
        int(i) for i in np.flatnonzero(types == Record.FREE) if recording.symbol("a", int(i)) == "free_reserved_area"
    ]
    if not frees:
        raise UserError("the recording ends before the kernel frees its init memory", file=recording.path)
    return frees[-1]


def _slab_name(recording: Recording, index: int) -> str:
    """The cache that an allocation is a slab of: what the two records behind it say; empty if they do not."""
    types = recording.columns["type"]
    is_slab = index + 2 < len(types) and types[index + 1] == Record.SLAB
    return recording.text(index + 2) if is_slab else ""


def _gfp_of(recording: Recording, index: int) -> int:
    return int(recording.columns["a"][index])


class _PageRequests:
    """Follows page allocations and frees, the same way in both phases: which record is a request, for which block."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.block: dict[int, tuple[int, int]] = {}  # first pfn -> (handle, order)
        self.handles = 0
        self.open_requests = {0: 0, 1: 0}  # AREQ without ALLOC yet, by interrupt context
        self.freeing = {0: -1, 1: -1}  # page that is on its way, by interrupt context

    def new_handle(self, pfn: int, order: int) -> int:
        handle = self.handles
        self.handles += 1
        self.block[pfn] = (handle, order)
        return handle

    def is_bulk(self, index: int) -> bool:
        """Whether a PALLOC record is alloc_pages_bulk(): no request was opened for it."""
        return self.open_requests[int(self.recording.columns["irq"][index])] == 0

    def note(self, index: int) -> None:
        """Count open requests."""
        columns = self.recording.columns
        kind, context = columns["type"][index], int(columns["irq"][index])
        if kind == Record.AREQ:
            self.open_requests[context] += 1
        elif kind == Record.ALLOC:
            self.open_requests[context] = max(0, self.open_requests[context] - 1)

    def is_free(self, index: int) -> bool:
        """Whether a record is a free of its own, and not a later step of one.

        A free passes `__free_pages`, `free_unref_page` and the per-CPU list, or comes in at any of the three; an
        interrupt may lie between the records.
        """
        columns = self.recording.columns
        kind, context, pfn = columns["type"][index], int(columns["irq"][index]), int(columns["pfn"][index])
        if kind not in (Record.FREE, Record.FUNREF, Record.PFREE):
            return False
        own = kind == Record.FREE or self.freeing[context] != pfn
        self.freeing[context] = -1 if kind == Record.PFREE else pfn
        return own

    def find(self, index: int, pfn: int) -> tuple[int, int, int]:
        """(handle, order, first pfn) of the block that holds a page which the record `index` frees."""
        for order in range(self.recording.board.machine.max_order):
            first = pfn & ~((1 << order) - 1)
            if first in self.block and self.block[first][1] >= order:
                handle, size = self.block[first]
                if pfn < first + (1 << size):
                    return handle, size, first
        raise self.recording.error(index, f"page {pfn} is freed but was never allocated")


def _extract_pre_init(recording: Recording, cut: int) -> tuple[np.ndarray, int]:
    """Rows of PRE_COLUMNS in recorded order, and the number of handles."""
    columns = recording.columns
    image_pages = recording.board.image_pages
    pages = _PageRequests(recording)
    rows: list[tuple[int, int, int, int]] = []
    init_memory: set[int] = set()
    trimmed: dict[int, set[int]] = defaultdict(set)  # pages that went back of a block, by its handle
    for i in range(cut + 1):
        kind = columns["type"][i]
        pages.note(i)
        pfn = int(columns["pfn"][i]) - recording.base_pfn
        order = int(columns["order"][i])
        if kind == Record.ALLOC:
            if columns["flags"][i]:
                continue
            cache = _slab_name(recording, i)
            if cache in SIMULATED_SLABS:
                if cache == "maple_node":
                    rows.append((flat.PRE_KMEM_CACHE_ALLOC, MAPLE_NODE_CACHE, POOL_WORKQUEUES, 0))
                continue
            rows.append((flat.PRE_PAGE_ALLOC, pages.new_handle(pfn, order), order, _gfp_of(recording, i)))
        elif kind == Record.PALLOC and pages.is_bulk(i):
            rows.append((flat.PRE_PAGE_ALLOC, pages.new_handle(pfn, order), order, 0))
        elif kind == Record.ZONE and order == 0:
            rows.append((flat.PRE_WATERMARKS, 0, 0, 0))
        elif pages.is_free(i):
            if recording.symbol("a", i) == "free_reserved_area":
                if pfn in init_memory or order or pfn >= image_pages:
                    valid = f"each page once, below {image_pages}: the kernel's image of the board"
                    raise recording.error(i, f"init memory is freed at page {pfn} of the RAM", valid)
                init_memory.add(pfn)
                if rows and rows[-1][0] == flat.PRE_FREE_INITMEM and sum(rows[-1][2:]) == pfn:
                    rows[-1] = (flat.PRE_FREE_INITMEM, 0, rows[-1][2], rows[-1][3] + 1)
                else:
                    rows.append((flat.PRE_FREE_INITMEM, 0, pfn, 1))
                continue
            handle, size, first = pages.find(i, pfn)
            offset = pfn - first
            if size == order and not trimmed[handle]:
                rows.append((flat.PRE_PAGE_FREE, handle, 0, 0))
                del pages.block[first]
            elif order or offset in trimmed[handle]:
                raise recording.error(i, f"order {order} at page {pfn} is freed, of which a part has gone back")
            else:
                trimmed[handle].add(offset)
                if rows[-1][:2] == (flat.PRE_PAGE_FREE_PART, handle) and sum(rows[-1][2:]) == offset:
                    rows[-1] = (flat.PRE_PAGE_FREE_PART, handle, rows[-1][2], rows[-1][3] + 1)
                else:
                    rows.append((flat.PRE_PAGE_FREE_PART, handle, offset, 1))
    alive = _tasks_alive(recording, cut)
    if alive < 0:
        raise recording.error(cut, "more tasks have exited than were forked")
    rows.append((flat.PRE_TASKS, alive, 0, 0))
    return np.array(rows, np.int32).reshape(-1, flat.PRE_COLUMNS), pages.handles


def _tasks_alive(recording: Recording, cut: int) -> int:
    """Tasks that were forked and have not exited; pid 0 is none of them, its structures are not from the caches."""
    types = recording.columns["type"][: cut + 1]
    return int(np.count_nonzero(types == Record.FORK) - np.count_nonzero(types == Record.EXIT))


@dataclass
class _Lane:
    """One process while its requests are collected."""

    pid: int
    ops: list[list[int]] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    gap: int = 0
    mode: int = 0  # flags of the gap now being collected
    reading: bool = False  # exec has mapped the image and reads it
    stack: int = -1  # handle of its kernel stack
    child_stack: int = -1  # of the child that it is forking
    comm: str = ""
    in_exec: bool = False
    exiting: bool = False
    sleep: int = 0  # ticks of the recorded artificial sleep in this exec
    delayed: bool = False  # the place of the artificial delay has been passed in this exec
    image: int = -1  # the image of the exec under way, until it is mapped
    woken: bool = False
    released: bool = False
    dead: bool = False


class _UserPhase:
    """Collects the lanes of one recording, from the start of /init to its end."""

    def __init__(self, recording: Recording, cut: int) -> None:
        self.recording = recording
        self.cut = cut
        self.pages = _PageRequests(recording)
        self.pages.is_free(cut)  # the later steps of this free come after the cut
        self.lanes: dict[int, _Lane] = {}
        self.lane_number: dict[int, int] = {}
        self.events = 1  # 0 is NEVER
        self.event_of: dict[tuple[str, int], int] = {}
        self.mm_of: dict[int, int] = {}
        self.mms = 0
        self.images: dict[tuple[int, ...], int] = {}  # to the number of each
        self.mapped: set[int] = set()  # address spaces that an exec has made
        self.stack_frees: dict[int, int] = {}  # record of each lane's
        self.task_frees: list[int] = []
        self.pipe_written: dict[int, int] = defaultdict(int)
        self.pipe_read: dict[int, int] = defaultdict(int)
        self.blocks: dict[int, int] = defaultdict(int)  # sleeps on each event so far
        self.mapping_mm = 0
        self.freed_stacks: dict[int, int] = {}  # pfn of a stack handed to RCU -> pid
        self.user_pids = self._find_user_pids()
        self.ksoftirqd = self._find_ksoftirqd()
        self.wakers = self._find_wakers()
        self.signals = self._plan_signals()
        self.wait4_returns = self._find_wait4_returns()
        init = self._lane(INIT_PID)
        init.comm, init.woken, init.released = "init", True, True  # it is never reaped

    # -- lanes, events, rows ------------------------------------------------------------------------------------

    def _lane(self, pid: int) -> _Lane:
        if pid not in self.lanes:
            self.lane_number[pid] = len(self.lanes)
            self.lanes[pid] = _Lane(pid)
        return self.lanes[pid]

    def _event(self, kind: str, key: int) -> int:
        if (kind, key) not in self.event_of:
            self.event_of[kind, key] = self.events
            self.events += 1
        return self.event_of[kind, key]

    def _mm(self, pointer: int) -> int:
        if pointer not in self.mm_of:
            self.mm_of[pointer] = self.mms
            self.mms += 1
        return self.mm_of[pointer]

    def _add(self, lane: _Lane, index: int, kind: int, a: int = 0, b: int = 0, c: int = 0, after: bool = False) -> None:
        if lane.dead:
            raise self.recording.error(index, f"the task {lane.pid} goes on after its end")
        if max(lane.gap, a, b, c) > MAX_NUMBER:
            raise self.recording.error(index, f"{max(lane.gap, a, b, c)} is out of range", f"at most {MAX_NUMBER}")
        lane.ops.append([kind, lane.mode | (flat.RESCHED_AFTER if after else 0), lane.gap, a, b, c])
        lane.records.append(index)
        lane.gap = 0

    def _enter_kernel(self, lane: _Lane, index: int) -> None:
        if lane.mode != 0:
            self._add(lane, index, flat.OP_NOP)
        lane.mode = 0

    def _return_to_user(self, lane: _Lane, index: int) -> None:
        if lane.mode == 0:
            self._add(lane, index, flat.OP_NOP, after=True)
        lane.mode = flat.GAP_USER

    # -- who wakes whom -----------------------------------------------------------------------------------------

    def _find_wakers(self) -> dict[int, int]:
        """Record of a task's going to sleep -> record of the wake-up that ended it."""
        columns = self.recording.columns
        asleep: dict[int, int] = {}
        wakers: dict[int, int] = {}
        for i in range(self.cut, len(columns["type"])):
            if columns["type"][i] == Record.SWITCH and columns["order"][i] == 0:
                asleep[int(columns["pid"][i])] = i
            elif columns["type"][i] == Record.WAKE and columns["order"][i] == 0:
                sleep = asleep.pop(int(columns["pfn"][i]), None)
                if sleep is not None:
                    wakers[sleep] = i
        return wakers

    def _find_user_pids(self) -> set[int]:
        columns = self.recording.columns
        forks = np.flatnonzero(columns["type"][self.cut :] == Record.FORK) + self.cut
        return {INIT_PID} | {int(columns["pfn"][i]) for i in forks}

    def _find_ksoftirqd(self) -> int:
        columns = self.recording.columns
        for i in np.flatnonzero(columns["type"][: self.cut] == Record.COMM):
            if self.recording.text(int(i)).startswith("ksoftirqd"):
                return int(columns["pfn"][i])
        return IDLE_PID

    def _find_wait4_returns(self) -> dict[int, list[int]]:
        """Records of wait4() returns, ascending, by pid."""
        columns = self.recording.columns
        returns: dict[int, list[int]] = defaultdict(list)
        for i in np.flatnonzero((columns["type"] == Record.WAIT4) & (columns["order"] == 1)):
            returns[int(columns["pid"][i])].append(int(i))
        return returns

    # -- the records, one by one --------------------------------------------------------------------------------

    def extract_into(self, program: RecordedProgram) -> None:
        columns = self.recording.columns
        types, pids, irqs = columns["type"], columns["pid"], columns["irq"]
        handlers: dict[int, Callable[[_Lane, int], None]] = {
            Record.ALLOC: self._alloc,
            Record.PALLOC: self._bulk_alloc,
            Record.FREE: self._free,
            Record.FUNREF: self._free,
            Record.PFREE: self._free,
            Record.FLAT: self._flat,
            Record.MPRIV: self._map,
            Record.MMAP_B: self._mmap_begin,
            Record.MMAP_E: self._mmap_end,
            Record.EXITMM_B: self._exit_mmap,
            Record.FORK: self._fork,
            Record.WAKENEW: self._wake_new,
            Record.VFORK: self._vfork,
            Record.WAIT4: self._wait4,
            Record.EXIT: self._exit,
            Record.EXITP: self._exit_phase,
            Record.SWITCH: self._switch,
            Record.WAKE: self._wake,
            Record.PIPE: self._pipe,
            Record.NSLEEP: self._nanosleep,
            Record.STIMEO: self._schedule_timeout,
            Record.COMM: self._comm,
            Record.EXEC: self._exec,
            Record.EXECRET: self._exec_return,
            Record.CALLRCU: self._call_rcu,
        }
        others = 0
        series = (-1, 0)  # pages of a free_page_series() still to come
        for i in range(self.cut + 1, len(types)):
            kind, pid = int(types[i]), int(pids[i])
            self.pages.note(i)
            if kind == Record.EXITP:
                self._note_stack(i)
            passed = int(self.recording.time[i] - self.recording.time[i - 1])
            if pid not in self.lanes:
                # Other kernel threads are no lanes; whoever runs next pays for them.
                others += passed if pid not in (IDLE_PID, self.ksoftirqd) else 0
                continue
            lane = self.lanes[pid]
            lane.gap += passed + others
            others = 0
            if irqs[i] and kind not in PAGE_RECORDS:
                continue
            if kind == Record.FPS:
                series = (int(columns["pfn"][i]), int(columns["a"][i]))
                continue
            if kind == Record.FUNREF and series[1] > 0 and series[0] == int(columns["pfn"][i]):
                self.pages.is_free(i)
                series = (series[0] + 1, series[1] - 1)
                continue
            handler = handlers.get(kind)
            if handler is not None:
                handler(lane, i)
        self._finish(program)

    def _plan_signals(self) -> dict[int, int]:
        """Record of a wake-up by a lane -> event, for sleeps that no other edge explains (sockets, end of a pipe)."""
        columns = self.recording.columns
        signals: dict[int, int] = {}
        for sleep, wake in self.wakers.items():
            pid = int(columns["pid"][sleep])
            waker = int(columns["pid"][wake])
            if pid not in self.user_pids or columns["irq"][wake] or waker not in self.user_pids:
                continue
            if self._has_own_edge(sleep):
                continue
            signals[wake] = self._event("wake", pid)
        return signals

    def _has_own_edge(self, sleep: int) -> bool:
        columns = self.recording.columns
        state = int(columns["a"][sleep])
        caller = self.recording.symbol("b", sleep)
        return state in (VFORK_WAIT, TASK_DEAD) or caller == "do_wait"

    # -- handlers -----------------------------------------------------------------------------------------------

    def _alloc(self, lane: _Lane, i: int) -> None:
        columns = self.recording.columns
        caller = self.recording.symbol("b", i)
        pfn, order = int(columns["pfn"][i]), int(columns["order"][i])
        if caller == "alloc_pages_exact" or columns["flags"][i]:
            return
        if _slab_name(self.recording, i) in SIMULATED_SLABS + TASK_SLABS:
            return
        handle = self.pages.new_handle(pfn, order)
        kind = flat.OP_PAGE_ALLOC
        if caller == "copy_process":
            self._enter_kernel(lane, i)
            kind, lane.child_stack = flat.OP_COPY_PROCESS, handle
        self._add(lane, i, kind, handle, order, _gfp_of(self.recording, i))

    def _bulk_alloc(self, lane: _Lane, i: int) -> None:
        if self.pages.is_bulk(i):
            order = int(self.recording.columns["order"][i])
            handle = self.pages.new_handle(int(self.recording.columns["pfn"][i]), order)
            self._add(lane, i, flat.OP_PAGE_ALLOC, handle, order, 0)

    def _free(self, lane: _Lane, i: int) -> None:
        caller = self.recording.symbol("a", i)
        own = self.pages.is_free(i)
        if not own or caller in ("make_alloc_exact", "thread_stack_free_rcu"):
            return
        handle, _, first = self.pages.find(i, int(self.recording.columns["pfn"][i]))
        del self.pages.block[first]
        if caller == "free_bprm" and lane.reading:
            self._read_image(lane, i)
        self._add(lane, i, flat.OP_PAGE_FREE, handle)
        if caller == "free_bprm" and not lane.in_exec:  # the kernel's own start of /init has no EXECRET record
            self._return_to_user(lane, i)

    def _flat(self, lane: _Lane, i: int) -> None:
        columns = self.recording.columns
        stack = int(columns["d"][i]) >> 16
        relocs = int(columns["d"][i]) & 0xFFFF
        text, data, bss = (int(columns[c][i]) for c in "abc")
        image = (text, data, bss, stack, relocs, FLAT_FLAG_RAM, 0)
        if sum((text, data, bss, stack)) > self.recording.ram_mb << 20:
            raise self.recording.error(
                i, f"an image of {text} + {data} + {bss} + {stack} bytes", "what the RAM can hold"
            )
        lane.image = self.images.setdefault(image, len(self.images))

    def _mmap_begin(self, lane: _Lane, i: int) -> None:
        self._enter_kernel(lane, i)
        self.mapping_mm = int(self.recording.columns["d"][i])

    def _map(self, lane: _Lane, i: int) -> None:
        mm = self._mm(self.mapping_mm)
        length = int(self.recording.columns["a"][i])
        if self.recording.columns["flags"][i]:
            what = f"this boot runs out of memory: a mapping of {length} bytes fails"
            raise self.recording.error(i, what, "a boot that does not, or its pre-init phase only (--pre-init-only)")
        if (lane.image >= 0) == (mm in self.mapped):
            raise self.recording.error(i, "an address space is mapped that has no image, or a second one")
        if not 0 < length <= self.recording.ram_mb << 20:
            raise self.recording.error(i, f"{length} bytes are mapped", "what the RAM can hold")
        if lane.image >= 0:
            self.mapped.add(mm)
            self._add(lane, i, flat.OP_EXEC, mm, lane.image)
        else:
            self._add(lane, i, flat.OP_MMAP, mm, length, -1)

    def _mmap_end(self, lane: _Lane, i: int) -> None:
        if lane.image >= 0:
            self._add(lane, i, flat.OP_NOP, after=True)
            lane.reading = True
            lane.image = -1
        else:
            self._return_to_user(lane, i)

    def _read_image(self, lane: _Lane, i: int) -> None:
        """Split the time since the image was mapped: cond_resched() between the batches of its file."""
        lane.reading = False
        *steps, relocating = read_gaps(lane.gap)
        for lane.gap in steps:
            self._add(lane, i, flat.OP_NOP, after=True)
        lane.gap = relocating

    def _exit_mmap(self, lane: _Lane, i: int) -> None:
        if int(self.recording.columns["a"][i]):
            pointer = int(self.recording.columns["b"][i])
            if self._mm(pointer) not in self.mapped:
                raise self.recording.error(i, "an address space goes that has no image")
            self._add(lane, i, flat.OP_EXIT_MMAP, self._mm(pointer), after=True)
            del self.mm_of[pointer]

    def _fork(self, lane: _Lane, i: int) -> None:
        pid = int(self.recording.columns["pfn"][i])
        if pid in self.lanes or lane.child_stack < 0:
            raise self.recording.error(i, f"the task {pid} is forked that is there, or without a stack")
        child = self._lane(pid)
        child.stack, lane.child_stack = lane.child_stack, -1
        child.mode = flat.GAP_USER
        child.comm = lane.comm

    def _wake_new(self, lane: _Lane, i: int) -> None:
        pid = int(self.recording.columns["pfn"][i])
        if pid in self.lanes:
            if self.lanes[pid].woken:
                raise self.recording.error(i, f"the task {pid} begins to run a second time")
            self.lanes[pid].woken = True
            self._add(lane, i, flat.OP_FORK, self.lane_number[pid])

    def _vfork(self, lane: _Lane, i: int) -> None:
        order, child = int(self.recording.columns["order"][i]), int(self.recording.columns["pfn"][i])
        if order == 0:
            self._add(lane, i, flat.OP_WAIT, self._event("vfork", child), 1)
        elif order == 2:
            if lane.in_exec:
                self._delay_exec(lane, i)
            self._add(lane, i, flat.OP_SIGNAL, self._event("vfork", lane.pid), 1)
        else:
            self._return_to_user(lane, i)

    def _delay_exec(self, lane: _Lane, i: int) -> None:
        """The place of the artificial delay: once an exec, before it releases its parent. A recorded one is cut out."""
        if lane.delayed:
            return
        lane.delayed = True
        delay = 0
        if self.recording.jitter:
            delay = max(0, lane.gap - RELEASE_GAP)
            lane.gap -= delay
        self._add(lane, i, flat.OP_EXEC_DELAY, delay, lane.sleep)
        lane.sleep = 0

    def _wait4(self, lane: _Lane, i: int) -> None:
        if self.recording.columns["order"][i] == 0:
            self._enter_kernel(lane, i)
            reaped = self._reaped_by(lane.pid, i)
            if reaped:
                self._add(lane, i, flat.OP_WAIT, self._event("zombie", reaped), 1)
        else:
            self._return_to_user(lane, i)

    def _reaped_by(self, pid: int, enter: int) -> int:
        """The pid that the wait4() entered at a record returns; 0 if none."""
        columns = self.recording.columns
        rows = self.wait4_returns.get(pid, [])
        position = bisect(rows, enter)
        if position == len(rows):
            return 0
        value = int(columns["b"][rows[position]])
        return value if value in self.user_pids else 0

    def _exit(self, lane: _Lane, i: int) -> None:
        self._enter_kernel(lane, i)
        lane.exiting = True

    def _exit_phase(self, lane: _Lane, i: int) -> None:
        order, pid = int(self.recording.columns["order"][i]), int(self.recording.columns["pfn"][i])
        if order == 0:
            self._add(lane, i, flat.OP_EXIT_NOTIFY, self._event("zombie", pid))
        elif order == 1 and pid in self.lanes:
            if self.lanes[pid].released or not self.lanes[pid].woken:
                raise self.recording.error(i, f"the task {pid} is released that never ran, or a second time")
            self.lanes[pid].released = True
            self._add(lane, i, flat.OP_RELEASE_TASK, self.lane_number[pid])

    def _switch(self, lane: _Lane, i: int) -> None:
        columns = self.recording.columns
        if columns["order"][i] == 1:
            return
        state = int(columns["a"][i])
        caller = self.recording.symbol("b", i)
        if self._has_own_edge(i) and state != TASK_DEAD and lane.ops and lane.ops[-1][flat.KIND] == flat.OP_WAIT:
            # The request is where the sleep begins, not where it is decided.
            lane.ops[-1][flat.GAP] += lane.gap
            lane.gap = 0
        if state == TASK_DEAD:
            self._add(lane, i, flat.OP_DEAD)
            lane.dead = True
        elif caller == "wait_woken":
            self._add(lane, i, flat.OP_LOGIN)
        elif self._has_own_edge(i) or lane.sleep:
            return
        elif self.wakers.get(i) in self.signals:
            event = self.signals[self.wakers[i]]
            self.blocks[event] += 1
            self._add(lane, i, flat.OP_WAIT, event, self.blocks[event])
        elif i in self.wakers:
            ticks = self._ticks_between(i, self.wakers[i])
            self._add(lane, i, flat.OP_SLEEP, max(1, ticks))
        else:
            self._add(lane, i, flat.OP_WAIT, NEVER, 1)

    def _ticks_between(self, first: int, last: int) -> int:
        counts = self.recording.board.clock.timer_counts_per_tick
        return int(self.recording.time[last] // counts - self.recording.time[first] // counts)

    def _wake(self, lane: _Lane, i: int) -> None:
        if i in self.signals:
            self._add(lane, i, flat.OP_SIGNAL, self.signals[i], 1)

    def _pipe(self, lane: _Lane, i: int) -> None:
        columns = self.recording.columns
        order, pipe, value = (int(columns[c][i]) for c in ("order", "a", "c"))
        if order in (0, 2):
            self._enter_kernel(lane, i)
            return
        if order == 3 and 0 < value < WNOHANG_RETURNS:
            self.pipe_written[pipe] += value
            self._add(lane, i, flat.OP_SIGNAL, self._event("pipe", pipe), value)
        if order == 1 and 0 < value < WNOHANG_RETURNS:
            self.pipe_read[pipe] += value
            if self.pipe_read[pipe] <= self.pipe_written[pipe]:
                self._add(lane, i, flat.OP_WAIT, self._event("pipe", pipe), self.pipe_read[pipe])
        self._return_to_user(lane, i)

    def _schedule_timeout(self, lane: _Lane, i: int) -> None:
        if self.recording.columns["order"][i] == 0 and self.recording.symbol("b", i) == "trjitter":
            lane.sleep = int(self.recording.columns["a"][i]) + 1

    def _nanosleep(self, lane: _Lane, i: int) -> None:
        if self.recording.columns["order"][i] == 0:
            self._enter_kernel(lane, i)
        else:
            self._return_to_user(lane, i)

    def _comm(self, lane: _Lane, i: int) -> None:
        if int(self.recording.columns["pfn"][i]) >> 31:
            self._delay_exec(lane, i)
            lane.comm = self.recording.text(i)

    def _exec(self, lane: _Lane, i: int) -> None:
        self._enter_kernel(lane, i)
        lane.in_exec = True
        lane.delayed = False

    def _exec_return(self, lane: _Lane, i: int) -> None:
        lane.in_exec = False
        self._return_to_user(lane, i)

    def _call_rcu(self, lane: _Lane, i: int) -> None:
        """A callback, queued with the request before if that is near; closing a file in exit is a cond_resched()."""
        callback = self.recording.symbol("a", i)
        if callback in SIMULATED_CALLBACKS:
            return
        exit_closes = lane.exiting and callback == "file_free_rcu"
        if exit_closes or not lane.ops or lane.gap > CALLBACK_SLACK or lane.ops[-1][flat.KIND] in BLOCKING:
            self._add(lane, i, flat.OP_NOP, after=exit_closes)
        lane.ops[-1][flat.FLAGS] |= flat.CALL_RCU

    def _note_stack(self, i: int) -> None:
        """Remember when the kernel stack of a dead task went back: for checks, the simulator decides that itself."""
        columns = self.recording.columns
        order, pfn = int(columns["order"][i]), int(columns["a"][i])
        if order == 2:
            self.task_frees.append(i)
        elif order == 3:
            self.freed_stacks[pfn] = int(columns["pfn"][i])
        elif order == 4 and pfn in self.freed_stacks:
            pid = self.freed_stacks.pop(pfn)
            self.pages.block.pop(pfn, None)
            if pid in self.lanes and self.stack_frees.setdefault(self.lane_number[pid], i) != i:
                raise self.recording.error(i, f"the stack of task {pid} goes back a second time")

    def _finish(self, program: RecordedProgram) -> None:
        ops: list[list[int]] = []
        records: list[int] = []
        lane_rows = []
        for lane in self.lanes.values():
            if not lane.dead:
                self._add(lane, len(self.recording.time), flat.OP_WAIT, NEVER, 1)
            lane_rows.append((len(ops), len(ops) + len(lane.ops), lane.stack, lane.pid))
            ops += lane.ops
            records += lane.records
        program.op = np.array(ops, np.int32).reshape(-1, flat.OP_COLUMNS)
        program.record = np.array(records, np.int32)
        program.lane = np.array(lane_rows, np.int32).reshape(-1, flat.LANE_COLUMNS)
        program.image = np.array(list(self.images), np.int32).reshape(-1, flat.IMAGE_COLUMNS)
        program.names = tuple(lane.comm for lane in self.lanes.values())
        program.handles = self.pages.handles
        program.events = self.events
        program.mms = self.mms
        counts = self.recording.board.clock.timer_counts_per_tick
        program.first_tick = int(counts - self.recording.time[self.cut] % counts)
        program.stack_free = np.array([(i, lane) for lane, i in self.stack_frees.items()], np.int32).reshape(-1, 2)
        program.task_free = np.array(self.task_frees, np.int32)
