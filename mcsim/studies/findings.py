"""All that a report says of a result, worked out before anything is drawn; failing boots are simulated once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError, did_you_mean
from mcsim.model.counts import open_counts_file, read_counts
from mcsim.model.units import format_size
from mcsim.simulator import simulator
from mcsim.store.result import Result
from mcsim.studies.compare import POOLED, compare, compare_counts
from mcsim.studies.explain import blame
from mcsim.studies.monotonic import rises
from mcsim.workload import shipped_workloads

if TYPE_CHECKING:
    import polars as pl

UNFIXED = "maple-naive"  # the kernel of the mail without a fix
BOOTS_BLAMED = 1000  # failing boots that are looked at again, of each variant
OTHER_KERNELS, NO_WORKLOAD = "other kernels", "no workload"


@dataclass(frozen=True)
class Blamed:
    """Who pins blocks at one RAM size, by variant (`mcsim.studies.explain.blame.of_boots`); of those alike, one.

    missing: OTHER_KERNELS or NO_WORKLOAD, if the boots cannot be simulated once more.
    """

    ram: str = ""
    owners: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Findings:
    """A result, and what it comes to.

    summary: a row a cell. peeking: a rule that looked at the boots ended cells. comparison: every variant against the
    baseline. rises: where more RAM is worse. counted: real boots beside ours, None where there are none. blamed: None
    where no boot fails.
    """

    result: Result
    baseline: str
    level: float
    summary: pl.DataFrame
    peeking: bool
    comparison: pl.DataFrame
    rises: pl.DataFrame
    counted: pl.DataFrame | None
    blamed: Blamed | None

    @property
    def groups(self) -> list[list[str]]:
        """Variants that fail in the same boots."""
        return self.result.groups


def findings(result: Result, level: float = 0.95, baseline: str | None = None, workload: str | None = None) -> Findings:
    """Work it out. UserError if there are no boots, or none of `baseline` (default: `usual_baseline`).

    `workload`: where it is now (default: where it was).
    """
    summary = result.summary(level)
    run = set(summary["variant"])
    names = [each.name for each in result.experiment.variants if each.name in run]
    if not names:
        raise UserError("holds no boots yet", file=result.path, valid="run the experiment first")
    if baseline is not None and baseline not in names:
        what = f"{baseline!r} is not a variant with boots in this result{did_you_mean(baseline, names)}"
        raise UserError(what, key="--baseline", valid=", ".join(names))
    chosen = baseline or usual_baseline(names)
    peeking = bool(result.ended())
    comparison = compare(result, chosen, level=level, peeking=peeking)
    blamed = None
    if summary["failures"].sum():
        ram = _size_to_blame(comparison, summary)
        blamed = _blamed(result, ram, chosen, level, workload)
    return Findings(
        result=result,
        baseline=chosen,
        level=level,
        summary=summary,
        peeking=peeking,
        comparison=comparison,
        rises=rises(result, level, peeking),
        counted=_counted(result, level),
        blamed=blamed,
    )


def usual_baseline(variants: Sequence[str]) -> str:
    """What to compare with unless told: the mail's kernel without a fix, else the first variant."""
    return UNFIXED if UNFIXED in variants else variants[0]


def workload_of(result: Result, given: str | None = None) -> str | None:
    """What `mcsim.workload.load` takes for the workload of the stored boots: what it took then, or `given`.

    None if another one is there now, or none. UserError if `given` is another one.
    """
    source, wanted = result.experiment.workload if given is None else given, result.manifest["workload"]
    try:
        digest = simulator.load_workload(source, result.experiment.board).digest
    except UserError as error:
        if given is None:
            return None
        raise error.at(key="--workload") from None
    if digest != wanted and given is not None:
        what = f"is not the workload of the stored boots: {digest[:12]} here, {wanted[:12]} there"
        raise UserError(what, file=given, key="--workload", valid="where it is now")
    return source if digest == wanted else None


def _size_to_blame(comparison: pl.DataFrame, summary: pl.DataFrame) -> str:
    """Where the largest difference is; without any, where most boots fail."""
    rows = [row for row in comparison.iter_rows(named=True) if row["ram"] != POOLED and row["difference"]]
    if rows:
        return str(max(rows, key=lambda row: abs(row["difference"]))["ram"])
    return str(summary.sort("failures")["ram"][-1])


def _blamed(result: Result, ram: str, baseline: str, level: float, workload: str | None) -> Blamed:
    if result.manifest["kernels"] != simulator.kernel_hash():
        return Blamed(missing=OTHER_KERNELS)
    source = workload_of(result, workload)
    if source is None:
        return Blamed(missing=NO_WORKLOAD)
    found: dict[str, pl.DataFrame] = {}
    for task in result.tasks:
        group = next((group for group in result.groups if group[0] == task.variant), None)
        if group is None or format_size(task.ram) != ram:
            continue
        outcomes = result.outcomes_of(task)
        failing = outcomes["boot"].filter(outcomes["failed"] != 0).to_list() if outcomes.height else []
        if failing:
            frame = blame.of_boots(task, source, failing[:BOOTS_BLAMED], level=level)
            name = baseline if baseline in group else group[0]
            found[name] = frame.filter(frame["order"] == frame["order"].max())
    return Blamed(ram, found)


def _counted(result: Result, level: float) -> pl.DataFrame | None:
    """Counts of real boots of the workload beside ours; None where there are none."""
    experiment = result.experiment
    if experiment.workload not in shipped_workloads():
        return None
    environment = Path(experiment.workload).name
    try:
        read = read_counts(open_counts_file(), [environment], [each.name for each in experiment.variants])
    except UserError:  # none of this environment
        return None
    frame = compare_counts(result, read.cells, level=level)
    return frame if frame.height else None
