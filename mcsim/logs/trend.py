"""Several reports of one log over time: is memory becoming less (a leak), or does it stay and fall into pieces?

A slope is that of least squares, its interval Student's t. Reports come when requests fail, and each resembles the one
before it: the interval says how well a straight line fits, not what another boot would do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mcsim.logs.diagnosis import Diagnosis

FEWEST = 3  # points of a line with an interval
LEVEL = 0.95
LEAK, PIECES, NEITHER = "leak", "fragmentation", "undecided"


@dataclass(frozen=True)
class Row:
    """Memory at one report; kB."""

    line: int
    time: float | None
    verdict: str | None
    order: int | None
    free: int | None
    largest: int | None
    usable: int | None
    slab: int | None
    cache: int | None


@dataclass(frozen=True)
class Slope:
    """Change per step: a second where reports have times, else a report."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 rises, -1 falls, 0 neither for certain."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class Trend:
    """What the reports of a log say together. `slopes`: by name of the column; `per`: "second" or "report"."""

    rows: tuple[Row, ...]
    per: str
    slopes: dict[str, Slope]
    verdict: str

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        return {
            LEAK: "free memory becomes less, and what holds it does not give it back: a leak, or growing use",
            PIECES: "free memory does not become less, but no block is large enough: fragmentation",
            NEITHER: "whether memory leaks or falls into pieces, these reports do not tell",
        }[self.verdict]


def trend(diagnoses: Sequence[Diagnosis]) -> Trend | None:
    """The reports of one log; None if there is but one."""
    rows = tuple(row(each) for each in diagnoses)
    if len(rows) < 2:
        return None
    times = [each.time for each in rows if each.time is not None]
    timed = len(times) == len(rows) and all(one <= other for one, other in pairwise(times))
    timed = timed and times[-1] > times[0]
    steps = times if timed else [float(number) for number in range(len(rows))]
    slopes = {}
    for name in ("free", "largest", "slab", "cache"):
        points = [(step, getattr(each, name)) for step, each in zip(steps, rows, strict=True)]
        found = slope([(step, float(value)) for step, value in points if value is not None])
        if found is not None:
            slopes[name] = found
    return Trend(rows, "second" if timed else "report", slopes, _verdict(rows, slopes))


def row(diagnosis: Diagnosis) -> Row:
    """One line of the table."""
    counts, kb = diagnosis.report.counts, diagnosis.page_size // 1024
    slab = [counts[name] for name in ("slab", "slab_reclaimable", "slab_unreclaimable") if name in counts]
    cache = counts.get("pagecache")
    return Row(
        diagnosis.report.line,
        diagnosis.report.time,
        diagnosis.verdict,
        diagnosis.order,
        diagnosis.free_kb,
        diagnosis.largest_kb,
        diagnosis.usable,
        sum(slab) * kb if slab else None,
        None if cache is None else cache * kb,
    )


def _verdict(rows: Sequence[Row], slopes: dict[str, Slope]) -> str:
    free, slab = slopes.get("free"), slopes.get("slab")
    refused = [each.verdict for each in rows if each.verdict]
    if free is not None and free.sign < 0:
        return LEAK
    if free is None or not refused or refused[-1] != "fragmented":
        return NEITHER
    if slab is not None and slab.sign > 0:
        return NEITHER
    return PIECES


def slope(points: Sequence[tuple[float, float]], level: float = LEVEL) -> Slope | None:
    """Of the straight line through the points; None if there are too few."""
    from scipy.special import stdtrit

    count = len(points)
    if count < FEWEST:
        return None
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread <= 0.0 or not math.isfinite(spread):
        return None
    value = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in points)
    half = float(stdtrit(count - 2, 0.5 + 0.5 * level)) * math.sqrt(rest / (count - 2) / spread)
    return Slope(value, value - half, value + half)
