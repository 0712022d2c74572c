"""What a benchmark yields, and how two sides are measured in turn.

Why not pytest-benchmark or pyperf: both time one thing after the other, each in a block of its own, and on a shared
machine the speed changes from one block to the next by more than what is to be shown. Here each round times ours and
the other side one right after the other, in alternating order, and what is judged is the median of the ratios of the
rounds. pyperf is used for what it does well: the file with all rounds and what the machine was (record.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

SECONDS = "s"
BYTES = "B"

Side = Callable[[int], tuple[float, Any]]  # does its work so often; seconds, and a result that both sides must have


@dataclass(frozen=True)
class Settings:
    """How long to measure: rounds of each benchmark, and seconds that ours takes in each."""

    rounds: int = 9
    seconds: float = 0.1
    quick: bool = False


QUICK = Settings(rounds=2, seconds=0.002, quick=True)


@dataclass(frozen=True)
class Figure:
    """The rounds of one benchmark.

    `unit`: SECONDS or BYTES, or what is counted ("pairs"): then the values are CPU seconds for one. `other`: round by
    round the same of the other side, which `other_name` names; empty if there is none.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    other: tuple[float, ...] = ()
    other_name: str = ""

    @property
    def value(self) -> float:
        """The median: units per second, or seconds, or bytes."""
        middle = median(self.values)
        return middle if self.unit in (SECONDS, BYTES) else 1 / middle

    @property
    def other_value(self) -> float:
        """The same of the other side."""
        middle = median(self.other)
        return middle if self.unit in (SECONDS, BYTES) else 1 / middle

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of each round, the other's value by ours: above 1 where ours is faster or smaller."""
        return tuple(other / ours for ours, other in zip(self.values, self.other, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the ratios; of the values where there is no other side."""
        each = self.ratios if self.other else self.values
        if len(each) < 2:
            return each[0], each[0]
        low, _, high = quantiles(each, n=4, method="inclusive")
        return low, high


class ResultsDifferError(Exception):
    """Ours and the twin came to different results: the twin, or a kernel, is wrong."""


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this thread that a call took, and its result: other processes' work is not counted."""
    start = time.thread_time_ns()
    result = call()
    return (time.thread_time_ns() - start) / 1e9, result


def in_turn(name: str, unit: str, units: int, settings: Settings, ours: Side, twin: Side | None) -> Figure:
    """Measure both sides in turn. `units` is what one repetition does.

    Raises ResultsDifferError where the results of a round are not equal.
    """
    both(name, ours, twin, 1, 0)  # compiles, and fills caches
    once = both(name, ours, twin, 1, 0)[0]
    repeats = max(1, round(settings.seconds / max(once, 1e-6)))
    rounds = [both(name, ours, twin, repeats, number) for number in range(settings.rounds)]
    scale = 1 / (units * repeats)
    return Figure(
        name,
        unit,
        tuple(seconds * scale for seconds, _ in rounds),
        tuple(seconds * scale for _, seconds in rounds) if twin else (),
        "C twin" if twin else "",
    )


def both(name: str, ours: Side, twin: Side | None, repeats: int, number: int) -> tuple[float, float]:
    """One round: seconds of ours and of the twin (0 where there is none). The order alternates with the number."""
    if twin is None:
        return ours(repeats)[0], 0.0
    if number % 2:
        twin_seconds, twin_result = twin(repeats)
        seconds, result = ours(repeats)
    else:
        seconds, result = ours(repeats)
        twin_seconds, twin_result = twin(repeats)
    if result != twin_result:
        raise ResultsDifferError(f"{name}: ours and the C twin come to different results")
    return seconds, twin_seconds
