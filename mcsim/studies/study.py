"""A study takes cells out of an experiment and runs as many boots of each as it needs, no fewer.

The stop rules of the experiment would end a cell before, and its sweep may leave the cell out: neither is used here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcsim.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment, Task
    from mcsim.model.release import Variant
    from mcsim.run.progress import Progress
    from mcsim.store.result import Result
    from mcsim.store.store import Store


def named(experiment: Experiment, name: str) -> Variant:
    """The variant of that name; UserError if the experiment has none."""
    known = {each.name: each for each in experiment.variants}
    if name not in known:
        what = f"{name!r} is not a variant of this experiment{did_you_mean(name, known)}"
        raise UserError(what, key="--variant", valid=", ".join(known))
    return known[name]


def any_size(experiment: Experiment, ram: str) -> int:
    """A RAM size in bytes, of the experiment or not. UserError for one that its machine cannot have."""
    from mcsim.model.units import parse_size

    try:
        size = parse_size(ram)
        experiment.board.check_ram(size)
    except UserError as error:
        raise error.at(key="--ram") from None
    return size


def any_cell(experiment: Experiment, variant: str, ram: str) -> Task:
    """The task of a variant at any RAM size of the machine. UserError if there is no such variant or size."""
    from mcsim.model.experiment import Task
    from mcsim.simulator import simulator

    digest = simulator.load_workload(experiment.workload, experiment.board).digest
    size = any_size(experiment, ram)
    policies = named(experiment, variant).policies
    return Task(variant, size, experiment.board, policies, digest, experiment.timing, experiment.seed)


def simulated(
    experiment: Experiment,
    folder: Path,
    boots: int,
    ram: Sequence[str],
    *,
    variants: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress,
) -> Result:
    """The result in `folder`, which has all boots below `boots` of these cells: those that it lacked are simulated."""
    from mcsim.model.experiment import select
    from mcsim.run import engine
    from mcsim.store.result import Result
    from mcsim.store.store import Store

    engine.run(
        experiment,
        Store(folder),
        lambda tasks: select(tasks, list(variants), list(ram)),
        boots=boots,
        workers=engine.workers_or_all(workers),
        backend="threads",
        progress=progress,
    )
    return Result(folder)


def everywhere(experiment: Experiment, name: str) -> Experiment:
    """The experiment under another name at all RAM sizes of its board, so that one folder serves any study.

    Every cell is run, and has all the boots asked for: without `stop` and `skipped`.
    """
    from mcsim.model.experiment import StopRules

    ram = tuple(experiment.board.all_ram())
    return dataclasses.replace(experiment, name=name, ram=ram, stop=StopRules(), skipped=frozenset())


def not_used(experiment: Experiment) -> list[str]:
    """A sentence about the tables of the experiment that no study takes; none where it has neither."""
    tables = [
        f"[{name}]" for name, there in (("stop", experiment.stop.given()), ("sweep", experiment.skipped)) if there
    ]
    if not tables:
        return []
    return [f"The experiment's {' and '.join(tables)} {'is' if len(tables) == 1 else 'are'} not used here."]


def first_boots(store: Store, task: Task, boots: int) -> pl.DataFrame:
    """The stored boots 0 to `boots` - 1 of a task, each once, ascending. UserError if one of them is not there."""
    frame = store.read(task)
    there = frame["boot"].to_numpy()[:boots] if frame.height else np.empty(0, np.int64)
    if not np.array_equal(there, np.arange(boots)):
        number = int(np.isin(np.arange(boots), there).sum())
        what = f"holds {number:,} of the first {boots:,} boots of {task.label}"
        raise UserError(what, file=store.path, valid="a folder of which no chunk was removed or renamed")
    return frame.head(boots)
