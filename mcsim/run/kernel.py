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
    """Outcomes of `count` boots of one task from boot `first` on, an array of `kernels.batch.OUTCOME`.

    `source` is what `load_workload` takes; its digest is `task.workload`.
    """
    import numpy as np

    from kernels import batch

    machine = batch.Machine(ram_mb=task.ram >> 20, pointer_bits=task.machine.pointer_bits)
    timing = kernel_timing(task.timing)
    outcomes = np.zeros(count, dtype=batch.OUTCOME)
    policy = task.policies.for_kernels()
    batch.run_boots(load_workload(source).arrays, machine, policy, timing, task.seed, first, outcomes)
    return outcomes


def kernel_timing(timing: Timing) -> Any:
    """The timing of an experiment as the kernels read it, a `kernels.sched.Timing`."""
    from kernels import sched

    return sched.Timing(
        gap_factor=lognormal_factors(timing.gap_sigma),
        boot_factor=lognormal_factors(timing.boot_sigma, timing.boot_median),
        exec_delay=sched.EXEC_DELAY_DRAWN if timing.jitter == 2 else sched.EXEC_DELAY_NONE,
    )


@lru_cache(maxsize=16)
def lognormal_factors(sigma: float, median: float = 1.0) -> NDArray[np.int32]:
    """A lognormal distribution as the kernels draw from it: equally likely quantiles.

    int32[2**FACTOR_TABLE_BITS], fixed point with FACTOR_BITS bits behind the point, read-only. Factors of 2,048 and
    above have no room (only at the far end of what `[timing]` allows): they become the largest that has.
    """
    import numpy as np

    from kernels.rng import FACTOR_BITS, FACTOR_TABLE_BITS

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
    from kernels.cache import source_hash

    return source_hash()
