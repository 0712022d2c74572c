"""Rows of a table of comparisons, from failures boot by boot: estimates, then verdicts over all rows.

Verdicts, for a tolerance `delta` (docs/statistics.md says how to read them):

equivalent  the interval of the difference lies within -delta .. +delta
differs     it does not, and the p-value, adjusted by Holm over all rows, is at most 1 - level
undecided   neither
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.stats import paired
from mcsim.stats.intervals import Interval, corrected
from mcsim.stats.intervals import interval as rate_interval
from mcsim.stats.multiple import holm
from mcsim.stats.sequences import difference_sequence

DIFFERS, EQUIVALENT, UNDECIDED = "differs", "equivalent", "undecided"


def verdict(interval: Interval, adjusted: float, delta: float, level: float) -> str:
    """One of the three words."""
    if -delta <= interval.low and interval.high <= delta:
        return EQUIVALENT
    return DIFFERS if adjusted <= 1.0 - level else UNDECIDED


def estimates(variant: NDArray[np.bool_], baseline: NDArray[np.bool_], level: float) -> dict[str, Any]:
    """What one row says about failures bool[sizes, boots]."""
    sizes, boots = variant.shape
    net = paired.net_differences(variant, baseline)
    discordant = int((variant != baseline).any(axis=0).sum())
    interval = paired.interval(net, level)
    return {
        "sizes": sizes,
        "boots": boots,
        "failures": int(variant.sum()),
        "baseline_failures": int(baseline.sum()),
        "p": float(variant.mean()),
        "baseline_p": float(baseline.mean()),
        "difference": paired.difference(net),
        "low": interval.low,
        "high": interval.high,
        "better": int(net[:sizes].sum()),
        "worse": int(net[sizes + 1 :].sum()),
        "discordant": discordant,
        "discordant_high": rate_interval(discordant, boots, level).high,
        "p_value": paired.p_value(net),
        "_net": net,
    }


def judge(rows: list[dict[str, Any]], delta: float, level: float, peeking: bool = False) -> None:
    """Add adjusted p-values and verdicts to the rows of one table."""
    adjusted = holm([row["p_value"] for row in rows])
    for row, value in zip(rows, adjusted, strict=True):
        net = row.pop("_net", None)
        if peeking:
            low, high = _sequence(net, corrected(level, len(rows)))
            value = 0.0 if low > 0.0 or high < 0.0 else 1.0
            row.update(low=low, high=high, p_value=None)
        row["adjusted"] = None if peeking else value
        row["verdict"] = verdict(Interval(row["low"], row["high"]), value, delta, level)
        row.update(delta=delta, level=level)


def _sequence(net: paired.Net, level: float) -> Interval:
    """The confidence sequence for the mean of s / m: a boot counts as the share of a failure that it is."""
    sizes = net.size // 2
    shares = np.arange(1, sizes + 1) / sizes
    worse, better = float(net[sizes + 1 :] @ shares), float(net[:sizes][::-1] @ shares)
    return difference_sequence(worse, better, int(net.sum()), level)
