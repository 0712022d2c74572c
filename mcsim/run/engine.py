"""The fan-out: missing boots are cut into chunks, workers simulate and store them.

Outcomes do not depend on the number of workers, the backend, the size of the chunks or their order, because
boot k of a task is a function of the task and k alone.
"""

from __future__ import annotations

import datetime
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcsim.errors import UserError
from mcsim.model.experiment import MODEL_VERSION, RNG_VERSION, Experiment, Task
from mcsim.run import kernel
from mcsim.run.compiling import compiling
from mcsim.run.progress import Progress
from mcsim.run.store import Identity, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Backend = Literal["threads", "processes"]
Simulate = Callable[[Task, str, int, int], "NDArray[np.void]"]
BACKENDS: tuple[Backend, ...] = ("threads", "processes")

CHUNK_SECONDS = 1.0  # what is lost at most per worker when a run is killed
FIRST_CHUNK = 16
MAX_CHUNK = 1 << 16


@dataclass
class ChunkSize:
    """How many boots make a chunk of about a second, learnt from the chunks done so far."""

    boots: int = FIRST_CHUNK
    _rate: float = field(default=0.0, repr=False)

    def learn(self, boots: int, seconds: float) -> None:
        """A chunk of `boots` took `seconds`; the size follows at most eightfold a step, in powers of two."""
        rate = boots / max(seconds, 1e-6)
        self._rate = rate if self._rate == 0.0 else 0.5 * (self._rate + rate)
        wanted = 2 ** math.floor(math.log2(max(1.0, self._rate * CHUNK_SECONDS)))
        self.boots = max(1, min(wanted, 8 * self.boots, MAX_CHUNK))


@dataclass(frozen=True)
class Chunk:
    """Boots `first` to `first + count - 1` of a task."""

    task: Task
    first: int
    count: int


def run(
    experiment: Experiment,
    store: Store,
    select_tasks: Callable[[Sequence[Task]], Sequence[Task]],
    *,
    boots: int,
    workers: int,
    backend: Backend,
    progress: Progress,
) -> list[Task]:
    """Simulate the boots below `boots` that the store lacks, in the selected tasks; return these tasks.

    KeyboardInterrupt passes through, after the manifest has been written; finished chunks stay.
    """
    workload = kernel.load_workload(experiment.workload)
    tasks = experiment.tasks(workload.digest)
    selected = list(select_tasks(tasks))
    identity = Identity(experiment.canonical(), workload.digest, kernel.kernel_hash())
    store.create_or_check(experiment, identity, tasks)
    gaps = [(task, first, last) for task in _once(selected) for first, last in store.missing(task, boots)]
    total = sum(last - first + 1 for _, first, last in gaps)
    if total == 0:
        return selected
    record = _begin(store, boots=boots, workers=workers, backend=backend, cells=len(selected))
    done = 0
    try:
        with progress:
            warm_up(gaps[0][0], experiment.workload, progress)
            progress.start(total)
            for chunk in _fan_out(gaps, experiment.workload, store, workers, backend):
                done += chunk.count
                progress.advance(chunk.count, chunk.task.label)
    finally:
        _end(store, record, done, complete=done == total)
    return selected


def warm_up(task: Task, source: str, progress: Progress) -> None:
    """Compile the kernels, or load them from the cache, before the workers start."""
    with compiling("run", progress):
        kernel.simulate(task, source, 0, 1)


def _fan_out(
    gaps: list[tuple[Task, int, int]], source: str, store: Store, workers: int, backend: Backend
) -> Iterator[Chunk]:
    """Run the chunks; yield each when it is stored."""
    from joblib import Parallel, delayed

    size = ChunkSize()
    # Looked up here, so that a test that replaces the kernel call replaces it in worker processes, too.
    simulate = kernel.simulate
    # Absolute: a worker process may have been started in another folder.
    folder = store.path.absolute()
    jobs = (delayed(work)(chunk, source, folder, simulate) for chunk in _chunks(gaps, size))
    parallel = Parallel(
        n_jobs=workers,
        backend="threading" if backend == "threads" else "loky",
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="2*n_jobs",
        **({"initializer": _leave_interrupts_to_the_parent} if backend == "processes" else {}),
    )
    finished = parallel(jobs)
    try:
        for chunk, seconds in finished:
            size.learn(chunk.count, seconds)
            yield chunk
    finally:
        finished.close()


def _leave_interrupts_to_the_parent() -> None:
    """In a worker process: Ctrl-C reaches the whole process group, but only the parent is to act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunks(gaps: list[tuple[Task, int, int]], size: ChunkSize) -> Iterator[Chunk]:
    for task, first, last in gaps:
        while first <= last:
            count = min(size.boots, last - first + 1)
            yield Chunk(task, first, count)
            first += count


def work(chunk: Chunk, source: str, folder: Path, simulate: Simulate) -> tuple[Chunk, float]:
    """In a worker: simulate one chunk and store it; return it with the seconds it took."""
    started = time.perf_counter()
    outcomes = simulate(chunk.task, source, chunk.first, chunk.count)
    seconds = time.perf_counter() - started
    Store(folder).write(chunk.task, outcomes)
    return chunk, seconds


def workers_or_all(workers: int | None) -> int:
    """The number asked for, or that of the processors this process may use."""
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise UserError(f"{workers} is not a number of workers", key="--workers", valid="a whole number from 1")
    return workers


def versions() -> dict[str, str]:
    """What the outcomes and their files were made with."""
    from importlib.metadata import version

    packages = ("mcsim", "numba", "numpy", "polars", "scipy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cpu": cpu_name(),
        "platform": platform.platform(),
        "model_version": str(MODEL_VERSION),
        "rng": RNG_VERSION,
    }


def cpu_name() -> str:
    """The processor as its maker calls it, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _once(tasks: Sequence[Task]) -> list[Task]:
    """Tasks with equal policies under two names are simulated once."""
    return list({task.id: task for task in tasks}.values())


def _begin(store: Store, **parameters: Any) -> dict[str, Any]:
    record = {"started": _now(), "versions": versions(), **parameters}
    manifest = store.manifest()
    manifest["runs"].append(record)
    store.write_manifest(manifest)
    return record


def _end(store: Store, record: dict[str, Any], boots_done: int, complete: bool) -> None:
    manifest = store.manifest()
    for run_record in reversed(manifest["runs"]):
        if run_record["started"] == record["started"]:
            run_record.update(finished=_now(), boots_done=boots_done, complete=complete)
            break
    store.write_manifest(manifest)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
