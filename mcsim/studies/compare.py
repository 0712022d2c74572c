"""Every variant of a result against a baseline, boot by boot; or its cells against counts of other boots."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError, did_you_mean
from mcsim.model.experiment import Task, select
from mcsim.model.units import format_size
from mcsim.stats import independent
from mcsim.stats.intervals import check_level
from mcsim.stats.verdicts import estimates, judge

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.counts import Cell
    from mcsim.store.result import Result

POOLED = "pooled"
DELTA = 0.02


class Failures(NamedTuple):
    """The stored boots of one cell, ascending: boot int64[n], failed bool[n]."""

    boot: NDArray[np.int64]
    failed: NDArray[np.bool_]


def compare(
    result: Result,
    baseline: str,
    *,
    ram: Iterable[str] = (),
    delta: float = DELTA,
    level: float = 0.95,
    peeking: bool = False,
) -> pl.DataFrame:
    """A row for each other variant and RAM size that has boots in common with the baseline, then one for all sizes.

    `ram`: sizes to choose (default: all). `peeking`: verdicts that hold although the run was looked at before, or was
    stopped by what it showed: intervals are confidence sequences at a level corrected for the number of rows, and
    p-values are missing. It is so, too, where a rule that looked at the boots ended any cell of the result.

    Columns: variant, baseline, ram ("32M" or "pooled"), sizes, boots (those in common), failures and
    baseline_failures (cells, so up to sizes * boots), p, baseline_p, difference (p - baseline_p), low, high, better
    and worse (boots in which the variant fails at fewer, or more, sizes), discordant (boots in which any size differs)
    and the upper end of its exact interval as a share, p_value, adjusted, verdict, delta, level.
    """
    check_level(level)
    _check_delta(delta)
    names = list(dict.fromkeys(task.variant for task in result.tasks))
    if baseline not in names:
        what = f"{baseline!r} is not a variant of this result{did_you_mean(baseline, names)}"
        raise UserError(what, key="--baseline", valid=", ".join(names))
    cells = {(task.variant, task.ram): failures_of(result, task) for task in select(result.tasks, ram=ram)}
    sizes = sorted({size for _, size in cells})
    rows = []
    for name in names:
        if name != baseline:
            # A sweep may leave cells out.
            both = [size for size in sizes if {(name, size), (baseline, size)} <= cells.keys()]
            pairs = {size: (cells[name, size], cells[baseline, size]) for size in both}
            rows += _rows_of_variant(pairs, {"variant": name, "baseline": baseline}, level)
    judge(rows, delta, level, peeking or bool(result.ended()))
    return _frame(rows)


def _check_delta(delta: float) -> None:
    if not 0.0 < delta < 1.0:
        raise UserError(f"{delta} is out of range", key="--delta", valid="a number between 0 and 1, as 0.02")


def failures_of(result: Result, task: Task) -> Failures:
    """The stored boots of a task."""
    outcomes = result.outcomes_of(task)
    if outcomes.height == 0:
        return Failures(np.empty(0, np.int64), np.empty(0, np.bool_))
    return Failures(outcomes["boot"].to_numpy(), outcomes["failed"].to_numpy() == 1)


def _rows_of_variant(
    pairs: dict[int, tuple[Failures, Failures]], names: dict[str, Any], level: float
) -> list[dict[str, Any]]:
    """The rows of one variant, without verdicts."""
    rows = []
    for size, pair in pairs.items():
        variant, other = failures_in_common([pair])
        if variant.size:
            rows.append({**names, "ram": format_size(size), **estimates(variant, other, level)})
    filled = [pair for pair in pairs.values() if failures_in_common([pair])[0].size]
    if len(filled) > 1:
        variant, other = failures_in_common(filled)
        if variant.size:
            rows.append({**names, "ram": POOLED, **estimates(variant, other, level)})
    return rows


def failures_in_common(pairs: Sequence[tuple[Failures, Failures]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Failures of variant and baseline, bool[sizes, boots], of the boots that all cells have."""
    boots = pairs[0][0].boot
    for pair in pairs:
        for cell in pair:
            boots = np.intersect1d(boots, cell.boot, assume_unique=True)
    variant, baseline = (
        np.array([pair[side].failed[np.searchsorted(pair[side].boot, boots)] for pair in pairs]) for side in (0, 1)
    )
    return variant, baseline


