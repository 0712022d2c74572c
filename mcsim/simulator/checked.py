"""Checked boots: all invariants of kernels/probe/invariants.py after each request; outcomes are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcsim.errors import InvariantViolatedError
from mcsim.model.experiment import Task
from mcsim.simulator.simulator import simulator_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.kernels.boot.program import Program
    from mcsim.kernels.boot.sched import Sched


def simulate(task: Task, source: str, first: int, count: int) -> tuple[NDArray[np.void], int]:
    """What `mcsim.simulator.simulator.simulate` returns, and how many times all invariants were checked.

    InvariantViolatedError if one does not hold, or if an index leaves its array (where indices are checked).
    """
    import numpy as np

    from mcsim.kernels.boot import batch
    from mcsim.kernels.probe import invariants

    used = simulator_of(task, source)
    program, timing, sched, boot = used.cell
    check = invariants.make_boot_check(boot)
    outcomes = np.zeros(count, batch.OUTCOME)
    batch.draw_recordings(program, sched, task.seed, first, outcomes)
    order = np.lexsort((outcomes["recording"], outcomes["pre_init"]))
    single = invariants.one_request_a_phase(program)
    try:
        ended = invariants.check_boots(program, single, timing, sched, boot, check, task.seed, first, order, outcomes)
    except IndexError as error:
        raise InvariantViolatedError(f"{_place(task, program, sched, check.at)}: {error}") from error
    if ended == invariants.VIOLATED:
        raise InvariantViolatedError(f"{_place(task, program, sched, check.at)}: {invariants.words_of(check)}")
    if ended == batch.WRONG:
        raise used.no_outcome(int(check.at[invariants.BOOT_NUMBER]))
    return outcomes, int(check.at[invariants.CHECKS])


def number_of_invariants() -> int:
    """How many there are."""
    from mcsim.kernels.probe.invariants import INVARIANTS

    return len(INVARIANTS)


def indices_are_checked() -> bool:
    """Whether the compiled kernels check every index."""
    from mcsim.kernels.jit.compile import config

    return bool(config.BOUNDSCHECK) and not config.DISABLE_JIT


def _place(task: Task, program: Program, lanes: Sched, at: NDArray[np.int64]) -> str:
    """The request after which something was wrong: `boot 7 of mail-both at 32M, after request 12 (mmap)`."""
    from mcsim.kernels.boot import program as flat
    from mcsim.kernels.boot import sched
    from mcsim.kernels.probe import invariants

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
