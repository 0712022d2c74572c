"""`mcsim check model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.cli import options
from mcsim.errors import UserError, did_you_mean
from mcsim.files import csv_of, is_file, is_same_file, one_line, read_text

if TYPE_CHECKING:
    from mcsim.fidelity.model.predict import Simulation
    from mcsim.model.settings import Setting

EXIT_REFUTED = 1
PREDICTED_VARIANTS = ("V0", "V1", "V2", "V3", "M0", "M3")
PREDICTED_RAM_MB = (28, 29, 30, 31, 32)
PREDICTION_COLUMNS = "env,variant,ram_mb,jitter,p,low,high,"  # how such a file begins


@click.command(
    short_help="Predicted P(OOM) against failure counts of real boots",
    epilog="Exit code: 0 within the thresholds, 1 outside of them (adjusted p below 0.05 in a row that the model was "
    "not fitted to; a threshold of --counterfactual missed), 2 bad input.",
)
@click.argument("recordings", nargs=-1, metavar="[RECORDING]...")
@click.option(
    "--counts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Failure counts of real boots (CSV: env,variant,ram_mb,jitter,boots,failures,use) [default: those that come "
    "along].",
)
@click.option("--predict", "environment", metavar="ENV", help="Predict an environment without counts instead.")
@click.option(
    "--counterfactual", is_flag=True, help="Run recorded boots again instead: all that come along, or each RECORDING."
)
@click.option("--boots", type=int, metavar="N", help="Simulated boots per cell [default: 2000].")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results/check-model"),
    show_default=True,
    metavar="DIR",
    help="Folder of the simulated boots and of what is written.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where --predict writes, over nothing but older predictions [default: results/predictions/ENV.csv].",
)
@options.workers
@click.option("--seed", type=int, metavar="S", help="Another seed of the simulated boots.")
@options.settings
@click.pass_context
def model(
    context: click.Context,
    recordings: tuple[str, ...],
    counts: Path | None,
    environment: str | None,
    counterfactual: bool,
    boots: int | None,
    out: Path,
    table: Path | None,
    workers: int | None,
    seed: int | None,
    changes: tuple[str, ...],
) -> None:
    """Compare the model with real boots: predicted P(OOM) with failure counts.

    The same command again continues an interrupted run, and uses the stored boots for other counts. Of the experiment,
    --set may replace keys of the timing.

    \b
    Examples:
      mcsim check model
      mcsim check model --counts my-counts.csv --boots 4000
      mcsim check model --predict N
      mcsim check model --counterfactual C_V0_64MB_j0_a
    """
    if counterfactual + (environment is not None) + (counts is not None) > 1:
        raise UserError("do not go together", key="--counts, --predict, --counterfactual", valid="one of them")
    if recordings and not counterfactual:
        raise UserError(f"{recordings[0]!r} is unexpected", key="RECORDING", valid="only with --counterfactual")
    if table is not None and environment is None:
        raise UserError("has nothing to write", key="--csv", valid="only with --predict")
    if counterfactual:
        passed = _counterfactual(recordings, out)
    else:
        from mcsim.fidelity.model.predict import BOOTS, SEED, Simulation

        simulation = Simulation(
            folder=out,
            boots=BOOTS if boots is None else boots,
            seed=SEED if seed is None else seed,
            settings=[_of_timing(text) for text in changes],
            workers=workers,
        )
        if environment is not None:
            _predict(environment, table or Path("results") / "predictions" / f"{environment}.csv", simulation)
            passed = True
        else:
            passed = _validate(counts, simulation)
    if not passed:
        context.exit(EXIT_REFUTED)


def _of_timing(text: str) -> Setting:
    """The setting of --set; UserError if it is of anything but the timing, which is all that may differ here."""
    from mcsim.model.settings import Setting

    setting = Setting.of(text)
    if setting.path[0] != "timing":
        raise UserError("is not of the timing", key=setting.option, valid="timing.KEY=VALUE, as timing.gap_sigma=0.3")
    return setting


def _validate(counts: Path | None, simulation: Simulation) -> bool:
    """Rung 4: counts."""
    from mcsim.fidelity.model.score import validate as compare
    from mcsim.report.validation import WRITTEN, page, write
    from mcsim.run.progress import for_stderr

    for name in WRITTEN:
        if counts is not None and is_same_file(counts, simulation.folder / name):
            raise UserError("would be overwritten, and is read", file=counts, key="--counts", valid="another --out")
    validation = compare(counts, simulation, for_stderr)
    click.echo(page(validation), nl=False)
    _say_written(*write(validation, simulation.folder))
    return validation.passed


def _predict(environment: str, table: Path, simulation: Simulation) -> None:
    """Predictions of an environment that nobody has counted."""
    from mcsim.fidelity.model.predict import predict
    from mcsim.files import write_each
    from mcsim.model.counts import JITTERS, Place
    from mcsim.model.experiment import recorded_board
    from mcsim.report.validation import prediction_frame, prediction_page
    from mcsim.run.progress import for_stderr
    from mcsim.simulator.simulator import kernel_hash, load_workload
    from mcsim.workload import shipped_workloads

    known = shipped_workloads()
    if environment not in known:
        what = f"{environment!r} is not an environment with a workload{did_you_mean(environment, known)}"
        raise UserError(what, key="--predict", valid=", ".join(known))
    places = [
        Place(environment, variant, ram_mb, jitter)
        for variant in PREDICTED_VARIANTS
        for ram_mb in PREDICTED_RAM_MB
        for jitter in JITTERS
    ]
    _check_table(table)
    predictions = predict(places, simulation, for_stderr)
    numbers = prediction_frame(
        predictions, kernel_hash(), load_workload(environment, recorded_board(environment)).digest
    )
    write_each({table: csv_of(numbers).encode()})
    click.echo(prediction_page(numbers), nl=False)
    _say_written(table)


def _check_table(table: Path) -> None:
    """UserError if there is a file that `mcsim check model --predict` did not write."""
    if not os.path.lexists(table):
        return
    beginning = read_text(table) if is_file(table) and not table.is_symlink() else ""
    if not beginning.startswith(PREDICTION_COLUMNS):
        valid = "a new file, or one that --predict wrote"
        raise UserError("is there, and holds no predictions", file=table, key="--csv", valid=valid)


def _counterfactual(recordings: tuple[str, ...], folder: Path) -> bool:
    """Rung 3: recorded boots once more."""
    from mcsim.fidelity.model.counterfactual import compare_order, programs, recorded_orders
    from mcsim.files import write_each
    from mcsim.report.validation import counterfactual_page

    benches = programs(recordings)
    text, passed = counterfactual_page([compare_order(bench) for bench in benches], recorded_orders(benches))
    path = folder / "counterfactual.txt"
    write_each({path: text.encode()})
    click.echo(text, nl=False)
    _say_written(path)
    return passed


def _say_written(*paths: Path) -> None:
    click.echo("written: " + one_line(", ".join(map(str, paths))), err=True)
