"""Which boots a result folder lacks: of those that were stored once, of other parts of a run, below its largest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcsim.model.experiment import Task
from mcsim.store.ranges import Ranges, count, in_words, union, without
from mcsim.store.shard import Shard
from mcsim.store.store import Store

CELLS_SHOWN = 5


@dataclass(frozen=True)
class Lack:
    """What is not there of one cell; no boot is counted twice.

    gone: the records of runs say that it was stored. missing: it lies below the largest boot of the cell, or other
    parts of the run were to bring it. never_run: a run that did not end asked for it.
    """

    task: Task
    gone: Ranges
    missing: Ranges
    never_run: Ranges
    empty: bool  # a run asked for this cell, and no boot of it is there


class Coverage:
    """What a folder holds beside what its runs say that it should.

    A run without rules that ended brought all boots of its part that were not there before. Where a rule may end a
    cell, only what a run has stored is known. A folder with one part alone lacks no boot that is of another part.
    """

    def __init__(self, store: Store) -> None:
        """Of the folder as it is now."""
        self._store = store
        self._runs: list[dict[str, Any]] = store.manifest()["runs"]
        shards = [Shard.parse(run["shard"]) for run in self._runs]
        self._shards = shards
        self.parts = {of: {each.number for each in shards if each.of == of} for of in {each.of for each in shards}}

    @property
    def alone(self) -> Shard | None:
        """The one part of a run that the folder is, if it is one."""
        ((of, numbers),) = self.parts.items() if len(self.parts) == 1 else ((1, {1}),)
        return Shard(min(numbers), of) if of > 1 and len(numbers) == 1 else None

    @cached_property
    def lacks(self) -> list[Lack]:
        """The cells that lack boots."""
        tasks = {task.id: task for task in self._store.tasks()}.values()
        found = [self._lack(task) for task in tasks]
        return [each for each in found if each.gone or each.missing or each.never_run or each.empty]

    def _lack(self, task: Task) -> Lack:
        there = self._store.ranges(task)
        brought = [block for run in self._runs for block in run["stored"].get(task.id, [])]
        whole: list[tuple[int, int]] = []  # what all parts together were to bring
        begun: list[tuple[int, int]] = []
        asked = False
        for run, shard in zip(self._runs, self._shards, strict=True):
            if task.id not in run["tasks"]:
                continue
            ruled = bool(run["stop"])
            asked = asked or run["complete"]
            if not ruled:
                part = list(shard.blocks(run["tasks"].index(task.id), 0, run["boots"] - 1))
                (brought if run["complete"] else begun).extend(part)
                whole.append((0, run["boots"] - 1))
        gone = without(union(brought), there)
        known = union([*there, *gone])
        missing: Ranges = []
        if self.alone is None:
            below = [(0, there[-1][1])] if there else []
            missing = without(union([*below, *(whole if self._several_parts else [])]), known)
        never_run = without(union(begun), union([*known, *missing]))
        empty = asked and not there and self.alone is None and not gone and not missing
        return Lack(task, gone, missing, never_run, empty)

    @property
    def _several_parts(self) -> bool:
        return any(of > 1 for of in self.parts)

    def sentences(self) -> list[str]:
        """What a reader of the figures must know; nothing where nothing is missing."""
        lines = []
        if self.alone is not None:
            lines.append(f"Part {self.alone} of a run alone: the boots of the other parts are not here.")
        absent = [
            f"{number}/{of}"
            for of, numbers in sorted(self.parts.items())
            if of > 1
            for number in range(1, min(of, 1000) + 1)
            if number not in numbers
        ]
        lines += self._listed("Gone, though runs have stored them: boots", lambda lack: lack.gone)
        lines += self._listed("Not here: boots", lambda lack: lack.missing)
        empty = [lack.task.label for lack in self.lacks if lack.empty]
        if empty:
            lines.append(f"Not here: any boot of {_cells(empty)}.")
        if absent and self.alone is None and any(lack.missing or lack.empty for lack in self.lacks):
            shown = ", ".join(absent[:CELLS_SHOWN])
            more = f" and {len(absent) - CELLS_SHOWN} more" if len(absent) > CELLS_SHOWN else ""
            lines.append(f"No run of these parts is here: {shown}{more}.")
        return lines

    def never_run(self) -> list[str]:
        """A sentence about boots that a run that did not end asked for."""
        boots = sum(count(lack.never_run) for lack in self.lacks)
        if not boots:
            return []
        return [f"Not simulated yet: {boots:,} boots of a run that did not end; the same command continues it."]

    def _listed(self, words: str, of: Callable[[Lack], Ranges]) -> list[str]:
        """One sentence; cells that lack the same boots together."""
        cells: dict[str, list[str]] = {}
        for lack in self.lacks:
            if of(lack):
                cells.setdefault(in_words(of(lack)), []).append(lack.task.label)
        if not cells:
            return []
        shown = [f"{boots} of {_cells(labels)}" for boots, labels in list(cells.items())[:CELLS_SHOWN]]
        more = sum(len(labels) for labels in list(cells.values())[CELLS_SHOWN:])
        total = sum(count(of(lack)) for lack in self.lacks)
        last = f"; and of {more} more cells" if more else ""
        return [f"{words} {'; '.join(shown)}{last} ({total:,} in all)."]


def _cells(labels: list[str]) -> str:
    """`maple-naive at 32M, ...`, or how many cells."""
    if len(labels) <= CELLS_SHOWN:
        return ", ".join(labels)
    return f"{len(labels)} cells ({', '.join(labels[:2])}, ...)"
