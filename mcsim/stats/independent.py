"""Two independent samples, for example simulated boots and real ones: difference, interval, exact test."""

from __future__ import annotations

import math
from functools import cache

from mcsim.stats.intervals import Interval
from mcsim.stats.intervals import interval as one_interval

MOST_BOSCHLOO = 200  # boots of both: 0.05 s; the time grows with their square


def p_value(failures: int, boots: int, other_failures: int, other_boots: int) -> float:
    """Two-sided, exact, given the total of the failures (R. A. Fisher, JRSS 98, 1935)."""
    from scipy.stats import fisher_exact

    table = [[failures, boots - failures], [other_failures, other_boots - other_failures]]
    return float(fisher_exact(table).pvalue)


def boschloo(failures: int, boots: int, other_failures: int, other_boots: int) -> float | None:
    """Two-sided, exact, given the boots alone (R. D. Boschloo, Statistica Neerlandica 24, 1970).

    Twice the smaller of the two one-sided p, each of which is at most Fisher's; the two-sided one may be above
    Fisher's, which adds up improbable tables instead. None above MOST_BOSCHLOO boots of both. Exchanging the samples
    changes no bit of it.
    """
    if boots + other_boots > MOST_BOSCHLOO:
        return None
    return _boschloo(*sorted([(failures, boots), (other_failures, other_boots)]))


@cache
def _boschloo(one: tuple[int, int], other: tuple[int, int]) -> float:
    from scipy.stats import boschloo_exact

    table = [[one[0], other[0]], [one[1] - one[0], other[1] - other[0]]]
    return float(boschloo_exact(table).pvalue)


def interval(failures: int, boots: int, other_failures: int, other_boots: int, level: float = 0.95) -> Interval:
    """For the difference of the rates: Wilson's intervals squared and added.

    Method 10 of R. G. Newcombe, Statistics in Medicine 17, 1998, p. 873. Without boots on one side [-1, 1].
    """
    if not (boots and other_boots):
        return Interval(-1.0, 1.0)
    p, q = failures / boots, other_failures / other_boots
    here = one_interval(failures, boots, level, "wilson")
    there = one_interval(other_failures, other_boots, level, "wilson")
    return Interval(
        p - q - math.hypot(p - here.low, there.high - q),
        p - q + math.hypot(here.high - p, q - there.low),
    )
