"""What `import mcsim` offers; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment
    from mcsim.result import Result
    from mcsim.run.engine import Backend
    from mcsim.run.progress import Progress


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
