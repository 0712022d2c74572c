"""The statistics checked by simulation: how often is each wrong, and is that as often as it says?

Every check counts errors in independent trials. It passes if the exact 95 % interval of the error rate does not lie
above the rate allowed. Exact tests and confidence sequences err less often than allowed: that is their guarantee.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln
from scipy.stats import norm

from mcsim.stats.intervals import Interval, interval
from mcsim.stats.sequences import PRIOR
from mcsim.stats.verdicts import DIFFERS, EQUIVALENT, estimates, judge

LEVEL = 0.95
LOOKS, STEP = 1000, 10  # a look every 10 boots, up to 10,000
NEVER = 1e-9  # a tolerance within which no interval lies

Failed = NDArray[np.bool_]


@dataclass(frozen=True)
class Check:
    """`errors` in `trials`, of which a share of `allowed` may be wrong; inf: shown for contrast, nothing to pass."""

    name: str
    trials: int
    errors: int
    allowed: float = 1.0 - LEVEL

    @property
    def interval(self) -> Interval:
        """For the error rate, exact, 95 %."""
        return interval(self.errors, self.trials, LEVEL)

    @property
    def passed(self) -> bool:
        """Whether the rate allowed is not below the interval."""
        return self.interval.low <= self.allowed


def blocks(variant: Failed, baseline: Failed, boots: int) -> list[Check]:
    """A/A: failures bool[sizes, n] of one kernel under two seeds, cut into comparisons of `boots` boots each.

    Each block is one table with a row per size and a pooled row. Errors: the first row alone says *differs*; any row
    of the table does.
    """
    tables = [
        _table(variant[:, at : at + boots], baseline[:, at : at + boots])
        for at in range(0, variant.shape[1] - boots + 1, boots)
    ]
    single = sum(table[0]["p_value"] <= 1.0 - LEVEL for table in tables)
    return [
        Check("one row alone: p <= 0.05", len(tables), int(single)),
        Check("any row of a table differs", len(tables), _with(tables, DIFFERS)),
    ]


def _table(variant: Failed, baseline: Failed, delta: float = NEVER) -> list[dict[str, Any]]:
    """The rows that `mcsim compare` would print of one variant."""
    rows = [estimates(variant[[size]], baseline[[size]], LEVEL) for size in range(variant.shape[0])]
    if variant.shape[0] > 1:
        rows.append(estimates(variant, baseline, LEVEL))
    judge(rows, delta, LEVEL)
    return rows


def _with(tables: list[list[dict[str, Any]]], word: str) -> int:
    return sum(any(row["verdict"] == word for row in table) for table in tables)


def synthetic_pairs(
    rng: np.random.Generator, rates: tuple[float, ...], shift: float, boots: int
) -> tuple[Failed, Failed]:
    """Two variants on common boots: bool[sizes, boots] each, those of the first failing `shift` more often.

    A boot has a severity that all sizes and both variants share, to which each variant adds its own noise.
    """
    severity = rng.standard_normal(boots)
    sides = []
    for extra in (shift, 0.0):
        noise = rng.standard_normal((len(rates), boots)) * 0.6 + rng.standard_normal(boots) * 0.5
        limits = norm.ppf(np.array(rates) + extra) * np.sqrt(1.0 + 0.6**2 + 0.5**2)
        sides.append(severity + noise < limits[:, None])
    return sides[0], sides[1]


def verdicts(rng: np.random.Generator, trials: int, boots: int = 300) -> list[Check]:
    """Tables of three sizes of two variants that are equal, or that differ by just the tolerance."""
    rates, delta = (0.5, 0.2, 0.02), 0.05
    equal = [_table(*synthetic_pairs(rng, rates, 0.0, boots)) for _ in range(trials)]
    apart = [_table(*synthetic_pairs(rng, (0.2,), delta, boots), delta=delta) for _ in range(trials)]
    return [
        Check("equal variants: any row differs", trials, _with(equal, DIFFERS)),
        Check("difference = delta: equivalent", trials, _with(apart, EQUIVALENT)),
    ]


def sequence_misses(rng: np.random.Generator, p: float, trials: int) -> Check:
    """Confidence sequences for P = `p` that miss it at any of LOOKS looks."""
    failures, boots = _looks(rng, p, trials)
    return Check(f"sequence, P = {p:g}: misses ever", trials, int(_missed(failures, boots, p, LEVEL).any(axis=1).sum()))


def plain_misses(rng: np.random.Generator, p: float, trials: int) -> Check:
    """The same for Wilson's interval, which is made for one look."""
    failures, boots = _looks(rng, p, trials)
    far = np.abs(failures / boots - p) > norm.isf(0.5 - 0.5 * LEVEL) * np.sqrt(p * (1.0 - p) / boots)
    return Check(f"Wilson's, P = {p:g}: misses ever", trials, int(far.any(axis=1).sum()), allowed=np.inf)


def difference_misses(rng: np.random.Generator, discordant: float, toward: float, trials: int) -> Check:
    """The sequence for a difference: one of its two parts misses (if it misses, one of them does)."""
    differing, boots = _looks(rng, discordant, trials)
    steps = np.diff(differing, axis=1, prepend=0)
    only = rng.binomial(steps, toward).cumsum(axis=1)
    half = 0.5 + 0.5 * LEVEL
    missed = _missed(differing, boots, discordant, half) | _missed(only, differing, toward, half)
    name = f"sequence, P1-P0 = {discordant * (2 * toward - 1):g}: misses ever"
    return Check(name, trials, int(missed.any(axis=1).sum()))


def _looks(rng: np.random.Generator, p: float, trials: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Failures int64[trials, LOOKS] so far, and boots int64[LOOKS]."""
    return rng.binomial(STEP, p, size=(trials, LOOKS)).cumsum(axis=1), STEP * np.arange(1, LOOKS + 1)


def _missed(failures: NDArray[np.int64], boots: NDArray[np.int64], p: float, level: float) -> NDArray[np.bool_]:
    """Whether `p` is outside of mcsim.stats.sequences.sequence(failures, boots, level), for arrays."""
    successes = boots - failures
    mixture = betaln(failures + PRIOR, successes + PRIOR) - betaln(PRIOR, PRIOR)
    martingale = mixture - failures * np.log(p) - successes * np.log1p(-p)
    return np.asarray(martingale > -np.log1p(-level))
