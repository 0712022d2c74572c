"""How many boots a question needs. Powers are exact sums over all outcomes.

Paired: `boots` boots of both variants; the discordant ones are Binomial(boots, discordant), those against the baseline
among them binomial again; the test is the exact one of McNemar. The unconditional power is as in O. S. Miettinen,
Biometrics 24, 1968. Independent: `boots` boots of each, Fisher's exact test; where the sum would take minutes, the
approximation of J. T. Casagrande, M. C. Pike and P. G. Smith, Biometrics 34, 1978.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom, norm

from mcsim.errors import UserError
from mcsim.stats.intervals import Method, interval
from mcsim.stats.sequences import sequence

MOST = 10**9  # as many as an experiment may have
MOST_EXACT = 3000  # boots of each of two independent samples
MOST_EXACT_PAIRED = 3_000_000
NEGLIGIBLE = 1e-9  # probability of the outcomes that a sum leaves out
POWERS = (0.5, 0.999999)  # that may be asked for: sums leave more than the rest to 1 out
SMALLEST_GAP = 1 / MOST  # of two P: not even one boot of the most differs in the mean


def paired_power(p1: float, p2: float, discordant: float, boots: int, level: float = 0.95) -> float:
    """Probability that the exact test of McNemar finds the difference of `p1` and `p2`, either way.

    `discordant`: share of the boots in which exactly one of the two fails, from |p1 - p2| on.
    """
    # Share of the discordant boots in which the first fails; rounding may have made either share a little too large.
    toward = min(1.0, max(0.0, 0.5 * (1.0 + (p1 - p2) / discordant)))
    discordant = min(1.0, discordant)
    low, high = _likely(boots, discordant)
    counts = np.arange(low, high + 1)
    critical = _critical(counts, level)
    found = binom.cdf(critical, counts, toward) + binom.sf(counts - critical - 1, counts, toward)
    return float(binom.pmf(counts, boots, discordant) @ found)


def _critical(counts: NDArray[np.int64], level: float) -> NDArray[np.float64]:
    """The largest x with 2 P(Binomial(count, 1/2) <= x) <= 1 - level, -1 where there is none."""
    half = 0.5 * (1.0 - level)
    at = binom.ppf(half, counts, 0.5)  # the smallest with P(<= x) >= half
    reached = binom.cdf(at, counts, 0.5) <= half * (1.0 + 1e-9)
    return np.asarray(np.where(counts > 0, np.where(reached, at, at - 1.0), -1.0))


def independent_power(p1: float, p2: float, boots: int, level: float = 0.95) -> float:
    """Probability that Fisher's exact test of two samples of `boots` boots each finds the difference, either way."""
    half = 0.5 * (1.0 - level)
    (low, high), (other_low, other_high) = (_likely(boots, p1), _likely(boots, p2))
    each = np.arange(boots + 1)
    one, other = binom.pmf(each, boots, p1), binom.pmf(each, boots, p2)
    ways = _log_choose(boots, each)
    power = 0.0
    for total in range(low + other_low, high + other_high + 1):
        here = np.arange(max(0, total - boots), min(boots, total) + 1)
        # Equal samples: the distribution given the total is symmetric, so the two-sided p is twice the smaller tail.
        tail = np.cumsum(np.exp(ways[here] + ways[total - here] - _log_choose(2 * boots, total)))
        found = int(np.searchsorted(tail, half * (1.0 + 1e-9), side="right"))  # at either end
        chances = one[here] * other[total - here]
        power += float(chances[:found].sum() + chances[len(here) - found :].sum())
    return power


def _log_choose(number: int, some: Any) -> Any:
    """Logarithm of the number of ways to choose `some` (a number, or an array of them) out of `number`."""
    return gammaln(number + 1) - gammaln(some + 1) - gammaln(number - some + 1)


def _likely(boots: int, p: float) -> tuple[int, int]:
    """The counts of Binomial(boots, p) but for negligible ones."""
    return int(binom.ppf(NEGLIGIBLE, boots, p)), int(binom.ppf(1.0 - NEGLIGIBLE, boots, p))


def paired_boots(p1: float, p2: float, discordant: float, power: float = 0.8, level: float = 0.95) -> int:
    """The smallest number found at which the paired test has the power; above MOST_EXACT_PAIRED about that."""
    _check_question(p1, p2, power)
    least, most = abs(p1 - p2), min(p1 + p2, 2.0 - p1 - p2)
    if not least - 1e-12 <= discordant <= most + 1e-12:
        what = f"{discordant:g} of the boots cannot be discordant"
        raise UserError(what, key="--discordant", valid=f"{least:g} to {most:g} for these P")
    about = _approximate_paired_boots(least, discordant, power, level)
    if about > MOST_EXACT_PAIRED:
        return _at_most(about)
    return _smallest(lambda boots: paired_power(p1, p2, discordant, boots, level) >= power)


