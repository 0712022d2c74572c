"""`mcsim run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from mcsim.cli import options
from mcsim.errors import UserError


def _check_indices(_: click.Context, __: click.Parameter, check: bool) -> bool:
    """Numba reads this when it is first imported, which no command has done yet when its options are read."""
    if check and "numba" not in sys.modules:
        os.environ["NUMBA_BOUNDSCHECK"] = "1"
    return check


@click.command(
    short_help="P(OOM) per kernel variant and RAM size: boots it, many times",
    epilog="A size is written 32M; several cells: repeat --variant and --ram, or --ram '30M..33M step 1M'.",
)
@options.experiment
@options.cells
@options.sample("Boots per cell [default: the experiment's].")
@options.settings
@options.output("Result folder [default: results/NAME].")
@options.workers
@click.option(
    "--backend",
    type=click.Choice(["threads", "processes", "dask"]),
    default="threads",
    show_default=True,
    help="What a worker is; outcomes are the same.",
)
@click.option("--scheduler", metavar="ADDRESS", help="With --backend dask: where its scheduler is, tcp://HOST:8786.")
@click.option("--shard", metavar="I/N", help="Only part I (from 1) of N, to be put together by mcsim merge.")
@click.option("--max-failures", metavar="N", help="A cell ends when so many boots have failed.")
@click.option("--half-width", metavar="X", help="A cell ends when P(OOM) is known to +- X.")
@click.option("--relative-half-width", metavar="X", help="A cell ends when P(OOM) is known to +- X times itself.")
@click.option("--decided", metavar="V", help="A cell ends when its difference from variant V is clear.")
@click.option("--wall-time", metavar="T", help="The run ends after T, as in 90s, 30m, 1h30m.")
@click.option("--boot", type=int, metavar="K", help="Simulate boot K alone and print its outcome; nothing is stored.")
@click.option(
    "--check",
    is_flag=True,
    callback=_check_indices,
    help="First check these boots: every invariant after each request, every array index.",
)
@click.option("--cells", "with_cells", is_flag=True, help="Also print a line per cell, as table.txt has it.")
@click.option("-v", "--verbose", is_flag=True, help="Print details.")
def run(
    experiment: str,
    boots: int | None,
    out: Path | None,
    workers: int | None,
    backend: Any,
    scheduler: str | None,
    shard: str | None,
    variants: tuple[str, ...],
    ram: tuple[str, ...],
    seed: int | None,
    level: float,
    changes: tuple[str, ...],
    max_failures: str | None,
    half_width: str | None,
    relative_half_width: str | None,
    decided: str | None,
    wall_time: str | None,
    boot: int | None,
    check: bool,
    with_cells: bool,
    verbose: bool,
) -> None:
    """Run EXPERIMENT (a file, or the name of a shipped one), or go on where it ended.

    \b
    Examples:
      mcsim run mail-2022 --boots 200
      mcsim run my.toml --out /tmp/try --ram 32M --variant maple-naive
      mcsim run mail-2022 --half-width 0.01 --boots 20000
      mcsim run mail-2022 --set timing.gap_sigma=0.3 --out results/noisier
      mcsim run mail-2022 --shard 3/16
      mcsim run mail-2022 --variant maple-naive --ram 32M --boot 17 -v
      mcsim run mail-2022 --boots 3 --check --out /tmp/checked
    """
    from mcsim.model.experiment import load
    from mcsim.model.settings import Setting
    from mcsim.stats.intervals import check_level

    check_level(level)
    settings = [Setting.of(text) for text in changes]
    for option, value in (
        ("--max-failures", max_failures),
        ("--half-width", half_width),
        ("--relative-half-width", relative_half_width),
        ("--decided", decided),
        ("--wall-time", wall_time),
    ):
        if value is not None:
            settings.append(Setting.of_option(option, value))
    loaded = load(experiment, settings)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    if boot is not None:
        if check:
            raise UserError("goes with boots that are stored", key="--check", valid="--boots instead of --boot")
        from mcsim.cli.one_boot import print_boot

        print_boot(loaded, variants, ram, boot, verbose)
        return

    import mcsim
    from mcsim.api import default_folder
    from mcsim.files import printable
    from mcsim.report import screen
    from mcsim.run.progress import for_stderr

    folder = default_folder(loaded, shard) if out is None else out
    if verbose:
        click.echo(printable(f"experiment {loaded.path}, results in {folder}"), err=True)
    try:
        result = mcsim.run(
            loaded,
            boots=boots,
            out=folder,
            workers=workers,
            backend=backend,
            scheduler=scheduler,
            shard=shard,
            variants=variants,
            ram=ram,
            check=check,
            progress=for_stderr(),
        )
    except KeyboardInterrupt:
        click.echo(
            printable(
                f"Interrupted. Finished boots are kept in {folder}; the same command continues.\n"
                f"What is there so far: mcsim report {folder}"
            ),
            err=True,
        )
        raise
    if result.summary().height == 0:
        click.echo("No boot of this part is to be run.", err=True)
        return
    click.echo(screen.table(result, level, with_cells))

    from mcsim.report.write import write  # after the table: what pictures need is slow to import
    from mcsim.studies.findings import findings

    found = findings(result, level)
    click.echo(screen.written(write(found)), err=True)
    click.echo(screen.answer(found), nl=False)
    if result.checked is not None:
        click.echo(str(result.checked), err=True)
