"""`mcsim sensitivity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcsim.cli import options

if TYPE_CHECKING:
    from mcsim.studies.sensitivity import Sensitivity


@click.command(short_help="What moves P(OOM) most", epilog="Exit code: 0, or 2 for bad input.")
@options.experiment
@options.cell
@click.option(
    "--factor",
    "factors",
    multiple=True,
    metavar="KEY=LOW,HIGH",
    help="A key of the timing or a policy, and its two levels (repeatable, 7 at most) [default: gap_sigma, boot_sigma "
    "and boot_median halved and doubled, jitter 0 and 2].",
)
@options.sample("Boots of each combination of levels.", 1000)
@options.settings
@options.output("Folder of boots and picture [default: results/NAME-sensitivity].", ["text", "csv"])
@options.workers
def sensitivity(
    experiment: str,
    variant: str,
    ram: str,
    factors: tuple[str, ...],
    boots: int,
    seed: int | None,
    level: float,
    changes: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    form: str,
) -> None:
    """Which factor of timing or workload moves P(OOM) most?

    All combinations of the levels (from five factors on: half of them) on the same boots. The same command again
    continues. [stop] and [sweep] of the experiment are not used.

    \b
    Examples:
      mcsim sensitivity mail-2022 --variant tail-free --ram 32M
      mcsim sensitivity mail-2022 --variant tail-free --ram 32M --factor gap_sigma=0.05,0.22 \\
        --factor exact_tail=head,tail
    """
    import mcsim
    from mcsim.files import csv_of
    from mcsim.report.tornado import write
    from mcsim.run.progress import for_stderr
    from mcsim.studies.study import not_used

    loaded = options.loaded(experiment, changes, seed)
    folder = Path("results") / f"{loaded.name}-sensitivity" if out is None else out
    try:
        found = mcsim.sensitivity(
            loaded,
            variant=variant,
            ram=ram,
            factors=factors,
            boots=boots,
            level=level,
            out=folder,
            workers=workers,
            progress=for_stderr,
        )
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished boots are kept; the same command continues.", err=True)
        raise
    title = f"{loaded.name}, {variant} at {ram}, seed {loaded.seed}"
    if form == "csv":
        click.echo(csv_of(found.effects), nl=False)
    else:
        click.echo(page(found, title, not_used(loaded)), nl=False)
    paths = write(found, title, folder / f"tornado-{variant}-{ram}")
    click.echo("written: " + ", ".join(map(str, paths)), err=True)


def page(found: Sensitivity, title: str, notes: Sequence[str] = ()) -> str:
    """Table of effects, table of the workload, how they were made, `notes`; at most 72 columns wide."""
    from mcsim.report.text import percent, wrapped

    level = percent(found.effects["level"][0])
    head = f"{'effect on P(OOM), in points':<41}{'P1-P0':>8}{level:>16}{'p':>7}"
    effects = [head, *map(_line, found.effects.iter_rows(named=True))]
    shares = [f"{'the workload':<22}{'levels':>8}{'+- points':>11}{'share of variance':>31}"]
    shares += [_share(row) for row in found.workload.iter_rows(named=True)]
    parts = [wrapped([title]), effects, shares, wrapped([*_method(found, level), *notes])]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    from mcsim.report.comparison import p_words

    interval = f"{100 * row['low']:+.2f} {100 * row['high']:+.2f}"
    name = f"{row['effect']} {row['levels']}".rstrip()
    return f"{name:<41}{100 * row['difference']:>+8.2f}{interval:>16}{p_words(row['adjusted']):>7}"


def _share(row: dict[str, Any]) -> str:
    if row["share"] is None:
        return f"{row['source']:<22}{row['count']:>8}{'-':>11}{'-':>31}"
    share = f"{100 * row['share']:.1f} +- {100 * row['error']:.1f} %" if row["error"] is not None else "-"
    return f"{row['source']:<22}{row['count']:>8}{100 * row['deviation']:>11.2f}{share:>31}"


def _method(found: Sensitivity, level: str) -> list[str]:
    from mcsim.stats.factorial import FULL

    count = len(found.factors)
    cells = f"all {found.cells} combinations" if count <= FULL else f"{found.cells} of {2**count} combinations"
    lines = [
        f"{cells} of {count} factors, {found.boots:,} boots in each, the same boots in all; mean P(OOM) "
        f"{100 * found.mean:.2f} %. P1-P0: mean over the cells at the second level less that at the first; A x B: half "
        f"of what B changes in the effect of A. Interval: score, {level} each, a boot as the unit. p: exact sign-flip "
        f"test, adjusted for {found.effects.height} effects (Holm).",
        "+- points: standard deviation of P from one recording, or pre-init phase, to the next; share: of the variance "
        "of whether a boot fails, with its standard error (jackknife); the rest is the timing of each boot, and both "
        "together.",
        "Effects hang on the levels: a factor whose levels are further apart moves P more. How far the model is from "
        "real boots is not in here (docs/validation.md).",
    ]
    return lines
