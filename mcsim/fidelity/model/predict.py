"""Predicted P(OOM) of cells, with the uncertainty that finitely many recordings and simulated boots leave.

A simulated boot draws one of R recorded user programs and, independently, one of S recorded pre-init phases. Real boots
come from the wider population of which these are samples, so that a prediction has the error of two crossed samples
besides its Monte Carlo error. It is described by draws of P, made in two steps:

1. Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9, 1981) with product weights for crossed random effects (A. B.
   Owen, Annals of Applied Statistics 1, 2007; A. B. Owen, D. Eckles, Annals of Applied Statistics 6, 2012): Dirichlet
   weights on the recordings, others on the pre-init phases; the weight of a boot is the product of the two, and P the
   weighted share of boots that fail. The Dirichlet parameter is chosen so that the draws of a mean of n recordings are
   as wide as its 95 % Student interval; with the usual 1 they would be too narrow by a third at n = 6. The draws hold
   the Monte Carlo variance about three times (Owen 2007): that errs on the side of caution.
2. Where no boot fails, or every boot, all of these draws are 0 or 1. So half a failing and half a booting boot are
   added in the mean, each with the weight of a Gamma(1/2) variable: without failures P has Jeffreys' distribution
   Beta(1/2, boots + 1/2), otherwise this changes next to nothing.

3. Real boots of one series (one RAM size and noise setting) were run in one go, under a load of the host that they
   shared and nobody wrote down. Simulated boots draw their factor from the prior over all loads (`host_load` in the
   workload's timing.toml). A draw of P is about one series: its median factor is drawn, and boots are weighted by how
   likely their own factor is under it (importance sampling; a series varies less than all, so weights are bounded).

All cells of an environment use the same draws of 1 and all cells of one series those of 3: sums and differences are
right, too. The generators are seeded: equal boots give equal numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from mcsim.errors import UserError
from mcsim.model.counts import Place
from mcsim.model.experiment import (
    BOOTS_SYNTAX,
    MAX_BOOTS,
    Experiment,
    HostLoad,
    parse,
    recorded_board,
    workload_timing,
)
from mcsim.model.recorded_kernels import DEFINITIONS
from mcsim.model.settings import Setting
from mcsim.model.units import format_size
from mcsim.run import engine
from mcsim.simulator import simulator
from mcsim.store.store import Store
from mcsim.studies.study import first_boots

if TYPE_CHECKING:
    from mcsim.run.progress import Progress

DRAWS = 2000
DRAWS_SEED = 20221123
BOOTS = 2000  # per cell: the Monte Carlo error then is a third of what 21 recordings leave
SEED = 20220601
LEAST_PARAMETER = 0.1
DRAWS_AT_A_TIME = 200  # weights of 2,000 boots then take 3 MB


@dataclass(frozen=True)
class Prediction:
    """P(OOM) of one cell. p: share of the simulated boots; draws: float64[DRAWS], each in (0, 1)."""

    boots: int
    failures: int
    draws: NDArray[np.float64]

    @property
    def p(self) -> float:
        """The share of simulated boots that fail."""
        return self.failures / self.boots

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The central interval of the draws."""
        return interval(self.draws, level)


