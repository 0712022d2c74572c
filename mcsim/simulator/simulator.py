"""The only place that makes the work space of boots and has the kernels boot in it; all else asks here."""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.board import Board
from mcsim.model.experiment import Task, Timing
from mcsim.model.release import Policies
from mcsim.simulator.machine import machine_of, policy_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.kernels.boot.boot import Boot
    from mcsim.kernels.boot.program import Program
    from mcsim.kernels.boot.sched import Sched
    from mcsim.kernels.boot.sched import Timing as KernelTiming
    from mcsim.simulator.blame import BlameSums
    from mcsim.workload import Workload

MOST = 2**63 - 2**32  # int64, with room for what rounding adds
REASONS = {
    1: "every process waits for another",
    2: "a process is reaped before it has started",
    3: "an address space is used before its exec or after its exit",
    4: "something is unmapped that is not mapped",
    5: "the kernel would refuse this mapping (EINVAL)",
    6: "it takes more than 28 hours, or too many processes wait for the CPU",
    7: "a maple tree ran out of preallocated nodes, where Linux crashes",
    8: "the simulator has no room for so many slabs",
}  # by kernels/boot/program.py, from STUCK on


@lru_cache(maxsize=4)
def load_workload(source: str, board: Board) -> Any:
    """The compiled workload of that name or path on a board; read once per process."""
    from mcsim import workload

    try:
        return workload.load(source, board)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the workload {source!r} cannot be loaded: {error}", key="workload") from None


def simulate(task: Task, source: str, first: int, count: int) -> NDArray[np.void]:
    """Outcomes of `count` boots of one task from boot `first` on, an array of `mcsim.kernels.boot.batch.OUTCOME`.

    `source` is what `load_workload` takes; its digest is `task.workload`. Thread-safe; lets go of the GIL. UserError
    for a boot without an outcome.
    """
    return simulator_of(task, source).outcomes(first, count)


def simulator_of(task: Task, source: str) -> Simulator:
    """The simulator of a task in this thread: the one that it used last, if that is of the same task and workload."""
    workload = load_workload(source, task.board)
    kept: Simulator | None = getattr(_of_thread, "simulator", None)
    if kept is None or kept.task != task or kept.workload is not workload:
        kept = _of_thread.simulator = Simulator(task, workload)
    return kept


_of_thread = threading.local()  # saves making work space for every chunk; decides no outcome


class Simulator:
    """Boots of one task, one after another in work space made once. One thread at a time.

    program, timing: as the kernels read them. sched, boot: the work space, where the last boot can be looked
    at. Every boot begins by resetting it, also after one that was interrupted or has no outcome.
    """

    def __init__(self, task: Task, workload: Workload) -> None:
        """Make the work space. UserError for a timing that is too long for the kernels' numbers."""
        from mcsim.kernels.boot.sched import make_sched

        self.task, self.workload = task, workload
        self.program: Program = workload.arrays
        self.timing = kernel_timing(task.timing, self.program)
        self.sched = make_sched(self.program, machine_of(task.board, task.ram))
        self.boot = make_memory(self.program, task.board, task.ram, task.policies)

    @property
    def cell(self) -> tuple[Program, KernelTiming, Sched, Boot]:
        """What kernels that drive boots take first: program, timing, sched, boot."""
        return self.program, self.timing, self.sched, self.boot

    def outcomes(self, first: int, count: int) -> NDArray[np.void]:
        """Outcomes (`mcsim.kernels.boot.batch.OUTCOME`) of `count` boots from boot `first` on; see `simulate`."""
        import numpy as np

        from mcsim.kernels.boot import batch

        outcomes = np.zeros(count, dtype=batch.OUTCOME)
        try:
            batch.run_boots(*self.cell, self.task.seed, first, outcomes)
        except batch.WrongProgramError as error:
            raise self.no_outcome(error.boot) from None
        return outcomes

    def blame(self, numbers: NDArray[np.int64]) -> BlameSums:
        """Sums over the failing ones of these boots: who holds the pages of blocks. Lets go of the GIL."""
        import numpy as np

        from mcsim.kernels.boot import batch, page_owner
        from mcsim.simulator.blame import BlameSums

        sums = BlameSums()
        found = page_owner.make_page_owners(self.program, self.boot.memory.zone)
        outcomes = np.zeros(len(numbers), batch.OUTCOME)
        for part in batch.slices(len(numbers)):
            done = page_owner.blame_boots(*self.cell, found, sums.arrays, self.task.seed, numbers[part], outcomes[part])
            if done < len(numbers[part]):
                raise self.no_outcome(int(numbers[part][done]))
        return sums

    def no_outcome(self, number: int) -> UserError:
        """What to say of boot `number`, the last that ran: it has no outcome."""
        from mcsim.kernels.boot.boot import RESULT_ROW, RESULT_WRONG

        why, row = int(self.boot.result[RESULT_WRONG]), int(self.boot.result[RESULT_ROW])
        where = f"boot {number}" if row < 0 else f"boot {number}: {self.workload.place(row)}"
        return UserError(f"has no outcome: {REASONS[why]}", file=f"workload {self.workload.name}", key=where)


