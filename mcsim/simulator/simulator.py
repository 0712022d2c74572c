"""The one place where the Python face calls the kernels."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.experiment import Task, Timing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.kernels.boot.program import Program

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

FAILURE_CLASSES = {1: "contiguous mapping", 2: "slab page", 3: "maple node", 4: "other page"}


@lru_cache(maxsize=4)
def load_workload(source: str) -> Any:
    """The compiled workload of that name or path; read once per process."""
    from mcsim import workload

    try:
        return workload.load(source)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the workload {source!r} cannot be loaded: {error}", key="workload") from None


def simulate(task: Task, source: str, first: int, count: int) -> NDArray[np.void]:
    """Outcomes of `count` boots of one task from boot `first` on, an array of `mcsim.kernels.boot.batch.OUTCOME`.

    `source` is what `load_workload` takes; its digest is `task.workload`. UserError for a boot without an outcome.
    """
    import numpy as np

    from mcsim.kernels.boot import batch

    machine = batch.Machine(ram_mb=task.ram >> 20, pointer_bits=task.machine.pointer_bits)
    workload = load_workload(source)
    timing = kernel_timing(task.timing, workload.arrays)
    outcomes = np.zeros(count, dtype=batch.OUTCOME)
    policy = task.policies.for_kernels()
    try:
        batch.run_boots(workload.arrays, machine, policy, timing, task.seed, first, outcomes)
    except batch.WrongProgramError as error:
        raise _without_outcome(workload, error.boot, error.why, error.row) from None
    return outcomes


def no_outcome(workload: Any, boot: int, result: NDArray[np.int64]) -> UserError:
    """What to say of a boot that has no outcome; `result` is its `mcsim.kernels.boot.boot.Boot.result`."""
    from mcsim.kernels.boot.boot import RESULT_ROW, RESULT_WRONG

    return _without_outcome(workload, boot, int(result[RESULT_WRONG]), int(result[RESULT_ROW]))


def _without_outcome(workload: Any, boot: int, why: int, row: int) -> UserError:
    where = f"boot {boot}" if row < 0 else f"boot {boot}: {workload.place(row)}"
    return UserError(f"has no outcome: {REASONS[why]}", file=f"workload {workload.name}", key=where)


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


def kernel_hash() -> str:
    """SHA-256 of the kernel sources that this process runs."""
    from mcsim.kernels.jit.cache import source_hash

    return source_hash()
