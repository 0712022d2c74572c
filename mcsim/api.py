"""What `import mcsim` offers; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment
    from mcsim.result import Result
    from mcsim.run.engine import Backend
    from mcsim.run.progress import Progress
    from mcsim.stats.sensitivity import Sensitivity


def run(
    experiment: str | Path | Experiment,
    *,
    boots: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    backend: Backend = "threads",
    variants: Iterable[str] = (),
    ram: Iterable[str] = (),
    seed: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run an experiment, or go on with it, and return its result.

    `experiment` is a file, the name of a shipped experiment, or a loaded one. `boots` and `seed` replace
    those of the file; `variants` and `ram` (sizes such as "32M") select cells; `out` is the result folder
    (default: results/NAME). Boots that the folder already holds are not simulated again. UserError for any
    bad input.
    """
    from mcsim.model.experiment import BOOTS_SYNTAX, MAX_BOOTS, Experiment, select
    from mcsim.model.experiment import load as load_experiment
    from mcsim.result import Result
    from mcsim.run import engine
    from mcsim.run.progress import Silent
    from mcsim.run.store import Store

    loaded = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    wanted = loaded.boots if boots is None else boots
    if not 1 <= wanted <= MAX_BOOTS:
        raise UserError(f"{wanted} is out of range", key="--boots", valid=BOOTS_SYNTAX)
    if backend not in engine.BACKENDS:
        raise UserError(f"{backend!r} is not a backend", key="--backend", valid=", ".join(engine.BACKENDS))
    store = Store(Path("results") / loaded.name if out is None else Path(out))
    names, sizes = list(variants), list(ram)
    engine.run(
        loaded,
        store,
        lambda tasks: select(tasks, names, sizes),
        boots=wanted,
        workers=engine.workers_or_all(workers),
        backend=backend,
        progress=Silent() if progress is None else progress,
    )
    return Result(store.path)


def load(path: str | Path) -> Result:
    """The result in a folder that a run made."""
    from mcsim.result import Result

    return Result(path)


def compare(
    result: Result | str | Path,
    *,
    baseline: str,
    ram: Iterable[str] = (),
    delta: float = 0.02,
    level: float = 0.95,
    peeking: bool = False,
) -> pl.DataFrame:
    """Each other variant of a result against `baseline` on the same boots: a polars data frame.

    One row per variant and RAM size, and one for all sizes in `ram` (default: all); `mcsim.stats.compare.compare`
    explains columns, verdicts and `peeking`. UserError for any bad input.
    """
    from mcsim.stats.compare import compare as compare_result

    loaded = load(result) if isinstance(result, str | Path) else result
    return compare_result(loaded, baseline, ram=ram, delta=delta, level=level, peeking=peeking)


def min_ram(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    p: float,
    ram: Iterable[str] = (),
    level: float = 0.95,
    boots: int | None = None,
    assume_monotonic: bool = False,
    out: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    progress: Callable[[], Progress] | None = None,
) -> pl.DataFrame:
    """Which RAM sizes (such as "28M..64M step 1M"; default: the experiment's) have P(OOM) <= `p`: a polars data frame.

    One row per size; `mcsim.stats.min_ram` explains columns and verdicts. UserError for any bad input.
    """
    from mcsim.model.units import parse_sizes
    from mcsim.stats.min_ram import min_ram as scan

    loaded = _loaded(experiment, seed)
    try:
        sizes = parse_sizes(list(ram)) if ram else loaded.ram
    except UserError as error:
        raise error.at(key="--ram") from None
    return scan(
        loaded,
        variant,
        sizes,
        p,
        level=level,
        boots=boots,
        assume_monotonic=assume_monotonic,
        out=None if out is None else Path(out),
        workers=workers,
        progress=progress,
    )


def sensitivity(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    ram: str,
    factors: Iterable[str] = (),
    boots: int = 1000,
    level: float = 0.95,
    out: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    progress: Callable[[], Progress] | None = None,
) -> Sensitivity:
    """Which factor of timing or workload moves P(OOM) of one variant at one RAM size most.

    `factors` such as "gap_sigma=0.05,0.22" (default: those of the timing); `mcsim.stats.sensitivity` explains design
    and columns. UserError for any bad input.
    """
    from mcsim.stats.sensitivity import sensitivity as measure

    return measure(
        _loaded(experiment, seed),
        variant,
        ram,
        list(factors),
        boots=boots,
        level=level,
        out=None if out is None else Path(out),
        workers=workers,
        progress=progress,
    )


def _loaded(experiment: str | Path | Experiment, seed: int | None) -> Experiment:
    from mcsim.model.experiment import Experiment
    from mcsim.model.experiment import load as load_experiment

    loaded = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    return loaded if seed is None else loaded.with_seed(seed)
