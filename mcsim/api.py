"""What `import mcsim` offers; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import mcsim.run  # noqa: F401 - the package first, so that the name `mcsim.run` stays the function below
from mcsim.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment
    from mcsim.report.explanation import Explanation
    from mcsim.run.crew import Backend
    from mcsim.run.progress import Progress
    from mcsim.store.result import Result
    from mcsim.studies.rare import Rare
    from mcsim.studies.sensitivity import Sensitivity


def run(
    experiment: str | Path | Experiment,
    *,
    boots: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    backend: Backend = "threads",
    scheduler: str | None = None,
    shard: str | None = None,
    variants: Iterable[str] = (),
    ram: Iterable[str] = (),
    seed: int | None = None,
    settings: Mapping[str, object] | None = None,
    check: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run an experiment, or go on with it, and return its result.

    `experiment` is a file, the name of a shipped experiment, or a loaded one. `boots` and `seed` replace
    those of the file, `settings` any other keys ({"stop.half_width": 0.01}); `variants` and `ram` (sizes such as
    "32M") select cells; `out` is the result folder (default: results/NAME, with `shard` results/NAME-IofN). Boots that
    the folder already holds are not simulated again. `shard` "I/N" simulates one of N parts, to be put together by
    `merge`. With `backend` "dask", `scheduler` is its address. UserError for any bad input.

    With `check` all these boots are simulated before that with every invariant checked after each request, those that
    are stored already, too, and stored outcomes are compared with theirs; the result's `checked` says what was checked.
    InvariantViolatedError if anything is wrong: then mcsim is. Indices of arrays are checked as well if
    NUMBA_BOUNDSCHECK=1 is in the environment before Numba is first imported.
    """
    from mcsim.model.experiment import Experiment, number_of_boots, select
    from mcsim.model.experiment import load as load_experiment
    from mcsim.model.settings import Setting
    from mcsim.run import crew, engine
    from mcsim.run.check import check_boots
    from mcsim.run.progress import Silent
    from mcsim.simulator import simulator
    from mcsim.store.checked import compare
    from mcsim.store.result import Result
    from mcsim.store.shard import Shard
    from mcsim.store.store import Store

    if isinstance(experiment, Experiment):
        if settings:
            raise UserError("an experiment that is loaded has its settings", key="settings", valid="a file or a name")
        loaded = experiment
    else:
        loaded = load_experiment(experiment, [Setting.of_value(*each) for each in (settings or {}).items()])
    if seed is not None:
        loaded = loaded.with_seed(seed)
    wanted = number_of_boots(loaded.boots if boots is None else boots)
    if backend not in crew.BACKENDS:
        raise UserError(f"{backend!r} is not a backend", key="--backend", valid=", ".join(crew.BACKENDS))
    if (backend == "dask") != (scheduler is not None):
        raise UserError("go together", key="--backend dask, --scheduler", valid="--scheduler tcp://HOST:8786")
    part = None if shard is None else Shard.parse(shard)
    store = Store(default_folder(loaded, shard) if out is None else Path(out))
    names, sizes = list(variants), list(ram)
    progress = Silent() if progress is None else progress
    threads = engine.workers_or_all(workers)
    if check:
        dealt = Shard() if part is None else part
        chosen = select(loaded.tasks(simulator.load_workload(loaded.workload, loaded.board).digest), names, sizes)
        if loaded.stop.given():  # then a shard has whole cells, as in engine.run()
            chosen, dealt = dealt.whole_sizes(chosen), Shard()
        checked = check_boots(chosen, loaded.workload, wanted, dealt, threads, progress)
    engine.run(
        loaded,
        store,
        lambda tasks: select(tasks, names, sizes),
        boots=wanted,
        workers=threads,
        backend=backend,
        scheduler=scheduler,
        shard=part,
        progress=progress,
    )
    result = Result(store.path)
    if check:
        result.checked = compare(checked, chosen, store)
    return result


def default_folder(experiment: Experiment, shard: str | None = None) -> Path:
    """Where the results of an experiment, or of one part of it, go unless the user says otherwise."""
    return Path("results") / (experiment.name if shard is None else f"{experiment.name}-{shard.replace('/', 'of')}")


def load(path: str | Path) -> Result:
    """The result in a folder that a run made."""
    from mcsim.store.result import Result

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

    One row per variant and RAM size, and one for all sizes in `ram` (default: all); `mcsim.studies.compare.compare`
    explains columns, verdicts and `peeking`. UserError for any bad input.
    """
    from mcsim.studies.compare import compare as compare_result

    loaded = load(result) if isinstance(result, str | Path) else result
    return compare_result(loaded, baseline, ram=ram, delta=delta, level=level, peeking=peeking)


def compare_counts(
    counts: Iterable[tuple[int, int]], *, labels: Iterable[str] = (), level: float = 0.95
) -> pl.DataFrame:
    """Counts of failures, as `[(0, 3), (3, 4)]` of boots, against each other without a model: a row for each pair.

    `mcsim.studies.counts.compare_counts` explains the columns. UserError for any bad input.
    """
    from mcsim.studies.counts import compare_counts as compare_pairs

    return compare_pairs(counts, labels=labels, level=level)


def merge(sources: Iterable[str | Path], out: str | Path) -> Result:
    """The union of results of one experiment (parts, or runs on several machines) in the new folder `out`.

    The same folder, byte for byte, in whatever order they are given and however often. UserError if they are of
    different experiments, workloads or kernels.
    """
    from mcsim.store.merge import merge as merge_folders
    from mcsim.store.result import Result

    merge_folders([Path(each) for each in sources], Path(out))
    return Result(out)


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

    One row per size; `mcsim.studies.min_ram` explains columns and verdicts. UserError for any bad input.
    """
    from mcsim.model.units import parse_sizes
    from mcsim.studies.min_ram import min_ram as scan

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


