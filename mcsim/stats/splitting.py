"""A probability so small that plain boots hardly ever fail: multilevel splitting.

Each boot has a *danger* (kernels/boot/splitting.py), infinite for one that fails. Levels of danger lead up to failure.
A *chain* starts with `size` plain boots of one recording. At each level it keeps those above it, copies them until
there are `size` again, and moves the copies: parts of the random numbers of each are drawn anew, and what comes of that
is taken if it is still above the level. Its estimate is the product, over the levels and failure, of the share of boots
above them. A repetition is a chain of each recording, and its estimate their mean: boots draw each recording as likely
as another.

Unbiased: a move proposes independent new values for coordinates chosen without looking at the boot, and takes them if
the boot stays above the level. That is a Metropolis step, which leaves the law of boots above the level as it is. With
n boots above the level each has size / n copies in the mean. So the expectation of (product of the shares up to level
j) times (mean of f over the copies after their moves) is P(above j) E(f | above j) for any f: true for the first level,
and if for one, then for the next (P. Del Moral, Feynman-Kac Formulae, 2004, theorem 7.4.2; F. Cerou, P. Del Moral, T.
Furon, A. Guyader, Statistics and Computing 22, 2012; Z. I. Botev, D. P. Kroese, the same volume). With f = 1 for
failing boots that is P(OOM). It holds for any levels, moves and sizes fixed beforehand: bad ones cost precision only.

Levels come from a pilot with random numbers of its own, one for each recording, which is not part of the estimate.
Sizes of chains come from it, too: they go with the square root of its estimate (`chain_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

KEPT = 0.2  # share of boots above a level, in the pilot
SMALLEST = 1e-10  # how rare the last level may be; what is rarer is not looked for
SMALLEST_CHAIN = 0.2  # of the mean size


class Population(Protocol):
    """`size` boots that can be copied and moved: mcsim/simulator/population.py."""

    dangers: NDArray[np.float64]
    boots: int

    def start(self) -> None:
        """Plain boots."""
        ...

    def move(self, level: float) -> float:
        """Move each under the condition that its danger stays above the level; the share of moves that was taken."""
        ...

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Put boot chosen[i] in the place of boot i."""
        ...

    def below(self, limit: int, stage: int) -> int:
        """A random number in [0, limit)."""
        ...


class Chain(NamedTuple):
    """above: boots above each level, and last those that failed; moved: share of moves taken at each level.

    failed: how many of the plain boots at the start failed.
    """

    size: int
    failed: int
    above: list[int]
    moved: list[float]
    boots: int

    @property
    def estimate(self) -> float:
        """Of P(OOM) of boots of this recording."""
        return math.prod(count / self.size for count in self.above)


class Estimate(NamedTuple):
    """p with its interval; error: standard error of p relative to p, infinite if p is 0."""

    p: float
    low: float
    high: float
    error: float


def copies(above: NDArray[np.int64], size: int, start: int) -> NDArray[np.int64]:
    """`size` of the boots `above` a level: each equally often, and from place `start` on one more where it must be."""
    return above[(start + np.arange(size)) % len(above)]


def next_level(dangers: NDArray[np.float64], level: float) -> float:
    """Above which a share KEPT of the dangers lies, infinite if failure is next or no danger is above `level`."""
    candidates = np.unique(dangers[dangers >= level])
    wanted = np.quantile(dangers, 1.0 - KEPT, method="lower")
    higher = candidates[(candidates >= wanted) & (candidates > level) & (candidates < dangers.max())]
    return float(higher[0]) if len(higher) else math.inf


class Pilot(NamedTuple):
    """levels: between plain boots and failure, ascending; estimate: what the pilot itself says of P(OOM)."""

    levels: list[float]
    estimate: float
    boots: int


def pilot(population: Population) -> Pilot:
    """Find levels that a share KEPT of the boots exceeds."""
    levels: list[float] = []
    level, reached = -1.0, 1.0
    population.start()
    while reached > SMALLEST:
        level = next_level(population.dangers, level)
        if level == math.inf or np.mean(population.dangers == math.inf) >= KEPT:
            break
        above = np.flatnonzero(population.dangers > level)
        levels.append(level)
        reached *= len(above) / len(population.dangers)
        population.keep(copies(above, len(population.dangers), population.below(len(above), len(levels))))
        population.move(level)
    failed = float(np.mean(population.dangers == math.inf))
    return Pilot(levels, reached * failed, population.boots)


def chain_sizes(estimates: Sequence[float], size: int) -> list[int]:
    """How large the chain of each recording is: `size` in the mean, a little more because of SMALLEST_CHAIN.

    The standard error of a chain goes with its P(OOM), so that Neyman's allocation would be sizes in proportion to it.
    But a pilot may err tenfold or find nothing: the square root and SMALLEST_CHAIN are for those.
    """
    roots = np.sqrt(estimates)
    if not roots.any():
        return [size] * len(estimates)
    sizes = np.rint(size * len(estimates) * roots / roots.sum()).astype(int)
    return [int(each) for each in np.maximum(sizes, math.ceil(SMALLEST_CHAIN * size))]


def climb(population: Population, levels: Sequence[float]) -> Chain:
    """One chain over fixed levels."""
    size = len(population.dangers)
    counts: list[int] = []
    moved: list[float] = []
    population.start()
    failed = int((population.dangers == math.inf).sum())
    for stage, level in enumerate(levels, 1):
        above = np.flatnonzero(population.dangers > level)
        counts.append(len(above))
        if not len(above):
            break
        population.keep(copies(above, size, population.below(len(above), stage)))
        moved.append(population.move(level))
    else:
        counts.append(int((population.dangers == math.inf).sum()))
    return Chain(size, failed, counts, moved, population.boots)


def estimate(values: Sequence[float], level: float) -> Estimate:
    """Mean of independent unbiased estimates, and an interval: the hull of two.

    Estimates are products and skewed to the right, so both intervals are for the logarithm of the mean. One is
    Student's, with the standard error of the mean over the mean. The other is that of a lognormal distribution (Cox's
    method: X.-H. Zhou, S. Gao, Statistics in Medicine 16, 1997), which expects large values that have not come yet; it
    is left out if an estimate is 0. Where all are equal they say nothing of their error: the interval is from 0 to 1.
    """
    from scipy.stats import t

    number, mean = len(values), float(np.mean(values))
    if min(values) == max(values):
        return Estimate(mean, 0.0, 1.0, math.inf)
    error = float(np.std(values, ddof=1)) / math.sqrt(number) / mean
    quantile = float(t.ppf(0.5 + 0.5 * level, number - 1))
    centers, errors = [math.log(mean)], [error]
    if min(values) > 0.0:
        logarithms = np.log(values)
        variance = float(np.var(logarithms, ddof=1))
        centers.append(float(np.mean(logarithms)) + 0.5 * variance)
        errors.append(math.sqrt(variance / number + variance**2 / (2 * (number - 1))))
    low = min(center - quantile * each for center, each in zip(centers, errors, strict=True))
    high = max(center + quantile * each for center, each in zip(centers, errors, strict=True))
    return Estimate(mean, math.exp(low), math.exp(min(0.0, high)), error)


def plain_boots(found: Estimate) -> float:
    """How many plain boots give p with the same relative standard error: (1 - p) / (p error^2)."""
    if found.p == 0.0 or not 0.0 < found.error < math.inf:
        return math.nan
    return (1.0 - found.p) / (found.p * found.error**2)
