"""The fan-out: missing boots are cut into chunks, workers simulate them, and each is stored when it is done.

Outcomes do not depend on the number of workers, the backend, the size of the chunks or their order, because
boot k of a task is a function of the task and k alone.
"""

from __future__ import annotations

import datetime
import math
import platform
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcsim.errors import UserError
from mcsim.model.experiment import MODEL_VERSION, RNG_VERSION, Experiment, Task
from mcsim.run.compiling import compiling
from mcsim.run.crew import Backend, Chunk, Crew, Done
from mcsim.run.progress import Progress, Tally
from mcsim.run.watch import Watch
from mcsim.simulator import simulator
from mcsim.store.ranges import union
from mcsim.store.shard import Shard
from mcsim.store.store import Identity, Store

CHUNK_SECONDS = 1.0  # what is lost at most per worker when a run is killed
FIRST_CHUNK = 16
MAX_CHUNK = 1 << 16
MAX_WORKERS = 1000  # more than a machine has processors
SECONDS_TO_RECORD = 10.0  # after so long at most, the record of a run says what it has stored


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


class Tallies:
    """How far each cell is, counted as its chunks come: what `Progress` shows."""

    def __init__(self, store: Store) -> None:
        """Nothing is done yet."""
        self.missing: Counter[str] = Counter()  # id of a task -> boots that this run is to add
        self._store = store
        self._tallies: dict[str, Tally] = {}
        self._began: dict[str, tuple[float, int]] = {}  # when, and with how many boots done

    def expect(self, gaps: Sequence[Gap]) -> None:
        """These boots are to be simulated."""
        for gap in gaps:
            self.missing[gap.task.id] += gap.last - gap.first + 1

    def meet(self, done: Done) -> None:
        """A chunk that is not stored yet: if it is the first of its cell, count what earlier runs have stored."""
        task = done.chunk.task
        if task.id in self._tallies:
            return
        try:
            frame = self._store.read(task)
            boots, failures = frame.height, int(frame["failed"].sum()) if frame.height else 0
        except UserError:  # damaged: the report will say so; no reason to lose the boots that are being simulated
            boots, failures = 0, 0
        self._tallies[task.id] = Tally(task.label, boots + self.missing[task.id], boots, failures, 0.0)
        self._began[task.id] = (time.monotonic() - done.seconds, boots)

    def add(self, done: Done) -> Tally:
        """The cell with these boots, too."""
        task = done.chunk.task
        before = self._tallies[task.id]
        began, stored = self._began[task.id]
        boots = before.done + done.chunk.count
        tally = replace(
            before,
            done=boots,
            failures=before.failures + int((done.outcomes["failed"] != 0).sum()),
            rate=(boots - stored) / max(time.monotonic() - began, 1e-9),
            over=boots >= before.wanted,
        )
        self._tallies[task.id] = tally
        return tally

    def end(self, tasks: Sequence[Task]) -> list[Tally]:
        """Rules have ended these cells: those that were not over before."""
        ended = [task for task in tasks if task.id in self._tallies and not self._tallies[task.id].over]
        for task in ended:
            self._tallies[task.id] = replace(self._tallies[task.id], over=True)
        return [self._tallies[task.id] for task in ended]


@dataclass(frozen=True)
class Gap:
    """Boots `first` to `last` (both included) of a task are wanted and not stored."""

    task: Task
    first: int
    last: int


def run(
    experiment: Experiment,
    store: Store,
    select_tasks: Callable[[Sequence[Task]], Sequence[Task]],
    *,
    boots: int,
    workers: int,
    backend: Backend,
    progress: Progress,
    scheduler: str | None = None,
    shard: Shard | None = None,
) -> list[Task]:
    """Simulate the boots below `boots` that the store lacks, in the selected tasks; return these tasks.

    The stop rules of the experiment may end a task earlier, `shard` leaves boots to others. KeyboardInterrupt passes
    through, after the manifest has been written; finished chunks stay.
    """
    started = time.monotonic()
    shard = Shard() if shard is None else shard
    workload = simulator.load_workload(experiment.workload, experiment.board)
    tasks = experiment.tasks(workload.digest)
    selected = list(select_tasks(tasks))
    rules = experiment.stop.given()
    # Rules look at all boots of a cell: then a shard has whole cells, not blocks of boots.
    watch = Watch(experiment.stop, shard.whole_sizes(selected) if rules else selected, boots, store)
    dealt = Shard() if rules else shard
    with Crew(experiment.workload, workers, backend, scheduler) as crew:
        identity = Identity(experiment.canonical(), workload.digest, simulator.kernel_hash())
        store.create_or_check(experiment, identity, tasks)
        if not rules and not _gaps(store, watch.active, boots, dealt):
            return selected
        asked = list(dict.fromkeys(task.id for task in selected))
        facts = {"boots": boots, "workers": workers, "backend": backend, "cells": len(selected), "tasks": asked}
        record = _begin(store, **facts, shard=str(shard), stop=rules)
        try:
            with progress:
                _simulate(crew, store, watch, dealt, started, progress, record)
        except BaseException:
            with suppress(UserError):  # that the disk is full, say, must not hide what ended the run
                _end(store, record, watch)
            raise
        _end(store, record, watch)
    return selected