def independent_boots(p1: float, p2: float, power: float = 0.8, level: float = 0.95) -> tuple[int, bool]:
    """The smallest number of boots of each found at which Fisher's test has the power, and whether it is exact."""
    _check_question(p1, p2, power)
    about = _approximate_boots(p1, p2, power, level)
    if about > MOST_EXACT:
        return _at_most(about), False
    return _smallest(lambda boots: independent_power(p1, p2, boots, level) >= power), True


def _approximate_boots(p1: float, p2: float, power: float, level: float) -> int:
    """Normal approximation with correction for continuity."""
    mean, gap = 0.5 * (p1 + p2), abs(p1 - p2)
    error = norm.isf(0.5 - 0.5 * level) * math.sqrt(2.0 * mean * (1.0 - mean))
    plain = (error + norm.ppf(power) * math.sqrt(p1 * (1.0 - p1) + p2 * (1.0 - p2))) ** 2 / gap**2
    return math.ceil(0.25 * plain * (1.0 + math.sqrt(1.0 + 4.0 / (plain * gap))) ** 2)


def _approximate_paired_boots(gap: float, discordant: float, power: float, level: float) -> int:
    """Normal approximation of the paired test, with the variance of the difference under either hypothesis."""
    error = norm.isf(0.5 - 0.5 * level) * math.sqrt(discordant)
    return math.ceil(((error + norm.ppf(power) * math.sqrt(max(0.0, discordant - gap**2))) / gap) ** 2)


def unrelated(p1: float, p2: float) -> float:
    """Discordant share if failing under one variant said nothing about the other; common boots have less."""
    return p1 * (1.0 - p2) + p2 * (1.0 - p1)


def width_boots(p: float, half_width: float, level: float = 0.95, method: Method = "exact") -> int:
    """The number of boots after which the interval is +-`half_width`, if a share of `p` of them fails."""
    _check("--half-width", half_width, 0.5)
    return _smallest(lambda boots: _half(interval(round(p * boots), boots, level, method)) <= half_width)


def sequence_boots(p: float, half_width: float, level: float = 0.95) -> int:
    """The same for the confidence sequence, which may be looked at all the time."""
    _check("--half-width", half_width, 0.5)
    return _smallest(lambda boots: _half(sequence(round(p * boots), boots, level)) <= half_width)


def _half(ends: tuple[float, float]) -> float:
    return 0.5 * (ends[1] - ends[0])


def bound_boots(upper: float, level: float = 0.95, one_sided: bool = False) -> int:
    """The number of boots that, none failing, show P <= `upper`: "rule of three", n = 3 / upper one-sided at 95 %.

    J. A. Hanley, A. Lippman-Hand, JAMA 249, 1983. Two-sided is what tables with exact intervals print (3.7 / upper).
    """
    _check("--upper", upper)
    if upper < SMALLEST_GAP:
        raise _too_many()
    error = (1.0 - level) * (1.0 if one_sided else 0.5)
    return _at_most(math.ceil(math.log(error) / math.log1p(-upper) - 1e-9))


def _smallest(enough: Callable[[int], bool]) -> int:
    """The least number found that is enough: doubling, then bisection.

    The power of an exact test is a saw with small teeth, so a slightly smaller number may be enough, too.
    """
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST:
            raise _too_many()
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _at_most(boots: int) -> int:
    if boots > MOST:
        raise _too_many()
    return boots


def _too_many() -> UserError:
    return UserError(f"more than {MOST} boots are needed", valid="a coarser question")


def _check_question(p1: float, p2: float, power: float) -> None:
    if p1 == p2:
        raise UserError("no number of boots can tell equal P apart", key="--p2", valid="another P than --p1")
    if not POWERS[0] <= power <= POWERS[1]:
        raise UserError(f"{power} is out of range", key="--power", valid=f"a number from {POWERS[0]} to {POWERS[1]}")
    if abs(p1 - p2) < SMALLEST_GAP:
        raise _too_many()


def _check(key: str, value: float, most: float = 1.0) -> None:
    if not 0.0 < value < most:
        raise UserError(f"{value} is out of range", key=key, valid=f"a number between 0 and {most:g}")
