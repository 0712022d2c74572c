"""`mcsim run --boot K`: one boot alone, in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from mcsim.errors import UserError
from mcsim.files import printable
from mcsim.model.experiment import MAX_BOOTS, Experiment, Task, select


def print_boot(experiment: Experiment, variants: Sequence[str], ram: Sequence[str], boot: int, verbose: bool) -> None:
    """Simulate boot `boot` of each selected cell and print what became of it."""
    from mcsim.run import engine
    from mcsim.run.progress import PlainLines
    from mcsim.simulator import simulator

    if not 0 <= boot < MAX_BOOTS:
        raise UserError(f"{boot} is out of range", key="--boot", valid=f"a whole number from 0 to {MAX_BOOTS - 1}")
    workload = simulator.load_workload(experiment.workload, experiment.board)
    tasks = select(experiment.tasks(workload.digest), variants, ram)
    engine.warm_up(tasks[0], experiment.workload, PlainLines(sys.stderr))  # there is one, else `select` had refused
    for task in tasks:
        outcome: Any = simulator.simulate(task, experiment.workload, boot, 1)[0]
        click.echo(printable(sentence(task, outcome, workload)))
        if verbose:
            click.echo("\n".join(details(task, outcome)))


def sentence(task: Task, outcome: Any, workload: Any) -> str:
    """`boot 17 of maple-naive at 32M failed: ...`."""
    from mcsim.model.failures import FAILURES

    start = f"boot {outcome['boot']} of {task.label}"
    if not outcome["failed"]:
        return f"{start} reached the login prompt"
    pid = int(outcome["process"])
    name = workload.process_name(int(outcome["recording"]), pid)
    what = FAILURES[int(outcome["failure_class"])].words
    return (
        f"{start} failed: {what} of order {outcome['order']} for process {pid} ({name}) "
        f"{outcome['time_us'] / 1e6:.3f} s after the first exec, {outcome['free_pages']} pages free, "
        f"largest free order {outcome['largest_free_order']}"
    )


def details(task: Task, outcome: Any) -> list[str]:
    """All fields of the outcome, and what defines the task."""
    assert outcome.dtype.names is not None
    policies = ", ".join(f"{name} = {value}" for name, value in task.policies.model_dump().items())
    return [
        *(f"  {name:<20} {outcome[name]}" for name in outcome.dtype.names),
        f"  policies             {policies}",
        f"  seed                 {task.seed}",
        f"  task                 {task.id}",
    ]