def _simulate(
    crew: Crew,
    store: Store,
    watch: Watch,
    shard: Shard,
    started: float,
    progress: Progress,
    record: dict[str, Any],
) -> None:
    """From look to look, until no task is active: simulate and store what is missing, then let the rules look."""
    size = ChunkSize()
    tallies = Tallies(store)
    noted = time.monotonic()
    for number in watch.looks():
        gaps = _gaps(store, watch.active, number, shard)
        if gaps and record["boots_done"] == 0:
            if crew.here:
                warm_up(gaps[0].task, crew.source, progress)
            wanted = _gaps(store, watch.active, record["boots"], shard)
            tallies.expect(wanted)
            progress.start(_count(wanted), len(tallies.missing))
        with closing(crew.simulate(_chunks(gaps, size))) as finished:
            for done in finished if gaps else ():
                tallies.meet(done)
                store.write(done.chunk.task, done.outcomes)
                watch.add(done.chunk.task, done.outcomes)
                size.learn(done.chunk.count, done.seconds)
                _note(record, done.chunk)
                if time.monotonic() - noted > SECONDS_TO_RECORD:
                    noted = time.monotonic()
                    store.write_record("run", record)
                progress.tally(tallies.add(done))
                progress.advance(done.chunk.count, done.chunk.task.label)
                if watch.out_of_time(time.monotonic() - started):
                    return
        ended = watch.look(number)
        if ended:
            record["ended"] = dict(watch.ended)
            store.write_record("run", record)  # now: no later run may forget it, should this one be killed
        if record["boots_done"]:
            progress.less(_count(_gaps(store, ended, record["boots"], shard)))
            for tally in tallies.end(ended):
                progress.tally(tally)
    record["complete"] = True


def warm_up(task: Task, source: str, progress: Progress) -> None:
    """Compile the kernels, or load them from the cache, before the workers start."""
    with compiling("run", progress):
        simulator.simulate(task, source, 0, 0)  # of no boot: one may take long, and the main thread cannot leave it


def _gaps(store: Store, tasks: Sequence[Task], boots: int, shard: Shard) -> list[Gap]:
    """The boots below `boots` that the store lacks and that the shard is to simulate."""
    return [
        Gap(task, *block)
        for place, task in enumerate(tasks)
        for gap in store.missing(task, boots)
        for block in shard.blocks(place, *gap)
    ]


def _count(gaps: Sequence[Gap]) -> int:
    """How many boots these are."""
    return sum(gap.last - gap.first + 1 for gap in gaps)


def _chunks(gaps: Sequence[Gap], size: ChunkSize) -> Iterator[Chunk]:
    for gap in gaps:
        first = gap.first
        while first <= gap.last:
            count = min(size.boots, gap.last - first + 1)
            yield Chunk(gap.task, first, count)
            first += count


def workers_or_all(workers: int | None) -> int:
    """The number asked for, or that of the processors this process may use: by its affinity and its control group."""
    if workers is None:
        import joblib

        return int(joblib.cpu_count())
    if not 1 <= workers <= MAX_WORKERS:
        valid = f"a whole number from 1 to {MAX_WORKERS}"
        raise UserError(f"{workers} is not a number of workers", key="--workers", valid=valid)
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


def _begin(store: Store, **facts: Any) -> dict[str, Any]:
    """Note in the folder that a run begins; return its record (`mcsim.store.documents.RunRecord`)."""
    stored: dict[str, Any] = {"boots_done": 0, "complete": False, "ended": {}, "stored": {}, "tasks": []}
    record = {"id": secrets.token_hex(8), "started": _now(), "versions": versions(), **stored, **facts}
    store.write_record("run", record)
    return record


def _note(record: dict[str, Any], chunk: Chunk) -> None:
    """A chunk is stored: into the record of its run."""
    record["boots_done"] += chunk.count
    before = record["stored"].get(chunk.task.id, [])
    record["stored"][chunk.task.id] = union([*before, (chunk.first, chunk.first + chunk.count - 1)])


def _end(store: Store, record: dict[str, Any], watch: Watch) -> None:
    """Note in the folder how a run ended, and which rule ended which task."""
    unfinished = [task.id for task in watch.active]
    store.write_record("run", {**record, "finished": _now(), "ended": dict(watch.ended), "unfinished": unfinished})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
