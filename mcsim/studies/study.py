"""A study takes cells out of an experiment and runs as many boots of each as it needs, no fewer.

The stop rules of the experiment would end a cell before, and its sweep may leave the cell out: neither is used here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from mcsim.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment, Task
    from mcsim.model.variants import Variant
    from mcsim.store.store import Store


def named(experiment: Experiment, name: str) -> Variant:
    """The variant of that name; UserError if the experiment has none."""
    known = {each.name: each for each in experiment.variants}
    if name not in known:
        what = f"{name!r} is not a variant of this experiment{did_you_mean(name, known)}"
        raise UserError(what, key="--variant", valid=", ".join(known))
    return known[name]


def everywhere(experiment: Experiment, name: str) -> Experiment:
    """The experiment under another name at all RAM sizes of its board, so that one folder serves any study.

    Every cell is run, and has all the boots asked for: without `stop` and `skipped`.
    """
    from mcsim.model.experiment import StopRules

    ram = experiment.board.all_ram()
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
