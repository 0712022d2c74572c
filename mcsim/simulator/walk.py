"""One boot, placed event by event, and what its memory looks like at any moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.files import one_line
from mcsim.kernels.boot import batch, page_owner, sched
from mcsim.kernels.boot import boot as kernel_boot
from mcsim.kernels.boot import program as flat
from mcsim.kernels.linux import nommu, page_alloc
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.model.experiment import MAX_BOOTS, Task
from mcsim.simulator import simulator
from mcsim.simulator.values import OWNERS, Ending, Event, Moment, Process, Snapshot, ZoneFigures

KERNEL = "kernel"  # what stands for a process where there is none


class Walk:
    """Boot `number` of a task, placed entry by entry of its stream.

    It begins after the pre-init phase. `source` is what `mcsim.simulator.simulator.load_workload` takes.
    """

    def __init__(self, task: Task, source: str, number: int) -> None:
        """Work out the stream and place the pre-init phase.

        Raises UserError for a number that no boot has and for a boot that has no outcome.
        """
        if not 0 <= number < MAX_BOOTS:
            valid = f"a whole number from 0 to {MAX_BOOTS - 1}"
            raise UserError(f"{number} is out of range", key="--boot", valid=valid)
        self.task, self.board, self.number = task, task.board, number
        self._simulator = simulator.Simulator(task, simulator.load_workload(source, task.board))
        self.workload, self.program, self.boot = self._simulator.workload, self._simulator.program, self._simulator.boot
        self._sched = self._simulator.sched
        scratch = self._sched.scratch
        self.recording = batch.recording_of(self.program, task.seed, number, scratch)
        self.phase = batch.pre_init_of(self.program, task.seed, number, scratch)
        timing = self._simulator.timing
        if not sched.run_boot(self.program, timing, self._sched, task.seed, number, self.recording):
            kernel_boot.wrong(self.boot, self._sched.clock[sched.WRONG], self._sched.clock[sched.WRONG_ROW])
            raise self._simulator.no_outcome(number)
        self.length = int(self._sched.clock[sched.STREAM_LENGTH])
        self.position = 0  # of the entry to be placed next
        self.boot.pre_handle[:, 0] = -1  # kernels/boot/page_owner.py needs it
        self._first_lane = int(self.program.recording[self.recording, flat.RECORDING_LANE])
        self.failed = not kernel_boot.begin_boot(self.boot, self.program, self.phase)
        self._check()

    def _check(self) -> None:
        if self.boot.result[kernel_boot.RESULT_WRONG] != flat.RIGHT:
            raise self._simulator.no_outcome(self.number)

    @property
    def ended(self) -> bool:
        """Whether the boot has failed or reached its prompt."""
        return self.failed or self.position >= self.length

    def step(self) -> None:
        """Place the next entry; must not be called when the boot has ended. UserError if it makes no sense."""
        self.failed = not kernel_boot.place_entry(self.boot, self.program, self._sched, self.recording, self.position)
        self._check()
        self.position += 1

    def finish(self) -> None:
        """Place all that is left."""
        while not self.ended:
            self.step()

    # -- what happens -------------------------------------------------------------------------------------------

    def time_us(self, position: int) -> int:
        """When an entry of the stream is placed, in microseconds since the kernel started /init; 0 before."""
        return int(self._sched.stream_time[position]) * self.board.clock.timer_ns // 1000 if position >= 0 else 0

    def process(self, lane: int) -> Process:
        """The process of a row of `Program.lane`, by the last name that it had; the kernel for -1."""
        if lane < 0:
            return Process(0, KERNEL)
        names = self.workload.user_phases[self.recording].names
        number = lane - self._first_lane
        name = one_line(names[number]) if number < len(names) else "?"
        return Process(int(self.program.lane[lane, flat.LANE_PID]), name)

    def lane_of(self, row: int) -> int:
        """The lane of a row of `Program.op`."""
        return int(np.searchsorted(self.program.lane[:, flat.LANE_FIRST], row, side="right")) - 1

    def event(self, position: int) -> Event:
        """An entry of the stream in words; -1 is the pre-init phase."""
        if position < 0:
            return Event(position, 0, self.process(-1), "before /init")
        what = int(self._sched.stream[position])
        if what >= 0:
            process, words = self.process(self.lane_of(what)), self._request(what)
        else:
            process, words = self.process(-1), self._callback(what)
        return Event(position, self.time_us(position), process, words)

    def _request(self, row: int) -> str:
        kind, b, c = (int(self.program.op[row, each]) for each in (flat.KIND, flat.B, flat.C))
        if kind == flat.OP_PAGE_ALLOC:
            what = OWNERS[int(page_owner.owner_of_request(c))].name
            return f"takes {1 << b} page{'s' if b else ''} ({what})"
        if kind == flat.OP_EXEC:
            return f"exec: maps an image of {self.image_pages(b)} pages"
        if kind in (flat.OP_MMAP, flat.OP_MMAP_FILE):
            return f"maps {b} bytes"
        return {
            flat.OP_PAGE_FREE: "gives a page back",
            flat.OP_MUNMAP: "unmaps",
            flat.OP_EXIT_MMAP: "gives all its mappings back",
            flat.OP_COPY_PROCESS: "forks: a kernel stack for the child",
            flat.OP_LOGIN: "login prompt",
        }.get(kind, "request")

    def _callback(self, what: int) -> str:
        if what <= sched.STREAM_STACK_FREE:
            owner = self.process(self._first_lane + sched.STREAM_STACK_FREE - what)
            return f"RCU gives the kernel stack of {owner} back"
        return {
            sched.STREAM_RCU_QS: "RCU: a quiescent state",
            sched.STREAM_RCU_RUN: "RCU gives maple nodes back",
            sched.STREAM_TASK_FREE: "RCU gives a dead task's structures back",
        }.get(what, "RCU")

    def image_pages(self, image: int) -> int:
        """Pages of the mapping of an image in which its data lies: all of it, if it is a single one."""
        return -(-simulator.image_mappings(self.program, image)[-1] // self.board.machine.page_size)

    def largest_image_order(self) -> int:
        """The order of the largest image that any process of the recording runs."""
        end = int(self.program.recording[self.recording, flat.RECORDING_LANE_END]) - 1
        first_row = self.program.lane[self._first_lane, flat.LANE_FIRST]
        rows = self.program.op[first_row : self.program.lane[end, flat.LANE_END]]
        images = set(rows[rows[:, flat.KIND] == flat.OP_EXEC, flat.B].tolist())
        return int(page_alloc.get_order(max(map(self.image_pages, images), default=1)))

    def ending(self) -> Ending:
        """How the boot ended."""
        result, scalar = self.boot.result, self.boot.memory.nommu.scalar
        if not self.failed:
            order = self.largest_image_order()
            return Ending(self.event(self.length - 1), kernel_boot.FAILED_NOTHING, order, 0, 0, False, False)
        position = int(result[kernel_boot.RESULT_POSITION])
        row = int(self._sched.stream[position]) if position >= 0 else -1
        kind, gfp = (int(self.program.op[row, each]) for each in (flat.KIND, flat.C)) if row >= 0 else (-1, 0)
        failed_class, order = int(result[kernel_boot.RESULT_CLASS]), int(result[kernel_boot.RESULT_ORDER])
        # do_mmap() rounds the length up to pages.
        pages = int(scalar[nommu.FAILED_PAGES]) if failed_class == nommu.FAILED_MAPPING else 0
        is_page = failed_class == kernel_boot.FAILED_OTHER_PAGE and kind in (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS)
        return Ending(
            event=self.event(position),
            failed_class=failed_class,
            order=order,
            length=pages * self.board.machine.page_size,
            gfp=gfp if is_page else GFP_KERNEL,
            is_exec=kind == flat.OP_EXEC,
            stopped=bool(scalar[nommu.BUGS]),
        )

    # -- what memory looks like -----------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Memory as it stands now. Raises RuntimeError if two claim a page: the model would be wrong."""
        zone = self.boot.memory.zone
        found = page_owner.make_page_owners(self.program, zone)
        if page_owner.find_page_owners(self.boot, self.program, self.recording, self.phase, found):
            raise RuntimeError(f"boot {self.number} of {self.task.label}: a page has two owners")
        lanes = {int(each) for each in np.unique(found.lane) if each >= 0}
        return Snapshot(
            owner=found.owner,
            lane=found.lane,
            processes={lane: self.process(lane) for lane in lanes},
            free_order=free_orders(zone)[: len(found.owner)],
            free=free_blocks(zone),
            zone=zone_figures(zone),
            page_size=self.board.machine.page_size,
            pageblock=1 << self.board.machine.pageblock_order,
        )

    def moment(self, order: int) -> Moment:
        """How it stands now, and how many blocks of an order are free."""
        zone = self.boot.memory.zone
        free = np.flatnonzero(zone.nr_free)
        orders = range(order, self.board.machine.max_order)
        return Moment(
            time_us=self.time_us(self.position - 1),
            free_pages=int(zone.scalar[page_alloc.NR_FREE_PAGES]),
            largest_order=int(free[-1]) if len(free) else -1,
            blocks=sum(int(zone.nr_free[each]) << (each - order) for each in orders),
            processes=int((self.boot.memory.nommu.mm[:, nommu.MM_MMAP] != nommu.NONE).sum()),
        )

    def free_lists(self) -> dict[tuple[int, int], list[int]]:
        """(order, migratetype) -> first pages of the blocks on that free list, head first; empty ones too."""
        orders, types = range(self.board.machine.max_order), range(page_alloc.MIGRATE_TYPES)
        return {(order, each): free_list(self.boot.memory.zone, order, each) for order in orders for each in types}

    def in_use(self) -> NDArray[np.bool_]:
        """bool[pages]: not free."""
        return free_orders(self.boot.memory.zone) < 0

    def has_free_blocks_of(self, other: Walk) -> bool:
        """Whether the same blocks are free in both, on whatever lists."""
        return np.array_equal(self.boot.memory.zone.order, other.boot.memory.zone.order)

    def has_free_lists_of(self, other: Walk) -> bool:
        """Whether all free lists of both are equal, entry by entry."""
        return self.has_free_blocks_of(other) and np.array_equal(
            self.boot.memory.zone.next, other.boot.memory.zone.next
        )


