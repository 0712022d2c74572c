"""One boot looked at from all sides: its end, its memory, its course, and where another variant takes another one."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcsim.model.experiment import Task
from mcsim.simulator.values import Ending, Snapshot
from mcsim.simulator.walk import Walk
from mcsim.studies.explain.blocks import Block, blocks_of
from mcsim.studies.explain.divergence import Divergence, diverge
from mcsim.studies.explain.timeline import Timeline


@dataclass(frozen=True)
class OneBoot:
    """One boot of a task, as far as it got; `divergence` only where another variant was asked for."""

    task: Task
    number: int
    ending: Ending
    memory: Snapshot
    timeline: Timeline
    blocks: list[Block] = field(repr=False)
    divergence: Divergence | None = None

    @property
    def title(self) -> str:
        """`boot 17 of maple-naive at 32M`."""
        return f"boot {self.number} of {self.task.label}"


def explain(task: Task, source: str, number: int, other: Task | None = None) -> OneBoot:
    """Simulate boot `number` of a task, look at it, and compare it with the same boot of another variant.

    `source` is what `mcsim.simulator.simulator.load_workload` takes.
    """
    walk = Walk(task, source, number)
    # Which order is needed is known when the boot has ended: so it is placed twice.
    walk.finish()
    ending = walk.ending()
    again = Walk(task, source, number)
    noted = Timeline(ending.order, task.board.machine.page_size)
    noted.note(again)
    while not again.ended:
        again.step()
        noted.note(again)
    memory = walk.snapshot()
    parted = None if other is None else diverge(Walk(task, source, number), Walk(other, source, number))
    return OneBoot(task, number, ending, memory, noted, blocks_of(memory, ending.order), parted)
