"""When the cells of a run have enough boots.

Rules look at the boots 0 to n - 1 of a cell, for the numbers n of a fixed grid, and never at what happens to be done.
So the same rules end the same cells after the same boots on any number of workers. Wall time is the exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mcsim.errors import UserError
from mcsim.model.experiment import StopRules, Task
from mcsim.model.units import format_size
from mcsim.stats.stopping import Stopping, fired
from mcsim.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_LOOK = 100


def looks(boots: int) -> Iterator[int]:
    """The numbers of boots at which rules look: 100, 200, ..., later every quarter more, and `boots` at last."""
    number = FIRST_LOOK
    while number < boots:
        yield number
        number += max(FIRST_LOOK, number // 4 // FIRST_LOOK * FIRST_LOOK)
    yield boots


class Watch:
    """The cells that still need boots, and by which rule the others ended."""

    def __init__(self, rules: StopRules, tasks: Sequence[Task], boots: int, store: Store) -> None:
        """Over `tasks`, at most `boots` each; those of equal policies under two names count once."""
        self.active = list({task.id: task for task in tasks}.values())
        self.ended: dict[str, str] = {}  # id of the task -> the rule
        self._boots = boots
        self._ruled = bool(rules.given())
        self._stopping = Stopping(
            max_boots=boots,
            max_failures=rules.max_failures,
            half_width=rules.half_width,
            relative_half_width=rules.relative_half_width,
            wall_seconds=rules.wall_time,
            decided=rules.decided,
            delta=rules.delta,
            level=rules.level,
        )
        self._baseline = {task.ram: task.id for task in tasks if task.variant == rules.decided}
        if rules.decided is not None and tasks and not self._baseline:
            what = f"{rules.decided!r} is not among the cells of this run"
            raise UserError(what, key="stop.decided", valid=f"select it, too: --variant {rules.decided}")
        self._failing = {task.id: store.failing(task) for task in self.active} if self._ruled else {}

    def looks(self) -> Iterator[int]:
        """The numbers of boots at which `look` is to be called, until no cell is active."""
        for number in looks(self._boots) if self._ruled else (self._boots,):
            if not self.active:
                return
            yield number

    def add(self, task: Task, outcomes: NDArray[np.void]) -> None:
        """More boots of a task are done."""
        if self._ruled:
            import numpy as np

            found = outcomes["boot"][outcomes["failed"] != 0]
            self._failing[task.id] = np.union1d(self._failing[task.id], found)

    def look(self, number: int) -> list[Task]:
        """All active cells have boots 0 to `number` - 1: end those that have enough, and return them."""
        rules = replace(self._stopping, wall_seconds=None)
        before = list(self.active)
        for task in before:
            if not self._is_baseline(task):
                discordant = self._discordant(task, number)
                self._end(task, fired(rules, number, self._failures(task, number), 0.0, discordant))
        # A baseline goes on as long as any other variant is compared with it.
        compared = {task.ram for task in self.active if not self._is_baseline(task)}
        for task in before:
            if self._is_baseline(task) and task.ram not in compared:
                words = fired(rules, number, self._failures(task, number), 0.0)
                self._end(task, words or f"decided: all others at {format_size(task.ram)}, after {number} boots")
        return [task for task in before if task.id in self.ended]

    def out_of_time(self, seconds: float) -> bool:
        """Whether the rule of wall time ends the run now; then no cell is active any more."""
        words = fired(Stopping(wall_seconds=self._stopping.wall_seconds), 0, 0, seconds)
        for task in list(self.active):
            self._end(task, words)
        return words is not None

    def _end(self, task: Task, words: str | None) -> None:
        if words is not None:
            self.ended[task.id] = words
            self.active.remove(task)

    def _is_baseline(self, task: Task) -> bool:
        return task.id == self._baseline.get(task.ram)

    def _failures(self, task: Task, number: int) -> int:
        """How many of the boots below `number` failed."""
        return int((self._failing[task.id] < number).sum()) if self._ruled else 0

    def _discordant(self, task: Task, number: int) -> tuple[int, int] | None:
        """How many of the boots below `number` failed only in the task, and only in the baseline at its RAM size."""
        if task.ram not in self._baseline:
            return None
        import numpy as np

        own, other = (self._failing[each] for each in (task.id, self._baseline[task.ram]))
        own, other = own[own < number], other[other < number]
        both = len(np.intersect1d(own, other, assume_unique=True))
        return len(own) - both, len(other) - both
