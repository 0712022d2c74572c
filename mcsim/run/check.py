"""Checked boots: all invariants of kernels/boot/invariants.py after each request, and the same outcomes as ever."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mcsim.errors import InvariantViolatedError
from mcsim.model.experiment import Task
from mcsim.run.compiling import compiling
from mcsim.run.progress import Progress
from mcsim.simulator import simulator
from mcsim.store.shard import Shard
from mcsim.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.kernels.boot.program import Program
    from mcsim.kernels.boot.sched import Sched

CHUNK = 8  # boots that a worker checks at a time: about a second


@dataclass(frozen=True)
class Checked:
    """What was checked.

    checks: so many times every invariant was checked, after each request of processes, RCU and pre-init phases. bounds:
    whether every index was checked, too. equal: boots whose outcomes are also stored, and the same. outcomes: by task
    id, of all boots checked, ascending.
    """

    boots: int
    cells: int
    checks: int
    invariants: int
    bounds: bool
    equal: int = 0
    outcomes: dict[str, NDArray[np.void]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """One line."""
        indices = "every index" if self.bounds else "no index (Numba was imported without NUMBA_BOUNDSCHECK=1)"
        return (
            f"checked: {self.boots:,} boots in {self.cells:,} cells; {self.invariants} invariants after every request, "
            f"{self.checks:,} times; {indices}; {self.equal:,} stored outcomes are the same"
        )


def check_boots(
    tasks: Sequence[Task], source: str, boots: int, shard: Shard, workers: int, progress: Progress
) -> Checked:
    """Simulate the boots below `boots` of each task, as far as they are the shard's, with all invariants checked.

    Nothing is stored. InvariantViolatedError at the first that does not hold. Workers are threads, whatever those of
    the run are.
    """
    import numpy as np
    from joblib import Parallel, delayed

    from mcsim.kernels.boot.invariants import INVARIANTS
    from mcsim.kernels.jit.compile import config

    chunks = [
        (task, start, min(CHUNK, last + 1 - start))
        for place, task in enumerate(tasks)
        for first, last in shard.blocks(place, 0, boots - 1)
        for start in range(first, last + 1, CHUNK)
    ]
    parts: dict[str, list[NDArray[np.void]]] = {}
    checks = 0
    if chunks:
        with compiling("check", progress):
            simulate(chunks[0][0], source, 0, 0)
    parallel = Parallel(n_jobs=workers, backend="threading", return_as="generator", batch_size=1)
    finished = parallel(delayed(simulate)(task, source, first, count) for task, first, count in chunks)
    try:
        for (task, first, count), (outcomes, times) in zip(chunks, finished, strict=True):
            checks += times
            parts.setdefault(task.id, []).append(outcomes)
            if first + count == boots:
                progress.say(f"checked: {task.label}, {sum(map(len, parts[task.id])):,} boots")
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "tasks have been cancelled": they are meant to be
            finished.close()
    return Checked(
        boots=sum(count for _, _, count in chunks),
        cells=len(parts),
        checks=checks,
        invariants=len(INVARIANTS),
        bounds=bool(config.BOUNDSCHECK) and not config.DISABLE_JIT,
        outcomes={each: np.concatenate(some) for each, some in parts.items()},
    )


def simulate(task: Task, source: str, first: int, count: int) -> tuple[NDArray[np.void], int]:
    """What `mcsim.simulator.simulator.simulate` returns, and how many times all invariants were checked.

    InvariantViolatedError if one does not hold, or if an index leaves its array (where indices are checked).
    """
    import numpy as np

    from mcsim.kernels.boot import batch, boot, invariants, sched
    from mcsim.kernels.linux.maple_tree import LAYOUT_32, LAYOUT_64

    workload = simulator.load_workload(source)
    program = workload.arrays
    memory = boot.make_boot(program, task.ram >> 20, LAYOUT_64 if task.machine.pointer_bits == 64 else LAYOUT_32)
    timing = simulator.kernel_timing(task.timing, program)
    lanes = sched.make_sched(program)
    check = invariants.make_boot_check(memory)
    outcomes = np.zeros(count, batch.OUTCOME)
    batch.draw_recordings(program, lanes, task.seed, first, outcomes)
    order = np.lexsort((outcomes["recording"], outcomes["pre_init"]))
    single = invariants.one_request_a_phase(program)
    policy = task.policies.for_kernels()
    try:
        ended = invariants.check_boots(
            program, single, timing, policy, lanes, memory, check, task.seed, first, order, outcomes
        )
    except IndexError as error:
        raise InvariantViolatedError(f"{_place(task, program, lanes, check.at)}: {error}") from error
    if ended == invariants.VIOLATED:
        raise InvariantViolatedError(f"{_place(task, program, lanes, check.at)}: {invariants.words_of(check)}")
    if ended == batch.WRONG:
        raise simulator.no_outcome(workload, int(check.at[invariants.BOOT_NUMBER]), memory.result)
    return outcomes, int(check.at[invariants.CHECKS])


def compare(checked: Checked, tasks: Sequence[Task], store: Store) -> Checked:
    """`checked` with the number of boots whose stored outcomes are the same; InvariantViolatedError if any is not."""
    equal = 0
    for task in tasks:
        if task.id not in checked.outcomes:
            continue
        stored = {row["boot"]: row for row in store.read(task).iter_rows(named=True)}
        for outcome in checked.outcomes[task.id]:
            row = stored.get(int(outcome["boot"]))
            if row is None:  # a rule has ended the cell before
                continue
            for name in outcome.dtype.names:
                if row[name] != outcome[name]:
                    words = f"{name} is {row[name]} as stored and {outcome[name]} as checked"
                    raise InvariantViolatedError(f"boot {row['boot']} of {task.label}: {words}")
            equal += 1
    return replace(checked, equal=equal)


def _place(task: Task, program: Program, lanes: Sched, at: NDArray[np.int64]) -> str:
    """The request after which something was wrong: `boot 7 of mail-both at 32M, after request 12 (mmap)`."""
    from mcsim.kernels.boot import invariants, sched
    from mcsim.kernels.boot import program as flat

    number, position, row = (int(at[each]) for each in (invariants.BOOT_NUMBER, invariants.POSITION, invariants.ROW))
    start = f"boot {number} of {task.label}"
    if position < 0 and row < 0:
        return f"{start}, before its first request"
    if position < 0:
        kind = _named(flat, "PRE_", int(program.pre_init[row, flat.PRE_KIND]))
        return f"{start}, after row {row} of the pre-init phases ({kind})"
    what = int(lanes.stream[position])
    if what >= 0:
        kind = _named(flat, "OP_", int(program.op[what, flat.KIND]))
    else:
        kind = _named(sched, "STREAM_", max(what, sched.STREAM_STACK_FREE))
    return f"{start}, after request {position} ({kind})"


def _named(module: Any, prefix: str, value: int) -> str:
    """The name of a constant of a module, as in the source."""
    columns = ("PRE_KIND", "PRE_A", "PRE_B", "PRE_C", "PRE_COLUMNS", "OP_COLUMNS", "STREAM_LENGTH")
    names = [each for each in vars(module) if each.startswith(prefix) and each not in columns]
    return next((each for each in names if getattr(module, each) == value), str(value))