def interval(draws: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds `level` of the draws."""
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


class Weights:
    """The random weights that all cells of an environment share.

    recordings: float64[DRAWS, R], pre_init: float64[DRAWS, S], each row of sum 1. extra: float64[DRAWS, 2], what is
    added to the failing and to the booting boots.
    """

    def __init__(self, recordings: int, pre_init: int, draws: int = DRAWS, seed: int = DRAWS_SEED) -> None:
        """Weights for R recordings and S pre-init phases."""
        generator = np.random.default_rng(seed)
        self.recordings = _dirichlet(recordings, draws, generator)
        self.pre_init = _dirichlet(pre_init, draws, generator)
        self.extra = generator.gamma(0.5, size=(draws, 2))

    def predict(
        self,
        recording: NDArray[np.integer],
        pre_init: NDArray[np.integer],
        failed: NDArray[np.integer],
        load: SeriesLoad | None = None,
    ) -> Prediction:
        """The prediction from boots: the number of the recording and of the pre-init phase, and 0 or 1, of each.

        `load`: the loads that the series may have run under; None for boots that are not of one series.
        """
        count = len(failed)
        share = np.empty(len(self.extra))
        for first in range(0, len(share), DRAWS_AT_A_TIME):
            some = slice(first, first + DRAWS_AT_A_TIME)
            weight = self.recordings[some][:, recording] * self.pre_init[some][:, pre_init]
            if load is not None:
                weight *= load.weights(some)
            share[some] = weight @ failed / weight.sum(axis=1)
        draws = (count * share + self.extra[:, 0]) / (count + self.extra.sum(axis=1))
        return Prediction(count, int(np.sum(failed)), draws)


class SeriesLoad:
    """The load of the host that the boots of one series shared: a draw of its median factor for each draw of P."""

    def __init__(self, prior: HostLoad, factors: NDArray[np.float64], seed: Sequence[int], draws: int = DRAWS) -> None:
        """factors: float64[boots], those that the simulated boots drew. seed: the same for all cells of a series."""
        between = np.sqrt(prior.boot_sigma**2 - prior.within_sigma**2)
        self._shift = np.random.default_rng(seed).normal(0.0, between, draws)  # of the logarithm
        self._log = np.log(factors / prior.boot_median)
        self._prior = prior

    def weights(self, some: slice) -> NDArray[np.float64]:
        """Density of each boot's factor under the drawn load over that of the prior, but for a constant factor.

        float64[draws, boots].
        """
        within = (self._log[None, :] - self._shift[some, None]) / self._prior.within_sigma
        overall = self._log / self._prior.boot_sigma
        return np.asarray(np.exp((overall**2 - within**2) / 2))


def _dirichlet(levels: int, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Weights of `levels` recordings. The variance of a weighted mean is that of the values / (levels * parameter + 1).

    float64[draws, levels], each row of sum 1.
    """
    return generator.dirichlet(np.full(levels, _dirichlet_parameter(levels)), size=draws)


def _dirichlet_parameter(levels: int) -> float:
    if levels < 3:
        return LEAST_PARAMETER  # two recordings say next to nothing about how they vary
    widening = (student.ppf(0.975, levels - 1) / norm.ppf(0.975)) ** 2
    return float(max(((levels - 1) / widening - 1) / levels, LEAST_PARAMETER))


@dataclass(frozen=True)
class Simulation:
    """How cells are simulated: result folders under `folder`, the first `boots` boots of each cell.

    settings: keys of `[timing]` that are replaced. A boot_median or boot_sigma among them replaces the prior over the
    load of the host. workers: None for one per processor.
    """

    folder: Path
    boots: int = BOOTS
    seed: int = SEED
    settings: Sequence[Setting] = ()
    workers: int | None = None

    def host_load(self, environment: str) -> HostLoad | None:
        """The prior over the load of the host, unless there is none or it was replaced."""
        keys = ("timing.boot_median", "timing.boot_sigma")
        replaced = any(setting.touches(key) for setting in self.settings for key in keys)
        return None if replaced else workload_timing(environment).host_load


def experiment(environment: str, jitter: int, simulation: Simulation) -> Experiment:
    """All recorded kernels at all RAM sizes on the workload of an environment; cells of it are run as needed.

    It covers more than any counts file, so that one result folder serves all of them.
    """
    tables = [
        "\n".join([f"[variants.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in definition.items())])
        for name, definition in DEFINITIONS.items()
    ]
    prior = simulation.host_load(environment)
    load = [] if prior is None else [f"boot_median = {prior.boot_median}", f"boot_sigma = {prior.boot_sigma}"]
    text = f"""# Written by `mcsim check model`: the kernels whose boots were recorded and counted.
[experiment]
name = "{environment}-jitter-{jitter}"
title = "Boots of environment {environment} at noise setting {jitter}"
variants = {json.dumps(list(DEFINITIONS))}
ram = {json.dumps([format_size(each) for each in recorded_board(environment).all_ram()])}
boots = {BOOTS}

[workload]
recordings = {json.dumps(environment)}

[timing]
jitter = {jitter}
{_lines(load)}
{_lines(tables)}"""
    return parse(text, f"check model {environment}", simulation.settings).with_seed(simulation.seed)


def _lines(parts: Iterable[str]) -> str:
    return "".join(f"{part}\n" for part in parts)


def predict(
    places: Iterable[Place], simulation: Simulation, progress: Callable[[], Progress]
) -> dict[Place, Prediction]:
    """Simulate boots of each place and predict its P(OOM); each environment and noise setting is a run of its own.

    Boots that the folders already hold are not simulated again, and more than asked for are not used.
    """
    if not 1 <= simulation.boots <= MAX_BOOTS:
        raise UserError(f"{simulation.boots} is out of range", key="--boots", valid=BOOTS_SYNTAX)
    wanted = sorted(set(places))
    predictions: dict[Place, Prediction] = {}
    for environment, jitter in sorted({(place.environment, place.jitter) for place in wanted}):
        group = [place for place in wanted if (place.environment, place.jitter) == (environment, jitter)]
        predictions |= _predict_group(environment, jitter, group, simulation, progress)
    return predictions


def _predict_group(
    environment: str, jitter: int, places: Sequence[Place], simulation: Simulation, progress: Callable[[], Progress]
) -> dict[Place, Prediction]:
    loaded = experiment(environment, jitter, simulation)
    store = Store(simulation.folder / loaded.name)
    cells = {(place.variant, place.ram_mb): place for place in places}
    tasks = engine.run(
        loaded,
        store,
        lambda tasks: [task for task in tasks if (task.variant, task.ram >> 20) in cells],
        boots=simulation.boots,
        workers=engine.workers_or_all(simulation.workers),
        backend="threads",
        progress=progress(),
    )
    arrays = simulator.load_workload(environment, loaded.board).arrays
    weights = Weights(len(arrays.recording), len(arrays.pre_init_range))
    prior = simulation.host_load(environment)
    found = {}
    for task in tasks:
        used = first_boots(store, task, simulation.boots)
        recording, pre_init, failed, factor = (
            used[name].to_numpy() for name in ("recording", "pre_init", "failed", "boot_factor")
        )
        ram_mb = task.ram >> 20
        load = None
        if prior is not None:
            load = SeriesLoad(prior, simulator.factors(factor), (DRAWS_SEED, ram_mb, jitter))
        found[cells[task.variant, ram_mb]] = weights.predict(recording, pre_init, failed, load)
    return found
