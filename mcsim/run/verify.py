"""Stored boots simulated once more, and compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.experiment import Task
from mcsim.run import kernel
from mcsim.run.progress import Progress
from mcsim.run.store import Store

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Difference:
    """One boot whose stored outcome is not the one simulated now: the fields that differ, as (stored, now)."""

    task: Task
    boot: int
    fields: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Verification:
    """What was compared."""

    stored: int  # boots in the folder
    compared: int
    differences: tuple[Difference, ...]
    same_kernels: bool  # whether the boots were stored by the kernels of today


def verify(store: Store, sample: int, seed: int, source: str | None, progress: Progress) -> Verification:
    """Simulate `sample` of the stored boots again, each as likely as any other, and compare.

    `source` replaces the workload of the experiment, whose files may have been moved. UserError if it is another one.
    """
    from mcsim.run import engine

    if sample < 1:
        raise UserError(f"{sample} is not a number of boots", key="--sample", valid="a whole number from 1")
    source = store.workload_source() if source is None else source
    manifest = store.manifest()
    digest = kernel.load_workload(source).digest
    if digest != manifest["workload"]:
        what = f"is not the one of the stored boots: {digest[:12]} here, {manifest['workload'][:12]} there"
        raise UserError(what, file=source, key="workload", valid="--workload WHERE-IT-IS-NOW")
    tasks = list({task.id: task for task in store.tasks()}.values())
    frames = [store.read(task) for task in tasks]
    chosen = _sample([frame.height for frame in frames], sample, seed)
    if not chosen:
        raise UserError("holds no boots yet", file=store.path, valid="run the experiment first")
    differences = []
    with progress:
        engine.warm_up(tasks[0], source, progress)
        progress.start(len(chosen))
        for place, row in chosen:
            found = _compare(tasks[place], frames[place], row, source)
            differences += [found] if found else []
            progress.advance(1, tasks[place].label)
    return Verification(
        stored=sum(frame.height for frame in frames),
        compared=len(chosen),
        differences=tuple(differences),
        same_kernels=manifest["kernels"] == kernel.kernel_hash(),
    )


def _sample(heights: list[int], sample: int, seed: int) -> list[tuple[int, int]]:
    """Frames and rows of `sample` boots drawn without replacement out of all, in ascending order."""
    import numpy as np

    ends = np.cumsum(heights)
    total = int(ends[-1])
    if total == 0:
        return []
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(sample, total), replace=False))
    places = np.searchsorted(ends, drawn, side="right")
    starts = ends - np.array(heights)
    return [(int(place), int(number - starts[place])) for place, number in zip(places, drawn, strict=True)]


def _compare(task: Task, frame: pl.DataFrame, row: int, source: str) -> Difference | None:
    stored: dict[str, Any] = frame.row(row, named=True)
    outcome: Any = kernel.simulate(task, source, stored["boot"], 1)[0]
    now = {name: int(outcome[name]) for name in outcome.dtype.names}
    fields = {
        name: (stored.get(name, 0), now.get(name, 0))
        for name in [*stored, *(name for name in now if name not in stored)]
        if stored.get(name) != now.get(name)
    }
    return Difference(task, stored["boot"], fields) if fields else None
