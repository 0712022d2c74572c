"""The fan-out of checked boots (mcsim/simulator/checked.py): every invariant after each request."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcsim.model.experiment import Task
from mcsim.run.compiling import compiling
from mcsim.run.progress import Progress
from mcsim.simulator.checked import indices_are_checked, number_of_invariants, simulate
from mcsim.store.checked import Checked
from mcsim.store.shard import Shard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 8  # boots that a worker checks at a time: about a second


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
