"""A result folder as data frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError, did_you_mean
from mcsim.model.experiment import Experiment, Task
from mcsim.model.units import format_size, parse_size
from mcsim.store.store import Store

if TYPE_CHECKING:
    import polars as pl

    from mcsim.store.checked import Checked


class Result:
    """What a run left behind; everything is read from the folder, so tables can be made again at any time."""

    def __init__(self, path: str | Path) -> None:
        """The result folder at `path`; UserError if it is none, or if it is damaged."""
        self.store = Store.open(path)
        self.path = self.store.path
        self.manifest: dict[str, Any] = self.store.manifest()
        self.experiment: Experiment = self.store.experiment()
        self.tasks: list[Task] = self.experiment.tasks(self.manifest["workload"])
        self.checked: Checked | None = None  # by the run that this object comes from
        self._outcomes: dict[str, pl.DataFrame] = {}
        self._summaries: dict[float, pl.DataFrame] = {}

    def outcomes(self, variant: str, ram: str | int) -> pl.DataFrame:
        """One row a boot of one cell: boot, recording, failed, failure_class, order, process, time_us, ...

        `ram` is a size such as "32M", or bytes.
        """
        size = ram if isinstance(ram, int) else parse_size(ram)
        for task in self.tasks:
            if task.variant == variant and task.ram == size:
                return self.outcomes_of(task)
        names = [each.name for each in self.experiment.variants]
        sizes = " ".join(map(format_size, self.experiment.ram))
        hint = did_you_mean(variant, names) if variant not in names else ""
        raise UserError(
            f"there is no cell {variant!r} at {format_size(size)}{hint}",
            file=self.path,
            valid=f"{', '.join(names)}; {sizes}",
        )

    def outcomes_of(self, task: Task) -> pl.DataFrame:
        """The same for a task; empty if none of its boots is stored. Read once, checksums checked."""
        if task.id not in self._outcomes:
            self._outcomes[task.id] = self.store.read(task)
        return self._outcomes[task.id]

    def ended(self) -> list[str]:
        """A sentence about the rules that ended cells; none where all cells have the boots asked for."""
        words = self.manifest.get("ended", {})
        cells: dict[str, list[Task]] = {}
        for task in self.tasks:
            if task.id in words:
                cells.setdefault(words[task.id].partition(":")[0], []).append(task)
        if cells.keys() <= {"max_boots"}:
            return []
        counts = ", ".join(f"{rule} {len(tasks)}" for rule, tasks in sorted(cells.items()))
        return [f"Which rule ended how many cells: {counts}."]

    def missing(self) -> list[str]:
        """Sentences about boots that are gone or not here; none where every boot that there should be is there."""
        from mcsim.store.coverage import Coverage

        return Coverage(self.store).sentences()

    @cached_property
    def groups(self) -> list[list[str]]:
        """The variants that have boots, those with the same failing boots at every RAM size together."""
        import hashlib

        groups: dict[tuple[Any, ...], list[str]] = {}
        for variant in self.experiment.variants:
            key = []
            for task in self.tasks:
                if task.variant == variant.name:
                    outcomes = self.outcomes_of(task)
                    rows = (
                        outcomes.filter(outcomes["failed"] == 1)["boot"].to_numpy().tobytes()
                        if outcomes.height
                        else b""
                    )
                    key.append((task.ram, outcomes.height, hashlib.sha256(rows).digest()))
            if any(boots for _, boots, _ in key):
                groups.setdefault(tuple(key), []).append(variant.name)
        return list(groups.values())

    def rule(self, task: Task) -> str | None:
        """Which rule ended a task, `RULE: words`; None if its run did not end."""
        ended: dict[str, str] = self.manifest.get("ended", {})
        return ended.get(task.id)

    def summary(self, level: float = 0.95) -> pl.DataFrame:
        """One row a cell: boots, failures, P(OOM), exact and Wilson interval at `level`, failure classes."""
        from mcsim.store.summary import summarize

        if level not in self._summaries:
            self._summaries[level] = summarize([(task, self.outcomes_of(task)) for task in self.tasks], level)
        return self._summaries[level]
