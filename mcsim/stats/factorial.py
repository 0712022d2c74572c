"""Effects of factors that are varied together, and of those that are drawn anew in each boot.

A two-level factorial design, in which every cell boots the same boots (boot k meets the same random numbers). The
effect of a factor is the mean P of the cells at its high level less that of the cells at its low one; the interaction
of two is the same for the cells at which both are high or both low, against the others, which is half of what the one
changes in the effect of the other. Either way one half of the cells is compared with the other half on the same boots,
so that a boot contributes one net difference and is the unit: mcsim/stats/paired.py has the interval and the test.

Up to four factors all combinations are run. From five on the half in which the product of all signs is +1: then main
effects and interactions of two factors are mixed only with interactions of three and more (G. E. P. Box, J. S. Hunter,
Technometrics 3, 1961: resolution V and above).

Factors of the workload are drawn anew in each boot: how P differs between recordings, and between pre-init phases. With
Y = 1 for a failing boot, the mean of Y Y' over pairs of boots that have the recording in common and not the phase, less
that over pairs that have neither in common, estimates the variance of P between recordings without bias; for phases the
same (moments of crossed random effects: A. B. Owen, Annals of Applied Statistics 1, 2007). It may come out below 0. Its
error is that of the jackknife over recordings, or over phases (J. W. Tukey, 1958).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.stats import paired
from mcsim.stats.multiple import holm

FULL = 4  # factors of which all combinations are run


def design(factors: int) -> NDArray[np.int8]:
    """Signs, int8[cells, factors]: all combinations, or the half whose product is +1."""
    signs = np.array(list(itertools.product((-1, 1), repeat=factors)), np.int8)
    return signs if factors <= FULL else signs[signs.prod(axis=1) == 1]


def effects(failed: NDArray[np.bool_], signs: NDArray[np.int8], level: float) -> list[dict[str, Any]]:
    """Main effects and interactions of two factors, in the order of the factors.

    failed: bool[cells, boots]. Each has the `places` of its factors, difference, low, high, p_value, adjusted.
    """
    count = signs.shape[1]
    rows: list[dict[str, Any]] = []
    for places in [*itertools.combinations(range(count), 1), *itertools.combinations(range(count), 2)]:
        high = signs[:, list(places)].prod(axis=1) > 0
        net = paired.net_differences(failed[high], failed[~high])
        low_end, high_end = paired.interval(net, level)
        difference = paired.difference(net)
        rows.append(
            {
                "places": places,
                "difference": difference,
                "low": low_end,
                "high": high_end,
                "p_value": paired.p_value(net),
            }
        )
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["adjusted"] = adjusted
    return rows


def between(
    failed: NDArray[np.bool_], group: NDArray[np.integer], other: NDArray[np.integer]
) -> tuple[float, float, float]:
    """Variance of P between the levels of `group`, its share of P (1 - P), and the standard error of the share.

    failed: bool[cells, boots], group and other: of each boot. Means over the cells. NaN where no two boots differ in
    the level as needed, or all boots of all cells end alike.
    """
    _, group = np.unique(group, return_inverse=True)
    _, other = np.unique(other, return_inverse=True)
    groups, others = int(group.max()) + 1, int(other.max()) + 1
    place = group * others + other
    boots = np.bincount(place, minlength=groups * others).reshape(groups, others).astype(float)
    failures = [
        np.bincount(place, weights=cell, minlength=groups * others).reshape(groups, others).astype(float)
        for cell in failed
    ]
    variance, share = _shares(boots, failures)
    without = [
        _shares(np.delete(boots, each, 0), [np.delete(cell, each, 0) for cell in failures])[1] for each in range(groups)
    ]
    error = math.sqrt((groups - 1) / groups * float(np.square(np.array(without) - np.mean(without)).sum()))
    return variance, share, error


def _shares(boots: NDArray[np.float64], failures: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Mean variance between rows, and its share, from boots and failures float64[rows, columns] of each cell."""
    moments = np.array([_pairs(cell) for cell in failures])
    same_row, neither = _pairs(boots)
    total = boots.sum()
    p = np.array([cell.sum() for cell in failures]) / total if total else np.zeros(len(failures))
    whole = float((p * (1.0 - p)).mean())
    if same_row == 0.0 or neither == 0.0:
        return math.nan, math.nan
    variance = float((moments[:, 0] / same_row - moments[:, 1] / neither).mean())
    return variance, variance / whole if whole else math.nan


def _pairs(count: NDArray[np.float64]) -> tuple[float, float]:
    """Ordered pairs of things counted in a table: in the same row but not column, and in neither the same."""
    cells = float((count**2).sum())
    rows, columns = float((count.sum(axis=1) ** 2).sum()), float((count.sum(axis=0) ** 2).sum())
    return rows - cells, float(count.sum() ** 2) - rows - columns + cells
