"""Checked boots: all invariants of kernels/boot/invariants.py after each request, and the same outcomes as ever."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mcsim.errors import InvariantViolatedError
from mcsim.model.experiment import Task
from mcsim.run.compiling import compiling
from mcsim.run.progress import Progress
from mcsim.simulator.checked import indices_are_checked, number_of_invariants, simulate
from mcsim.store.shard import Shard
from mcsim.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        invariants=number_of_invariants(),
        bounds=indices_are_checked(),
        outcomes={each: np.concatenate(some) for each, some in parts.items()},
    )


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
