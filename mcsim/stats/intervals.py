"""Intervals for the probability behind `failures` out of `boots`.

Exact (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934) never covers less often than its level; Wilson (E. B. Wilson,
JASA 22, 1927) is narrower and covers it on average. Both are those of `scipy.stats.binomtest` (a test
compares them), from the quantiles of `scipy.special`: to import scipy.stats takes longer than a small run.
"""

import math
from typing import Literal, NamedTuple

from mcsim.errors import UserError

Method = Literal["exact", "wilson"]
LEVELS = (0.5, 0.999999)  # that may be asked for


class Interval(NamedTuple):
    """From `low` to `high`, both in [0, 1]."""

    low: float
    high: float


def interval(failures: int, boots: int, level: float = 0.95, method: Method = "exact") -> Interval:
    """The two-sided interval; no boots give [0, 1].

    Zero failures give low = 0 and an upper bound above 0; all failures give high = 1 and a lower bound below
    1.
    """
    check_counts(failures, boots, level)
    if boots == 0:
        return Interval(0.0, 1.0)
    low, high = {"exact": _exact, "wilson": _wilson}[method](failures, boots, level)
    # Rounding leaves 1e-17 instead of the 0 and 1 that are meant.
    low = 0.0 if failures == 0 else max(0.0, low)
    high = 1.0 if failures == boots else min(1.0, high)
    return Interval(low, high)


def _exact(failures: int, boots: int, level: float) -> tuple[float, float]:
    from scipy.special import betainccinv, betaincinv

    tail = 0.5 * (1.0 - level)
    low = betaincinv(failures, boots - failures + 1, tail) if failures else 0.0
    high = betainccinv(failures + 1, boots - failures, tail) if failures < boots else 1.0
    return float(low), float(high)


def _wilson(failures: int, boots: int, level: float) -> tuple[float, float]:
    from scipy.special import ndtri

    z = -float(ndtri(0.5 * (1.0 - level)))
    center = failures + 0.5 * z * z
    half = z * math.sqrt(failures * (boots - failures) / boots + 0.25 * z * z)
    return (center - half) / (boots + z * z), (center + half) / (boots + z * z)


def check_level(level: float) -> None:
    """UserError unless `level` is one that can be asked for: corrected for many rows, 1 - level still has digits."""
    low, high = LEVELS
    if not low <= level <= high:
        raise UserError(f"{level} is not a level", valid=f"a number from {low} to {high}, as 0.95")


def corrected(level: float, rows: int) -> float:
    """The level of each of so many rows, so that all of them hold together at `level` (Bonferroni)."""
    return 1.0 - (1.0 - level) / rows


def check_counts(failures: float, boots: float, level: float) -> None:
    """ValueError for more failures than boots; UserError unless `level`, perhaps a corrected one, is inside (0, 1)."""
    if not 0.0 < level < 1.0:
        check_level(level)
    if not 0 <= failures <= boots:
        raise ValueError(f"{failures} failures of {boots} boots")


def shown(failures: int, trials: int, low: float, high: float) -> tuple[str, float]:
    """What to print for a share: never a bare 0 or 1, but "<" or ">" and the bound that none or all allow."""
    if failures == 0:
        return "<", high
    return (">", low) if failures == trials else ("", failures / trials)
