"""Which RAM sizes have P(OOM) <= `limit`: every size is judged by itself, because P need not fall as RAM grows.

Each of the m sizes has a confidence sequence (mcsim/stats/sequences.py) at level 1 - (1 - level) / m (Bonferroni, C. E.
Bonferroni, 1936). With probability `level` all of them hold P at all numbers of boots, whatever the dependence between
sizes, which have their boots in common. Hence a size may stop as soon as it is decided, the others may go on, and no
verdict of the table is wrong at that level:

safe       the sequence lies at or below the limit
unsafe     it lies above
undecided  neither, after as many boots as were allowed
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from scipy.optimize import brentq

from mcsim.stats.intervals import corrected
from mcsim.stats.sequences import log_martingale, sequence

SAFE, UNSAFE, UNDECIDED = "safe", "unsafe", "undecided"
FIRST_LOOK = 128  # boots
GROWTH = 1.25  # of the boots from look to look, once a size without a failure would be decided

Count = Callable[[Sequence[int], int], Mapping[int, int]]


class Size(NamedTuple):
    """A RAM size (bytes): its counts, its sequence, its verdict. assumed: not simulated, follows from monotonicity."""

    ram: int
    boots: int
    failures: int
    low: float
    high: float
    verdict: str
    assumed: bool = False


def verdict(failures: int, boots: int, limit: float, level: float) -> str:
    """One of the three words, at the level of a single size."""
    if boots == 0 or log_martingale(failures, boots, limit) < -math.log1p(-level):
        return UNDECIDED
    return SAFE if failures < limit * boots else UNSAFE


def boots_without_failure(limit: float, level: float) -> int:
    """After how many boots a size is safe, if none of them fails."""
    threshold = -math.log1p(-level)

    def excess(boots: float) -> float:
        return log_martingale(0.0, boots, limit) - threshold

    enough = 1.0
    while excess(enough) < 0.0:
        enough *= 2.0
    return math.ceil(brentq(excess, 0.5 * enough, enough)) if enough > 1.0 else 1


def looks(limit: float, level: float, most: int) -> Iterator[int]:
    """The numbers of boots at which the undecided sizes are looked at; the last is `most`."""
    clear, boots = boots_without_failure(limit, level), FIRST_LOOK
    while boots < most:
        yield boots
        boots = min(2 * boots, clear) if boots < clear else math.ceil(GROWTH * boots)
    yield most


def scan(
    sizes: Sequence[int], count: Count, limit: float, level: float, most: int, assume_monotonic: bool = False
) -> list[Size]:
    """Judge all sizes (ascending); with `assume_monotonic` by bisection: sizes above a safe one are safe, and so on.

    `count(sizes, boots)` gives the failures among the first `boots` boots of each of these sizes.
    """
    each = corrected(level, len(sizes))
    found: dict[int, Size] = {}

    def judge(open_sizes: Sequence[int]) -> None:
        for boots in looks(limit, each, most):
            failures = count(open_sizes, boots)
            for size in open_sizes:
                word = verdict(failures[size], boots, limit, each)
                if word != UNDECIDED or boots == most:
                    found[size] = Size(size, boots, failures[size], *sequence(failures[size], boots, each), word)
            open_sizes = [size for size in open_sizes if size not in found]
            if not open_sizes:
                return

    if not assume_monotonic:
        judge(sizes)
        return [found[size] for size in sizes]
    while between := _open(sizes, found):
        judge([between[len(between) // 2]])
    safe = min((size for size in found if found[size].verdict == SAFE), default=math.inf)
    return [found.get(size) or Size(size, 0, 0, 0.0, 1.0, SAFE if size > safe else UNSAFE, True) for size in sizes]


def _open(sizes: Sequence[int], found: Mapping[int, Size]) -> list[int]:
    """The sizes above all unsafe and below all safe ones that are not judged yet."""
    low = max((size for size in found if found[size].verdict == UNSAFE), default=-1)
    high = min((size for size in found if found[size].verdict == SAFE), default=math.inf)
    return [size for size in sizes if low < size < high and size not in found]


class Answer(NamedTuple):
    """What the verdicts say together; sizes ascending, None where there is none.

    smallest_safe: the smallest size shown safe. safe_from: the smallest such that it and all larger ones of the scan
    are. unsafe_above_safe: sizes shown unsafe above a safe one.
    """

    smallest_safe: int | None
    safe_from: int | None
    unsafe_above_safe: list[int]
    undecided: list[int]


def answer(words: Mapping[int, str]) -> Answer:
    """`words`: the verdict of each size."""
    sizes = sorted(words)
    safe = [size for size in sizes if words[size] == SAFE]
    others = [size for size in sizes if words[size] != SAFE]
    beyond = [size for size in safe if not others or size > others[-1]]
    return Answer(
        safe[0] if safe else None,
        beyond[0] if beyond else None,
        [size for size in sizes if words[size] == UNSAFE and safe and size > safe[0]],
        [size for size in sizes if words[size] == UNDECIDED],
    )
