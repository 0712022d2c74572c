"""`mcsim compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.cli import options
from mcsim.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from mcsim.store.result import Result

EXIT_WORSE, EXIT_UNDECIDED = 1, 3


@click.command(
    short_help="Which variants differ from one of them, and how surely",
    epilog="Exit code with --gate: 0 every row is better or equivalent, 1 some row differs for the worse, 3 none does "
    "but some row is undecided (more boots, or a larger --delta). Without it always 0; 2 bad input.",
)
@click.argument("what", nargs=-1, required=True, metavar="RESULT | FAILURES/BOOTS...")
@click.option("--baseline", metavar="V", help="The variant that all others are compared with.")
@click.option("--counts", type=click.Path(path_type=Path), metavar="FILE", help="Compare counts of real boots instead.")
@options.sizes
@click.option(
    "--delta", type=float, default=0.02, show_default=True, metavar="D", help="Smaller differences do not matter."
)
@options.level
@click.option("--peeking", is_flag=True, help="Verdicts that hold although the run was looked at, or stopped, early.")
@click.option("--gate", is_flag=True, help="Tell the verdict by the exit code, for CI.")
@click.option("--label", "labels", multiple=True, metavar="NAME", help="Of each FAILURES/BOOTS, in order (repeatable).")
@options.output(forms=["text", "csv", "markdown"], text="What is printed; csv has all columns. markdown: counts only.")
@click.pass_context
def compare(
    context: click.Context,
    what: tuple[str, ...],
    baseline: str | None,
    counts: Path | None,
    ram: tuple[str, ...],
    delta: float,
    level: float,
    peeking: bool,
    gate: bool,
    labels: tuple[str, ...],
    form: str,
) -> None:
    """Compare the variants of RESULT with a baseline, boot by boot: which differ, which are equivalent?

    The last row of each pools its RAM sizes.

    With --counts, failure counts of real boots (CSV: env,variant,ram_mb,jitter,boots,failures,use) are compared with
    the simulated boots of the same kernel, or with those of --baseline.

    Without a RESULT, two or more counts are compared with each other, and no model is asked.

    \b
    Examples:
      mcsim compare results/mail-2022 --baseline maple-naive
      mcsim compare results/mail-2022 --baseline maple-naive --ram 32M --gate
      mcsim compare results/mail-2022 --counts real-boots.csv
      mcsim compare 0/3 3/4 --label patched --label before
    """
    import mcsim
    from mcsim.files import csv_of
    from mcsim.report.comparison import counts_page, page

    if _are_counts(what):
        why = "with a RESULT: counts have no baseline that a difference could be worse than"
        options.refuse(context, why, "baseline", "counts", "ram", "delta", "peeking", "gate")
        _print_pairs(what, labels, level, form)
        return
    options.refuse(context, "with counts, as 0/3 3/4", "labels")
    if form == "markdown":
        raise UserError("is for counts, as 0/3 3/4", key="--format", valid="text, csv")
    loaded = mcsim.load(what[0])
    if counts is not None:
        if peeking:
            raise UserError("does not go with --counts", key="--peeking", valid="one of them")
        frame = _counts(loaded, counts, baseline, ram, delta, level)
        show = counts_page
    elif baseline is None:
        names = ", ".join(each.name for each in loaded.experiment.variants)
        raise UserError("is missing", key="--baseline", valid=names)
    else:
        frame = mcsim.compare(loaded, baseline=baseline, ram=ram, delta=delta, level=level, peeking=peeking)
        show = page
        if loaded.ended() and not peeking:
            click.echo("A rule that looked at the boots ended cells of this result: as with --peeking.", err=True)
    if form == "csv":
        click.echo(csv_of(frame), nl=False)
    else:
        click.echo(show(frame, f"{loaded.experiment.name}, seed {loaded.experiment.seed}"), nl=False)
    if gate:
        context.exit(gate_code(frame))


def _are_counts(what: tuple[str, ...]) -> bool:
    """The first word decides. UserError if the others do not go with it."""
    from mcsim.studies.counts import VALID, is_count

    kinds = [is_count(each) for each in what]
    if kinds[0]:
        if not all(kinds):
            raise UserError("does not go with counts", key=what[kinds.index(False)], valid=VALID)
        return True
    if len(what) > 1:
        raise UserError("does not go with a RESULT", key=what[1], valid="one RESULT, or counts alone, as 0/3 3/4")
    return False


def _print_pairs(what: tuple[str, ...], labels: tuple[str, ...], level: float, form: str) -> None:
    from mcsim.files import csv_of
    from mcsim.report.counts import markdown, page
    from mcsim.studies.counts import compare_counts, read_count

    frame = compare_counts([read_count(each) for each in what], labels=labels, level=level)
    click.echo({"text": page, "csv": csv_of, "markdown": markdown}[form](frame), nl=False)


def _counts(
    loaded: Result, path: Path, baseline: str | None, ram: tuple[str, ...], delta: float, level: float
) -> pl.DataFrame:
    from mcsim.model.counts import read_counts
    from mcsim.studies.compare import compare_counts

    names = [each.name for each in loaded.experiment.variants]
    read = read_counts(path, [Path(loaded.experiment.workload).name], names)
    return compare_counts(loaded, read.cells, baseline=baseline, ram=ram, delta=delta, level=level)


def gate_code(frame: pl.DataFrame) -> int:
    """Worst verdict as exit code; no row at all is undecided."""
    from mcsim.stats.verdicts import DIFFERS, UNDECIDED

    differs = frame.filter(frame["verdict"] == DIFFERS)
    if (differs["difference"] > 0.0).any():
        return EXIT_WORSE
    return EXIT_UNDECIDED if frame.height == 0 or (frame["verdict"] == UNDECIDED).any() else 0