def make_memory(program: Program, board: Board, ram: int, policies: Policies) -> Boot:
    """The memory of a board with `ram` bytes, for boots of a program under a variant."""
    from mcsim.kernels.boot.boot import make_boot

    return make_boot(program, machine_of(board, ram), policy_of(policies))


def image_mappings(program: Program, image: int) -> tuple[int, ...]:
    """Bytes of the mappings that load_flat_file() makes for an image: all in one, or its text and its data."""
    from mcsim.kernels.boot import program as flat
    from mcsim.kernels.linux.binfmt_flat import FLAT_FLAG_GZIP, FLAT_FLAG_RAM, flat_extra

    row = program.image[image].tolist()
    text = row[flat.IMAGE_TEXT]
    data = row[flat.IMAGE_DATA] + flat_extra(row[flat.IMAGE_BSS], row[flat.IMAGE_STACK], row[flat.IMAGE_RELOCS])
    return (text + data,) if row[flat.IMAGE_FLAGS] & (FLAT_FLAG_RAM | FLAT_FLAG_GZIP) else (text, data)


def why_wrong(why: int, row: int) -> str:
    """Why the boot of a single program has no outcome, in words; `row` is that of its request, -1 for none."""
    return REASONS[why] if row < 0 else f"request {row}: {REASONS[why]}"


def kernel_timing(timing: Timing, program: Program | None = None) -> Any:
    """The timing of an experiment as the kernels read it, a `mcsim.kernels.boot.sched.Timing`.

    UserError if it makes the times of `program` too long for the kernels' numbers.
    """
    from mcsim.kernels.boot import sched
    from mcsim.kernels.boot.program import GAP

    made = sched.Timing(
        gap_factor=lognormal_factors(timing.gap_sigma),
        boot_factor=lognormal_factors(timing.boot_sigma, timing.boot_median),
        exec_delay=sched.EXEC_DELAY_DRAWN if timing.jitter == 2 else sched.EXEC_DELAY_NONE,
    )
    if program is not None:
        _check_times(program.op[:, GAP], int(made.gap_factor.max()), int(made.boot_factor.max()))
    return made


def _check_times(gaps: NDArray[np.int32], gap_factor: int, boot_factor: int) -> None:
    """UserError if CPU times can become too long for an int64 when boot/sched.py:set_gaps multiplies and adds."""
    from mcsim.kernels.jit.rng import FACTOR_BITS

    longest = (int(gaps.max()) * gap_factor >> FACTOR_BITS) + 1
    together = (int(gaps.sum(dtype="int64")) * gap_factor >> FACTOR_BITS) + len(gaps)
    if max(longest * boot_factor, together * boot_factor >> FACTOR_BITS) >= MOST:
        raise UserError(
            "makes the CPU times of this workload too long to count", key="timing", valid="smaller sigmas and median"
        )


@lru_cache(maxsize=16)
def lognormal_factors(sigma: float, median: float = 1.0) -> NDArray[np.int32]:
    """A lognormal distribution as the kernels draw from it: equally likely quantiles.

    int32[2**FACTOR_TABLE_BITS], fixed point with FACTOR_BITS bits behind the point, read-only. Factors of 2,048 and
    above have no room (only at the far end of what `[timing]` allows): they become the largest that has.
    """
    import numpy as np

    from mcsim.kernels.jit.rng import FACTOR_BITS, FACTOR_TABLE_BITS

    # Python's own inverse, not scipy's: the table decides outcomes, so it must not change with a library.
    inverse = NormalDist().inv_cdf
    size = 1 << FACTOR_TABLE_BITS
    quantiles = [median * math.exp(sigma * inverse((number + 0.5) / size)) for number in range(size)]
    most = 2**31 - 1
    table = np.array([min(most, round(each * (1 << FACTOR_BITS))) for each in quantiles], dtype=np.int32)
    table.flags.writeable = False
    return table


def factors(stored: NDArray[np.integer]) -> NDArray[np.float64]:
    """Factors of CPU times as outcomes have them (`boot_factor`), as numbers."""
    from mcsim.kernels.jit.rng import FACTOR_BITS

    return stored / (1 << FACTOR_BITS)


def kernel_hash() -> str:
    """SHA-256 of the kernel sources that this process runs."""
    from mcsim.kernels.jit.cache import source_hash

    return source_hash()
