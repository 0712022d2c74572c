"""Predictions against counts: predictive p-values, Holm's correction, log scores against baselines.

For one cell the predictive distribution of the number of failures is the mixture of Binomial(boots, P) over the draws
of P (predict.py). The two-sided p-value is the total probability of all outcomes that are no more likely
than the observed one (exact: every outcome is enumerated; the rule of R's and scipy's exact binomial test). Under a
right model it is at most 0.05 in at most about 5 % of the cells; less often, since counts are discrete.

Cells of one tail policy are pooled per environment, RAM and noise setting: the failures add up, and a draw of P is the
mean over the pooled cells, weighted by their real boots.

Holm (S. Holm, Scandinavian Journal of Statistics 6, 1979) corrects one joint family: all cells with at least MIN_BOOTS
boots and all pooled rows. So a right model has any adjusted p-value below 0.05 at most about once in 20 files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from mcsim.fidelity.model.predict import Prediction, Simulation, interval, predict
from mcsim.model.counts import Cell, Counts, Place, open_counts_file, read_counts
from mcsim.model.recorded_kernels import NEW, OLD, TAILS
from mcsim.run.progress import Progress
from mcsim.stats.multiple import holm
from mcsim.workload import shipped_workloads

MIN_BOOTS = 15
ALPHA = 0.05
CLIP = (0.005, 0.995)
PROBABILITIES = 1 << 22  # that are in memory at a time
BASELINE_RAM = 32
EFFECT_RAM = 35  # where real boots show an effect of the artificial noise


def predictive(boots: int, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of 0 to `boots` failures, float64[boots + 1]: the mean of Binomial(boots, P) over the draws of P."""
    at_once = max(1, PROBABILITIES // len(draws))
    outcomes = np.arange(boots + 1)
    parts = (outcomes[first : first + at_once, None] for first in range(0, boots + 1, at_once))
    return np.concatenate([binom.pmf(part, boots, draws[None, :]).mean(axis=1) for part in parts])


def two_sided(failures: int, boots: int, draws: NDArray[np.float64]) -> float:
    """Predictive probability of all outcomes that are no more likely than `failures`."""
    probability = predictive(boots, draws)
    unlikely = probability <= probability[failures] * (1 + 1e-7)  # equal but for rounding counts as equal
    return min(1.0, float(probability[unlikely].sum()))


@dataclass(frozen=True)
class Row:
    """A line of the comparison: one cell, or the pooled cells of a tail policy (`variants` are then several).

    p, low, high: predicted P and its 95 % interval. p_value: two-sided; adjusted: by Holm, nan outside of the family.
    """

    environment: str
    variants: tuple[str, ...]
    tail: str
    pooled: bool
    ram_mb: int
    jitter: int
    use: str
    calibration: bool
    boots: int
    failures: int
    simulated: int
    p: float
    low: float
    high: float
    p_value: float
    adjusted: float = math.nan

    @property
    def name(self) -> str:
        """The variant, or `old tail`."""
        return f"{self.tail} tail" if self.pooled else self.variants[0]

    @property
    def missed(self) -> bool:
        """Whether the model, not fitted to it, is refuted here."""
        return self.adjusted < ALPHA and not self.calibration


def compare(cells: Iterable[Cell], predictions: Mapping[Place, Prediction]) -> list[Row]:
    """A row a cell, then a row a tail policy, environment, RAM and noise setting; in this order within each part."""
    ordered = sorted(
        cells, key=lambda cell: (cell.place.environment, cell.place.jitter, cell.place.ram_mb, _rank(cell))
    )
    rows = [_row([cell], predictions, pooled=False) for cell in ordered]
    groups: dict[tuple[str, int, int, str], list[Cell]] = {}
    for cell in ordered:
        place = cell.place
        groups.setdefault((place.environment, place.jitter, place.ram_mb, place.tail), []).append(cell)
    for key in sorted(groups, key=lambda key: (*key[:3], TAILS.index(key[3]))):
        rows.append(_row(groups[key], predictions, pooled=True))
    family = [number for number, row in enumerate(rows) if row.pooled or row.boots >= MIN_BOOTS]
    for number, adjusted in zip(family, holm([rows[number].p_value for number in family]), strict=True):
        rows[number] = replace(rows[number], adjusted=adjusted)
    return rows


def _rank(cell: Cell) -> tuple[int, str]:
    return TAILS.index(cell.place.tail), cell.place.variant


def _row(cells: Sequence[Cell], predictions: Mapping[Place, Prediction], pooled: bool) -> Row:
    first = cells[0].place
    boots, failures = sum(cell.boots for cell in cells), sum(cell.failures for cell in cells)
    draws = pooled_draws(cells, predictions)
    low, high = interval(draws)
    uses = sorted({cell.use for cell in cells})
    return Row(
        environment=first.environment,
        variants=tuple(cell.place.variant for cell in cells),
        tail=first.tail,
        pooled=pooled,
        ram_mb=first.ram_mb,
        jitter=first.jitter,
        use=uses[0] if len(uses) == 1 else "mixed",
        calibration=all(cell.calibration for cell in cells),
        boots=boots,
        failures=failures,
        simulated=sum(predictions[cell.place].boots for cell in cells),
        p=sum(cell.boots * predictions[cell.place].p for cell in cells) / boots,
        low=low,
        high=high,
        p_value=two_sided(failures, boots, draws),
    )


def pooled_draws(cells: Sequence[Cell], predictions: Mapping[Place, Prediction]) -> NDArray[np.float64]:
    """Draws of the mean P of cells, weighted by their real boots."""
    boots = [cell.boots for cell in cells]
    return np.asarray(np.average([predictions[cell.place].draws for cell in cells], axis=0, weights=boots))


@dataclass(frozen=True)
class LogScore:
    """Mean log probability of the outcome of a real boot (higher is better), of the model and of two baselines."""

    boots: int
    model: float
    overall_rate: float
    tail_rate: float

    @property
    def best(self) -> bool:
        """Whether the model beats both baselines."""
        return self.model > max(self.overall_rate, self.tail_rate)


def log_scores(cells: Sequence[Cell], predictions: Mapping[Place, Prediction], open_cells: Iterable[Cell]) -> LogScore:
    """Log scores over the boots of `cells`.

    Baselines: the overall failure rate of these cells, and for each tail policy the smoothed rate (k + 1/2) / (n + 1)
    at BASELINE_RAM in the open counts, environments with a workload and noise settings pooled.
    """
    boots = sum(cell.boots for cell in cells)
    overall = sum(cell.failures for cell in cells) / boots
    rates = tail_rates(open_cells)
    return LogScore(
        boots,
        model=_mean_log(cells, lambda cell: predictions[cell.place].p),
        overall_rate=_mean_log(cells, lambda cell: overall),
        tail_rate=_mean_log(cells, lambda cell: rates[cell.place.tail]),
    )


def tail_rates(open_cells: Iterable[Cell]) -> dict[str, float]:
    """The smoothed failure rate of each tail policy at BASELINE_RAM."""
    at = [cell for cell in open_cells if cell.place.ram_mb == BASELINE_RAM]
    rates = {}
    for tail in TAILS:
        failures = sum(cell.failures for cell in at if cell.place.tail == tail)
        boots = sum(cell.boots for cell in at if cell.place.tail == tail)
        rates[tail] = (failures + 0.5) / (boots + 1)
    return rates


def _mean_log(cells: Sequence[Cell], p_of: Callable[[Cell], float]) -> float:
    total = 0.0
    for cell in cells:
        p = min(max(p_of(cell), CLIP[0]), CLIP[1])
        total += cell.failures * math.log(p) + (cell.boots - cell.failures) * math.log1p(-p)
    return total / sum(cell.boots for cell in cells)


@dataclass(frozen=True)
class TailOrder:
    """Old against new tail at one environment, RAM and noise setting: rates observed and predicted."""

    environment: str
    ram_mb: int
    jitter: int
    observed: tuple[float, float]
    predicted: tuple[float, float]

    @property
    def same(self) -> bool | None:
        """Whether the predicted order is the observed one; None where nothing was observed to differ."""
        if self.observed[0] == self.observed[1]:
            return None
        return (self.observed[0] > self.observed[1]) == (self.predicted[0] > self.predicted[1])


def tail_orders(rows: Iterable[Row]) -> list[TailOrder]:
    """Where both tail policies were counted."""
    pooled = {(row.environment, row.ram_mb, row.jitter, row.tail): row for row in rows if row.pooled}
    orders = []
    for environment, ram_mb, jitter in dict.fromkeys(key[:3] for key in pooled):
        both = [pooled.get((environment, ram_mb, jitter, tail)) for tail in (OLD, NEW)]
        if both[0] and both[1]:
            observed = both[0].failures / both[0].boots, both[1].failures / both[1].boots
            orders.append(TailOrder(environment, ram_mb, jitter, observed, (both[0].p, both[1].p)))
    return orders


@dataclass(frozen=True)
class JitterEffect:
    """How much lower P is with the artificial noise than without, at one environment, RAM and tail policy.

    observed: (failures, boots) without and with noise. p_value: Fisher's exact test of these counts. predicted:
    difference of the predicted P, with its 95 % interval.
    """

    environment: str
    ram_mb: int
    tail: str
    observed: tuple[tuple[int, int], tuple[int, int]]
    p_value: float
    predicted: float
    low: float
    high: float

    @property
    def present(self) -> bool:
        """Whether the predicted difference has the sign of the observed one in all of its interval."""
        difference = self.observed[0][0] / self.observed[0][1] - self.observed[1][0] / self.observed[1][1]
        return self.low * difference > 0 and self.high * difference > 0


def jitter_effect(
    cells: Iterable[Cell], predictions: Mapping[Place, Prediction], environment: str, ram_mb: int, tail: str
) -> JitterEffect | None:
    """The effect, or None where one of the two noise settings was not counted."""
    from scipy.stats import fisher_exact

    here = [
        cell
        for cell in cells
        if (cell.place.environment, cell.place.ram_mb, cell.place.tail) == (environment, ram_mb, tail)
    ]
    still, noisy = ([cell for cell in here if cell.place.jitter == jitter] for jitter in (0, 2))
    if not still or not noisy:
        return None
    counts = tuple((sum(cell.failures for cell in each), sum(cell.boots for cell in each)) for each in (still, noisy))
    table = [[failures, boots - failures] for failures, boots in counts]
    draws = pooled_draws(still, predictions) - pooled_draws(noisy, predictions)
    low, high = interval(draws)
    return JitterEffect(
        environment,
        ram_mb,
        tail,
        (counts[0], counts[1]),
        float(fisher_exact(table).pvalue),
        float(draws.mean()),
        low,
        high,
    )


@dataclass(frozen=True)
class Validation:
    """The comparison of one counts file: rows, log scores over all cells and over those not calibrated on."""

    counts: Counts
    rows: Sequence[Row]
    scores: LogScore
    check_scores: LogScore | None
    effects: Sequence[JitterEffect]

    @property
    def passed(self) -> bool:
        """Whether no row that the model was not fitted to refutes it."""
        return not any(row.missed for row in self.rows)


def validate(counts_file: Path | None, simulation: Simulation, progress: Callable[[], Progress]) -> Validation:
    """Compare predictions with the counts of a file (None: those that come with mcsim)."""
    environments = shipped_workloads()
    open_counts = read_counts(open_counts_file(), environments)
    counts = open_counts if counts_file is None else read_counts(counts_file, environments)
    predictions = predict([cell.place for cell in counts.cells], simulation, progress)
    check = [cell for cell in counts.cells if not cell.calibration]
    effects = [
        jitter_effect(counts.cells, predictions, environment, EFFECT_RAM, OLD)
        for environment in sorted({cell.place.environment for cell in counts.cells})
    ]
    return Validation(
        counts,
        compare(counts.cells, predictions),
        log_scores(counts.cells, predictions, open_counts.cells),
        log_scores(check, predictions, open_counts.cells) if check else None,
        [effect for effect in effects if effect is not None],
    )