def rare(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    ram: str,
    repetitions: int = 20,
    boots: int = 100,
    level: float = 0.95,
    out: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Rare:
    """P(OOM) of one variant at one RAM size (such as "37M") where plain boots hardly ever fail.

    Multilevel splitting: `repetitions` independent estimates of `boots` boots of a recording a stage, in the mean
    over recordings; `mcsim.studies.rare` explains method and fields. UserError for any bad input.
    """
    from mcsim.studies.rare import rare as split

    return split(
        _loaded(experiment, seed),
        variant,
        ram,
        repetitions=repetitions,
        size=boots,
        level=level,
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

    `factors` such as "gap_sigma=0.05,0.22" (default: those of the timing); `mcsim.studies.sensitivity` explains design
    and columns. UserError for any bad input.
    """
    from mcsim.studies.sensitivity import sensitivity as measure

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


@overload
def explain(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    ram: str,
    boot: int | None = None,
    compare: str | None = None,
    boots: None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Explanation: ...


@overload
def explain(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    ram: str,
    boots: int,
    level: float = 0.95,
    seed: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame: ...


def explain(
    experiment: str | Path | Experiment,
    *,
    variant: str,
    ram: str,
    boot: int | None = None,
    compare: str | None = None,
    boots: int | None = None,
    level: float = 0.95,
    seed: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Explanation | pl.DataFrame:
    """Why a boot fails: one boot in full, or, with `boots`, whose pages break the blocks over so many.

    One boot (`boot`; default: the first that fails): the kernel's report, timeline, map of memory, and where variant
    `compare` takes another course. `page()` of what is returned is all of it as text, `save(folder)` writes text and
    pictures.

    With `boots`, a data frame of the owners of pages in the failing ones among the first `boots` boots, in `workers`
    threads; `mcsim.studies.explain.blame.of_boots` explains the columns. UserError for any bad input.
    """
    loaded = _loaded(experiment, seed)
    if boots is None:
        return _one_boot(loaded, variant, ram, boot, compare, progress)
    if boot is not None or compare is not None:
        raise UserError("go with one boot", key="--boot, --compare", valid="one boot; leave out --boots")
    return _owners(loaded, variant, ram, boots, level, workers, progress)


def diagnose(
    text: str | bytes,
    *,
    release: str | None = None,
    page_size: str | None = None,
    max_order: int | None = None,
    fit: str | None = None,
) -> dict[str, Any]:
    """What a kernel log says: why requests for memory were refused, by arithmetic on the log alone.

    `text` is the log (docs/diagnose.md says what is read). The other arguments say what the log may not: the kernel's
    release ("3.19"), its page size ("8K") and largest order; `fit` ("218K") asks how many more programs of that size
    fit. Returns one file of the document that `mcsim diagnose --json` prints: `["reports"][0]["verdict"]`, and so on.
    UserError if the text holds nothing that is known, or for any bad argument.
    """
    from mcsim.logs import reader
    from mcsim.logs.diagnosis import diagnose_all, given
    from mcsim.logs.document import of_file
    from mcsim.logs.trend import trend

    known = given(release, fit, page_size, max_order)
    log = reader.read_text(text)
    diagnoses = diagnose_all(log, known)
    return of_file(None, log, diagnoses, trend(diagnoses))


def _one_boot(
    experiment: Experiment, variant: str, ram: str, boot: int | None, compare: str | None, progress: Progress | None
) -> Explanation:
    from mcsim.report.explanation import Explanation
    from mcsim.run.compiling import compiling
    from mcsim.run.progress import Silent
    from mcsim.studies.explain import selection
    from mcsim.studies.explain.one_boot import explain

    task = selection.one_task(experiment, variant, ram)
    other = None if compare is None else selection.other_task(experiment, compare, task)
    with compiling("explain", Silent() if progress is None else progress):
        number = selection.first_failing(task, experiment.workload) if boot is None else boot
        return Explanation.of(explain(task, experiment.workload, number, other))


def _owners(
    experiment: Experiment,
    variant: str,
    ram: str,
    boots: int,
    level: float,
    workers: int | None,
    progress: Progress | None,
) -> pl.DataFrame:
    from mcsim.model.experiment import number_of_boots
    from mcsim.run.engine import workers_or_all
    from mcsim.stats.intervals import check_level
    from mcsim.studies.explain.blame import tally
    from mcsim.studies.explain.selection import one_task

    number_of_boots(boots)
    check_level(level)
    task = one_task(experiment, variant, ram)
    threads = workers_or_all(workers)
    return tally(task, experiment.workload, range(boots), workers=threads, progress=progress).owners(level)


def _loaded(experiment: str | Path | Experiment, seed: int | None) -> Experiment:
    from mcsim.model.experiment import Experiment
    from mcsim.model.experiment import load as load_experiment

    loaded = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    return loaded if seed is None else loaded.with_seed(seed)
