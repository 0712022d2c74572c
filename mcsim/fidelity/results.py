"""Stored boots simulated once more, and compared bit for bit."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.experiment import Task
from mcsim.run.progress import Progress
from mcsim.simulator import simulator
from mcsim.store.coverage import Coverage
from mcsim.store.ranges import count, union
from mcsim.store.store import Store

if TYPE_CHECKING:
    import polars as pl

BLOCK = 1000  # boots that are simulated at a time where all are compared


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
    gone: int  # boots that runs have stored and that are not there
    sha256: str  # of all stored boots
    seed: int

    def found_with(self, edited: int) -> float:
        """With which probability so many edited boots would have shown: that at least one is in the sample."""
        return found_with(self.stored, edited, self.compared)


def found_with(stored: int, edited: int, compared: int) -> float:
    """The probability that `compared` of `stored` boots, all samples being as likely, hold any of `edited` ones.

    Exact (hypergeometric): 1 - C(stored - edited, compared) / C(stored, compared).
    """
    few, many = sorted((edited, compared))
    missed = 1.0
    for number in range(few):
        missed *= max(0, stored - many - number) / (stored - number)
    return 1.0 - missed


def verify(store: Store, sample: int | None, seed: int, source: str | None, progress: Progress) -> Verification:
    """Simulate `sample` of the stored boots again, each as likely as any other (None: all), and compare.

    `source` replaces the workload of the experiment, whose files may have been moved. UserError if it is another one.
    """
    from mcsim.run import engine

    if sample is not None and sample < 1:
        raise UserError(f"{sample} is not a number of boots", key="--sample", valid="a whole number from 1, or all")
    source = store.workload_source() if source is None else source
    identity = store.identity()
    digest = simulator.load_workload(source, store.experiment().board).digest
    if digest != identity["workload"]:
        what = f"is not the one of the stored boots: {digest[:12]} here, {identity['workload'][:12]} there"
        raise UserError(what, file=source, key="workload", valid="--workload WHERE-IT-IS-NOW")
    tasks = list({task.id: task for task in store.tasks()}.values())
    frames = [store.read(task) for task in tasks]
    stored = sum(frame.height for frame in frames)
    if not stored:
        raise UserError("holds no boots yet", file=store.path, valid="run the experiment first")
    chosen = [] if sample is None else _sample([frame.height for frame in frames], sample, seed)
    differences: list[Difference] = []
    with progress:
        engine.warm_up(tasks[0], source, progress)
        progress.start(stored if sample is None else len(chosen))
        if sample is None:
            for task, frame in zip(tasks, frames, strict=True):
                differences += _compare_all(task, frame, source, progress)
        for place, row in chosen:
            differences += _compare(tasks[place], frames[place].slice(row, 1), source)
            progress.advance(1, tasks[place].label)
    return Verification(
        stored=stored,
        compared=stored if sample is None else len(chosen),
        differences=tuple(differences),
        same_kernels=identity["kernels"] == simulator.kernel_hash(),
        gone=sum(count(lack.gone) for lack in Coverage(store).lacks),
        sha256=store.content_hash(),
        seed=seed,
    )


def record(store: Store, found: Verification) -> None:
    """Write down in the folder what was checked. UserError if it cannot be written to."""
    store.write_record(
        "check",
        {
            "id": secrets.token_hex(8),
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "kernels": simulator.kernel_hash(),
            "sha256": found.sha256,
            "stored": found.stored,
            "compared": found.compared,
            "differences": len(found.differences),
            "gone": found.gone,
            "seed": found.seed,
        },
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


def _compare_all(task: Task, frame: pl.DataFrame, source: str, progress: Progress) -> Iterator[Difference]:
    """All stored boots of a task, in blocks on all processors."""
    from joblib import Parallel, delayed

    from mcsim.run.engine import workers_or_all

    blocks = [frame.slice(place, BLOCK) for place in range(0, frame.height, BLOCK)]
    with Parallel(n_jobs=workers_or_all(None), backend="threading", return_as="generator") as parallel:
        found = parallel(delayed(_compare)(task, block, source) for block in blocks)
        for block, differences in zip(blocks, found, strict=True):
            yield from differences
            progress.advance(block.height, task.label)


def _compare(task: Task, frame: pl.DataFrame, source: str) -> list[Difference]:
    """The boots of a frame, ascending, that are not the ones simulated now."""
    differences = []
    boots = frame["boot"].to_list()
    for first, last in union((boot, boot) for boot in boots):
        outcomes: Any = simulator.simulate(task, source, first, last - first + 1)
        for stored, outcome in zip(
            frame.slice(boots.index(first), last - first + 1).iter_rows(named=True), outcomes, strict=True
        ):
            now = {name: int(outcome[name]) for name in outcome.dtype.names}
            fields = {name: (stored[name], now[name]) for name in stored if stored[name] != now[name]}
            if fields:
                differences.append(Difference(task, stored["boot"], fields))
    return differences