def zone_figures(zone: page_alloc.Zone) -> ZoneFigures:
    """What the zone counts."""
    scalar = zone.scalar
    return ZoneFigures(
        free=int(scalar[page_alloc.NR_FREE_PAGES]),
        managed=int(scalar[page_alloc.MANAGED_PAGES]),
        present=int(scalar[page_alloc.ZONE_END_PFN] - scalar[page_alloc.ZONE_START_PFN]),
        reserved_highatomic=int(scalar[page_alloc.NR_RESERVED_HIGHATOMIC]),
        free_pcp=int(scalar[page_alloc.PCP_COUNT]),
        boost=int(scalar[page_alloc.WATERMARK_BOOST]),
        min=int(scalar[page_alloc.WMARK_MIN]),
        low=int(scalar[page_alloc.WMARK_LOW]),
        high=int(scalar[page_alloc.WMARK_HIGH]),
    )


def free_orders(zone: page_alloc.Zone) -> NDArray[np.int8]:
    """int8[pages]: the order of the free block that each page is in, -1 if it is in use."""
    found = np.full(len(zone.order), -1, np.int8)
    for first in np.flatnonzero(zone.order >= 0):
        order = int(zone.order[first])
        found[first : first + (1 << order)] = order
    return found


def free_list(zone: page_alloc.Zone, order: int, migratetype: int) -> list[int]:
    """First pages of the blocks on a free list, head first."""
    return page_alloc.list_entries(zone, page_alloc.free_area(zone, order, migratetype))


def free_blocks(zone: page_alloc.Zone) -> NDArray[np.int64]:
    """int64[max_order, MIGRATE_TYPES]: the lengths of all free lists."""
    orders, types = range(zone.machine.max_order), range(page_alloc.MIGRATE_TYPES)
    return np.array([[len(free_list(zone, order, each)) for each in types] for order in orders], np.int64)
