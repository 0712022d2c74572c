"""Which factor of timing or workload moves P(OOM) of one variant at one RAM size most (mcsim/stats/factorial.py).

Factors of the experiment (timing, policies) are varied together; recordings and pre-init phases are drawn anew in each
boot.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError, did_you_mean
from mcsim.stats.factorial import between, design, effects
from mcsim.stats.intervals import check_level
from mcsim.studies.study import any_size, everywhere, first_boots, named, simulated

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment, Timing
    from mcsim.run.progress import Progress

FACTOR_SYNTAX = "KEY=LOW,HIGH, as gap_sigma=0.05,0.22; KEY is one of "
MOST_FACTORS = 7  # 64 cells
BOOTS = 1000


class Factor(NamedTuple):
    """A key of the timing or a policy, and its two levels."""

    name: str
    low: Any
    high: Any

    @property
    def levels(self) -> str:
        """`0.05 -> 0.22`."""
        return " -> ".join(
            f"{level:.4g}" if isinstance(level, float) else str(level) for level in (self.low, self.high)
        )


class Sensitivity(NamedTuple):
    """effects: a row per main effect and interaction, largest first; workload: recordings, pre-init phases, the rest.

    Columns of effects: effect (a factor, or "A x B"), levels, difference, low, high, p_value, adjusted (Holm), level.
    Columns of workload: source, count, variance (of P, mean over the cells), share (of the variance of a boot's
    failing), error (standard error of the share), deviation (square root of the variance, in P).
    """

    effects: pl.DataFrame
    workload: pl.DataFrame
    factors: list[Factor]
    boots: int
    cells: int
    mean: float


def parse_factor(text: str) -> Factor:
    """A factor as people write it; UserError names what is valid."""
    from mcsim.model.experiment import Timing
    from mcsim.model.release import Policies

    known = [name for name in [*Timing.model_fields, *Policies.model_fields] if name != "tick_phase"]
    valid = FACTOR_SYNTAX + ", ".join(known)
    name, equals, values = text.partition("=")
    levels = [_value(each.strip()) for each in values.split(",")]
    name = name.strip()
    if not equals or len(levels) != 2:
        raise UserError(f"{text!r} is not a factor", key="--factor", valid=valid)
    if name not in known:
        raise UserError(f"{name!r} is not a factor{did_you_mean(name, known)}", key="--factor", valid=valid)
    if levels[0] == levels[1]:
        raise UserError(f"the two levels of {name} are equal", key="--factor", valid=valid)
    return Factor(name, *levels)


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def default_factors(timing: Timing) -> list[Factor]:
    """Each sigma and the median halved and doubled, within what is allowed; jitter off and on."""
    from mcsim.model.experiment import MAX_MEDIAN, MAX_SIGMA

    most = {"gap_sigma": MAX_SIGMA, "boot_sigma": MAX_SIGMA, "boot_median": MAX_MEDIAN}
    halved = [Factor(key, getattr(timing, key) / 2, min(2 * getattr(timing, key), most[key])) for key in most]
    return [*(each for each in halved if each.low != each.high), Factor("jitter", 0, 2)]


def cell(experiment: Experiment, variant: str, factors: Sequence[Factor], signs: Sequence[int]) -> Experiment:
    """The experiment with one variant, changed to the levels of one cell."""
    from pydantic import ValidationError

    from mcsim.model import variants
    from mcsim.model.experiment import Timing
    from mcsim.model.release import Policies, shipped_variants
    from mcsim.model.section import user_error

    levels = {each.name: each.high if sign > 0 else each.low for each, sign in zip(factors, signs, strict=True)}
    changed = {key: value for key, value in levels.items() if key in Timing.model_fields}
    try:
        timing = Timing(**{**experiment.timing.model_dump(), **changed})
    except ValidationError as error:
        raise _of_factor(user_error(error, Timing)) from None
    given = named(experiment, variant)
    policies = {key: value for key, value in levels.items() if key in Policies.model_fields}
    if policies:
        try:
            policies = {**given.policies.model_dump(), **policies}
            made = variants.resolve({"cell": {"based_on": next(iter(shipped_variants())), **policies}})["cell"]
        except UserError as error:
            raise _of_factor(error) from None
        given = dataclasses.replace(given, policies=made.policies)
    return dataclasses.replace(experiment, variants=(given,), timing=timing)


def _of_factor(error: UserError) -> UserError:
    key = (error.key or "").removeprefix("variants.").removeprefix("cell").removeprefix(".")
    return UserError(error.what, key=f"--factor {key}".rstrip(), valid=error.valid)


def sensitivity(
    experiment: Experiment,
    variant: str,
    ram: str,
    factors: Sequence[str] = (),
    *,
    boots: int = BOOTS,
    level: float = 0.95,
    out: Path | None = None,
    workers: int | None = None,
    progress: Callable[[], Progress] | None = None,
) -> Sensitivity:
    """Simulate the design and estimate the effects.

    factors: texts as of `parse_factor` (default: `default_factors`). boots: of each cell. out: folder (default:
    results/NAME-sensitivity) with a result folder for each variant and cell; boots that these hold are not simulated
    again. progress: makes one for each cell.
    """
    from mcsim.model.experiment import number_of_boots
    from mcsim.run.progress import Silent

    check_level(level)
    number_of_boots(boots)
    size = any_size(experiment, ram)
    chosen = [parse_factor(each) for each in factors] or default_factors(experiment.timing)
    _check_factors(chosen)
    base = everywhere(experiment, f"{experiment.name}-sensitivity")
    folder = Path("results") / base.name if out is None else out
    signs = design(len(chosen))
    # All cells are made before the first is run: bad levels are told at once.
    cells = [cell(base, variant, chosen, row) for row in signs.tolist()]
    make_progress = progress or Silent
    failed = np.empty((len(cells), boots), np.bool_)
    recording, pre_init = np.empty(0, np.int64), np.empty(0, np.int64)
    for number, each in enumerate(cells):
        name = _name(chosen, signs[number])
        show = make_progress()
        show.say(f"cell {number + 1} of {len(cells)}: {name.replace(',', ', ')}")
        done = simulated(each, folder / variant / name, boots, [ram], workers=workers, progress=show)
        (task,) = (task for task in done.tasks if task.ram == size)
        outcomes = first_boots(done.store, task, boots)
        failed[number] = outcomes["failed"].to_numpy() != 0
        # The same in every cell: a boot draws its recording and phase whatever timing and policies are.
        recording, pre_init = outcomes["recording"].to_numpy(), outcomes["pre_init"].to_numpy()
    return Sensitivity(
        _effects_frame(effects(failed, signs, level), chosen, level),
        _workload_frame(failed, recording, pre_init),
        chosen,
        boots,
        len(cells),
        float(failed.mean()),
    )


def _check_factors(factors: Sequence[Factor]) -> None:
    names = [each.name for each in factors]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is given twice", key="--factor", valid="each factor once")
    if len(names) > MOST_FACTORS:
        raise UserError(f"{len(names)} factors are too many", key="--factor", valid=f"1 to {MOST_FACTORS} factors")


def _name(factors: Sequence[Factor], signs: Sequence[int] | NDArray[np.int8]) -> str:
    """Of the folder of a cell: `gap_sigma=0.05,jitter=2`."""
    levels = [each.high if sign > 0 else each.low for each, sign in zip(factors, signs, strict=True)]
    return ",".join(f"{each.name}={level!r}".replace("'", "") for each, level in zip(factors, levels, strict=True))


def _effects_frame(rows: list[dict[str, Any]], factors: Sequence[Factor], level: float) -> pl.DataFrame:
    import polars as pl

    named_rows = [
        {
            "effect": " x ".join(factors[place].name for place in places),
            "levels": factors[places[0]].levels if len(places) == 1 else "",
            **{key: value for key, value in row.items() if key != "places"},
            "level": level,
        }
        for row in rows
        for places in [row["places"]]
    ]
    return pl.DataFrame(sorted(named_rows, key=lambda row: -abs(row["difference"])))


def _workload_frame(
    failed: NDArray[np.bool_], recording: NDArray[np.integer], pre_init: NDArray[np.integer]
) -> pl.DataFrame:
    import polars as pl

    rows = []
    for source, group, other in (("recordings", recording, pre_init), ("pre-init phases", pre_init, recording)):
        variance, share, error = between(failed, group, other)
        rows.append((source, np.unique(group).size, variance, share, error, math.sqrt(max(variance, 0.0))))
    columns = ("source", "count", "variance", "share", "error", "deviation")
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(pl.selectors.float().fill_nan(None))
