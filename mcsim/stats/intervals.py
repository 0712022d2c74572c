"""Intervals for the probability behind `failures` out of `boots`.

Both come from `scipy.stats.binomtest(...).proportion_ci`: exact (C. J. Clopper, E. S. Pearson, Biometrika 26,
1934) never covers less often than its level; Wilson (E. B. Wilson, JASA 22, 1927) is narrower and covers it
on average.
"""

from typing import Literal, NamedTuple

from mcsim.errors import UserError

Method = Literal["exact", "wilson"]


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
    from scipy.stats import binomtest

    found = binomtest(failures, boots).proportion_ci(confidence_level=level, method=method)
    # Rounding in scipy's Wilson formula leaves 1e-17 instead of the 0 and 1 that it means.
    low = 0.0 if failures == 0 else float(found.low)
    high = 1.0 if failures == boots else float(found.high)
    return Interval(max(0.0, low), min(1.0, high))


def check_level(level: float) -> None:
    """UserError unless `level` is one."""
    if not 0.0 < level < 1.0:
        raise UserError(f"{level} is not a level", valid="a number between 0 and 1, as 0.95")


def check_counts(failures: float, boots: float, level: float) -> None:
    """The same, and ValueError for more failures than boots."""
    check_level(level)
    if not 0 <= failures <= boots:
        raise ValueError(f"{failures} failures of {boots} boots")