def compare_counts(
    result: Result,
    cells: Collection[Cell],
    *,
    baseline: str | None = None,
    ram: Iterable[str] = (),
    delta: float = DELTA,
    level: float = 0.95,
) -> pl.DataFrame:
    """Counts of other boots, for example real ones, against the simulated ones: a row for each cell that has both.

    A count is compared with the simulated cell of the same kernel (the variant of the same name, else the one with the
    same policies) at the same RAM size, or with the cell of `baseline` whatever kernel was counted. Counts under
    another noise setting than that of the result are left out.

    Columns: variant (as counted), baseline (the simulated one), ram, boots and failures (counted), baseline_boots and
    baseline_failures (simulated), p, baseline_p, difference, low, high, p_value, adjusted, verdict, delta, level.
    """
    check_level(level)
    _check_delta(delta)
    tasks = {(task.variant, task.ram): task for task in select(result.tasks, [baseline] if baseline else [], ram)}
    rows = []
    for cell in cells:
        name = baseline or _same_kernel(result, cell.place.variant)
        task = tasks.get((name or "", cell.place.ram_mb << 20))
        if task is None or cell.place.jitter != result.experiment.timing.jitter:
            continue
        simulated = failures_of(result, task).failed
        if simulated.size:
            rows.append(_independent(cell, task, int(simulated.sum()), simulated.size, level))
    judge(rows, delta, level)
    return _frame(rows, COUNTS_COLUMNS)


def _same_kernel(result: Result, name: str) -> str | None:
    """The variant of the result that stands for a counted kernel."""
    from mcsim.model.recorded_kernels import recorded_variants

    variants = {each.name: each for each in result.experiment.variants}
    recorded = recorded_variants().get(name)
    if name in variants or recorded is None:
        return name if name in variants else None
    policies = recorded.policies.on(result.experiment.board)
    return next((each.name for each in variants.values() if each.policies == policies), None)


def _independent(cell: Cell, task: Task, failures: int, boots: int, level: float) -> dict[str, Any]:
    counts = (cell.failures, cell.boots, failures, boots)
    low, high = independent.interval(*counts, level)
    return {
        "variant": cell.place.variant,
        "baseline": task.variant,
        "ram": format_size(task.ram),
        "boots": cell.boots,
        "failures": cell.failures,
        "baseline_boots": boots,
        "baseline_failures": failures,
        "p": cell.failures / cell.boots,
        "baseline_p": failures / boots,
        "difference": cell.failures / cell.boots - failures / boots,
        "low": low,
        "high": high,
        "p_value": independent.p_value(*counts),
    }


_TEXT, _WHOLE = ("variant", "baseline", "ram", "verdict"), ("sizes", "better", "worse", "discordant")
_VERDICT = ("p_value", "adjusted", "verdict", "delta", "level")
COLUMNS = (
    *("variant", "baseline", "ram", "sizes", "boots", "failures", "baseline_failures", "p", "baseline_p"),
    *("difference", "low", "high", "better", "worse", "discordant", "discordant_high", *_VERDICT),
)
COUNTS_COLUMNS = (
    *("variant", "baseline", "ram", "boots", "failures", "baseline_boots", "baseline_failures", "p", "baseline_p"),
    *("difference", "low", "high", *_VERDICT),
)


def _frame(rows: list[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> pl.DataFrame:
    import polars as pl

    def kind(name: str) -> type[pl.DataType]:
        if name in _TEXT:
            return pl.String
        return pl.Int64 if name in _WHOLE or name.endswith(("boots", "failures")) else pl.Float64

    return pl.DataFrame(rows, schema={name: kind(name) for name in columns})
