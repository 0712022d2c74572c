"""When a task has enough boots: rules as values, and a pure function that says which has fired.

The widths and the comparison are those of confidence sequences (mcsim/stats/sequences.py), so that looking after every
chunk costs nothing. The plain intervals of a report assume a number of boots that was fixed in advance: after a stop by
any rule but `max_boots` and `wall_seconds` the bounds of the sequence are those to quote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcsim.errors import UserError
from mcsim.stats.intervals import check_level


@dataclass(frozen=True)
class Stopping:
    """Rules of one task; the first that fires ends it, None never does.

    max_boots, max_failures: counts. half_width: of the sequence for P(OOM), absolute. relative_half_width: the same
    divided by the estimated P; without a failure it never fires. wall_seconds: since the run began. decided: name of
    the baseline against which the difference must be clear: its sequence leaves 0 out, or lies within +-delta if
    `delta` is given. level: of the sequences.
    """

    max_boots: int | None = None
    max_failures: int | None = None
    half_width: float | None = None
    relative_half_width: float | None = None
    wall_seconds: float | None = None
    decided: str | None = None
    delta: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check the values; UserError names the field."""
        for name in ("max_boots", "max_failures"):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise UserError(f"{count!r} is not a count", key=name, valid="a whole number from 1")
        for name, most in (("half_width", 0.5), ("relative_half_width", math.inf), ("delta", 1.0)):
            _check_positive(name, getattr(self, name), most)
        _check_positive("wall_seconds", self.wall_seconds, math.inf)
        try:
            check_level(self.level)
        except UserError as error:
            raise error.at(key="level") from None
        if self.delta is not None and self.decided is None:
            raise UserError("has nothing to be compared with", key="delta", valid="together with `decided`")


def _check_positive(name: str, value: float | None, most: float) -> None:
    if value is not None and not 0.0 < value < most:
        valid = "a number above 0" if math.isinf(most) else f"a number above 0 and below {most:g}"
        raise UserError(f"{value!r} is out of range", key=name, valid=valid)


def fired(
    stopping: Stopping,
    boots: int,
    failures: int,
    seconds: float,
    discordant: tuple[int, int] | None = None,
    common_boots: int | None = None,
) -> str | None:
    """The first rule that has fired, as `RULE: words`, or None.

    `boots`, `failures`: of the task so far; `seconds`: since the run began. `discordant`: over the boots that task and
    baseline have both, `common_boots` (None: all of `boots`), how many failed only in the task and only in the
    baseline; None where there is no baseline, or the task is the baseline.
    """
    if stopping.max_boots is not None and boots >= stopping.max_boots:
        return f"max_boots: {boots} boots"
    if stopping.max_failures is not None and failures >= stopping.max_failures:
        return f"max_failures: {failures} failures in {boots} boots"
    return (
        _narrow_enough(stopping, boots, failures)
        or _decided(stopping, boots if common_boots is None else common_boots, discordant)
        or _out_of_time(stopping, seconds)
    )


def _narrow_enough(stopping: Stopping, boots: int, failures: int) -> str | None:
    absolute, relative = stopping.half_width, stopping.relative_half_width
    if boots == 0 or (absolute is None and relative is None):
        return None
    from mcsim.stats.sequences import sequence

    low, high = sequence(failures, boots, stopping.level)
    half = 0.5 * (high - low)
    if absolute is not None and half <= absolute:
        return f"half_width: +-{half:.3g} after {boots} boots"
    if relative is not None and failures > 0 and half <= relative * failures / boots:
        return f"relative_half_width: +-{100 * half * boots / failures:.3g} % of P after {boots} boots"
    return None


def _decided(stopping: Stopping, boots: int, discordant: tuple[int, int] | None) -> str | None:
    if stopping.decided is None or discordant is None or boots == 0:
        return None
    from mcsim.stats.sequences import difference_sequence

    low, high = difference_sequence(*discordant, boots, stopping.level)
    words = f"P - P({stopping.decided}) in {low:+.3g} .. {high:+.3g} after {boots} boots"
    if low > 0.0 or high < 0.0:
        return f"decided: differs, {words}"
    if stopping.delta is not None and -stopping.delta < low and high < stopping.delta:
        return f"decided: equivalent within {stopping.delta:g}, {words}"
    return None


def _out_of_time(stopping: Stopping, seconds: float) -> str | None:
    if stopping.wall_seconds is None or seconds < stopping.wall_seconds:
        return None
    return f"wall_seconds: {seconds:.0f} s"
