"""Where more RAM is worse: sizes at which a variant fails more often than with the next smaller size of the result.

Boot k is the same boot at every size, so neighbours are compared boot by boot, as variants are in
`mcsim.studies.compare`: exact McNemar test, Tango's interval, Holm over all pairs of neighbours of all variants.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mcsim.model.units import format_size
from mcsim.stats.intervals import check_level
from mcsim.stats.verdicts import estimates, judge
from mcsim.studies.compare import DELTA, failures_in_common, failures_of

if TYPE_CHECKING:
    import polars as pl

    from mcsim.store.result import Result

_TEXT, _WHOLE = ("variant", "smaller", "larger"), ("boots", "smaller_failures", "larger_failures")
COLUMNS = (*_TEXT, *_WHOLE, "difference", "low", "high", "adjusted", "level")


def rises(result: Result, level: float = 0.95, peeking: bool = False) -> pl.DataFrame:
    """The pairs of neighbouring sizes of which the larger one is worse, in the order of the result.

    Columns: variant, smaller and larger ("31M", "32M"), boots (those in common), failures of these at both, difference
    of P(OOM) with its interval at `level`, and the adjusted p-value, at most 1 - level. With `peeking` the intervals
    are confidence sequences at a level corrected for the number of pairs, and p-values are missing. A table without
    rows says that none was found, not that there is none.
    """
    import polars as pl

    check_level(level)
    rows = []
    for variant in result.experiment.variants:
        tasks = sorted((task for task in result.tasks if task.variant == variant.name), key=lambda task: task.ram)
        filled = [task for task in tasks if result.outcomes_of(task).height]
        for smaller, larger in pairwise(filled):
            here, there = failures_in_common([(failures_of(result, larger), failures_of(result, smaller))])
            if here.size:
                names = {
                    "variant": variant.name,
                    "smaller": format_size(smaller.ram),
                    "larger": format_size(larger.ram),
                }
                rows.append({**names, **estimates(here, there, level)})
    if rows:
        judge(rows, DELTA, level, peeking)  # of which only interval and adjusted p-value are used
    found = [
        {**row, "smaller_failures": row["baseline_failures"], "larger_failures": row["failures"]}
        for row in rows
        if row["low"] > 0.0 and (peeking or row["adjusted"] <= 1.0 - level)
    ]
    kinds = {name: pl.String if name in _TEXT else pl.Int64 if name in _WHOLE else pl.Float64 for name in COLUMNS}
    return pl.DataFrame([{name: row[name] for name in COLUMNS} for row in found], schema=kinds)
