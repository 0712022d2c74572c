"""One cell of an experiment, as options name it."""

from __future__ import annotations

from mcsim.errors import UserError, did_you_mean
from mcsim.model.experiment import Experiment, Task, select
from mcsim.model.units import format_size
from mcsim.simulator import simulator

LOOKED_AT = 1000  # boots among which a failing one is looked for


def one_task(experiment: Experiment, variant: str, ram: str) -> Task:
    """The task of that variant and RAM size. UserError if either is unknown, or names more than one."""
    sizes = [format_size(each) for each in experiment.ram]
    tasks = experiment.tasks(simulator.load_workload(experiment.workload, experiment.board).digest)
    chosen = select(tasks, [variant], [ram])
    if len(chosen) != 1:
        what = "is more than one size" if chosen else f"is left out of this experiment for {variant}"
        raise UserError(f"{ram!r} {what}", key="--ram", valid=", ".join(sizes))
    return chosen[0]


def other_task(experiment: Experiment, name: str, task: Task) -> Task:
    """The task of another variant at the same RAM size. UserError if there is none."""
    names = [each.name for each in experiment.variants if each.name != task.variant]
    if name not in names:
        what = "is the same variant" if name == task.variant else "is not a variant of this experiment"
        raise UserError(f"{name!r} {what}{did_you_mean(name, names)}", key="--compare", valid=", ".join(names))
    return one_task(experiment, name, format_size(task.ram))


def first_failing(task: Task, source: str) -> int:
    """The number of the first boot that fails. UserError if none of the first LOOKED_AT does."""
    for first in range(0, LOOKED_AT, 100):
        outcomes = simulator.simulate(task, source, first, 100)
        failed = outcomes["failed"].nonzero()[0]
        if len(failed):
            return int(outcomes["boot"][failed[0]])
    what = f"none of the first {LOOKED_AT} boots of {task.label} fails"
    raise UserError(what, key="--boot", valid="the number of a boot; it is then shown at its prompt")
