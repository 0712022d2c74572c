"""`mcsim rare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.cli import options

if TYPE_CHECKING:
    from mcsim.studies.rare import Rare


@click.command(
    short_help="P(OOM) where plain boots hardly ever fail",
    name="rare",
    epilog="Exit code 2 for bad input. How it works, and when not to trust it: docs/statistics.md, Rare events.",
)
@options.experiment
@options.cell
@click.option("--repetitions", type=int, default=20, show_default=True, metavar="N", help="Independent estimates.")
@options.sample("Boots of a recording at a level, in the mean.", 100)
@options.settings
@options.output("Folder of the repetitions [default: results/NAME-rare].", ["text", "csv"])
@options.workers
def rare(
    experiment: str,
    variant: str,
    ram: str,
    repetitions: int,
    boots: int,
    seed: int | None,
    level: float,
    changes: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    form: str,
) -> None:
    """P(OOM) where it is so small that plain boots hardly ever fail.

    Multilevel splitting: boots that come close to failure are copied, parts of them are drawn anew, and those that come
    closer are copied again. The same command again continues; more --repetitions add to those that are there.
    [stop] and [sweep] of the experiment are not used; --ram may be any size of the machine.

    \b
    Examples:
      mcsim rare rare --variant maple-naive --ram 43M
      mcsim rare mail-2022 --variant tail-free --ram 37M --repetitions 40
    """
    import mcsim
    from mcsim.files import csv_of
    from mcsim.run.progress import for_stderr
    from mcsim.studies.study import not_used

    loaded = options.loaded(experiment, changes, seed)
    try:
        found = mcsim.rare(
            loaded,
            variant=variant,
            ram=ram,
            repetitions=repetitions,
            boots=boots,
            level=level,
            out=out,
            workers=workers,
            progress=for_stderr(),
        )
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished repetitions are kept; the same command continues.", err=True)
        raise
    if form == "csv":
        import polars as pl

        click.echo(csv_of(pl.DataFrame([found.row()])), nl=False)
    else:
        click.echo(page(found, loaded.name, not_used(loaded)), nl=False)


def page(found: Rare, name: str, notes: Sequence[str] = ()) -> str:
    """What was found and how, at most 72 columns wide; `notes` come last."""
    from mcsim.model.units import format_size
    from mcsim.report.text import wrapped

    task = found.task
    title = f"{name}, {task.variant} at {format_size(task.ram)}, seed {task.seed}"
    parts = [[title, *_answer(found)], _recordings(found), wrapped(_words(found)), wrapped([*_limits(found), *notes])]
    return "\n\n".join("\n".join(wrapped(part)) for part in parts) + "\n"


def _answer(found: Rare) -> list[str]:
    from mcsim.report.text import percent

    p, low, high, error = found.estimate
    done = f"{len(found.repetitions)} repetitions of {len(found.levels)} recordings by {found.size:,} boots a stage"
    if p == 0.0:
        return [
            f"P(OOM)       <{high:.2g}   ({percent(found.level)}, exact, from plain boots alone)",
            f"work         {done}",
        ]
    lines = [
        f"P(OOM)       {p:.3g}",
        f"{percent(found.level):<12} {low:.2g} .. {high:.2g}",
        f"work         {found.boots:,} boots: {done}, and the pilots",
    ]
    if math.isfinite(found.plain_boots):
        lines.append(f"plain boots  {found.plain_boots:,.0f} would give the same relative error ({100 * error:.0f} %)")
        lines.append(f"             {found.ratio:,.3g} times as many")
    return lines


def _recordings(found: Rare) -> list[str]:
    """A line per recording, over all repetitions."""
    total = sum(each.estimate for each in found.repetitions) * len(found.levels)
    lines = [
        f"{'recording':>9}{'boots':>8}{'stages':>8}{'P(OOM)':>10}{'share, %':>10}{'not reached':>13}{'moved, %':>10}"
    ]
    for recording, levels in enumerate(found.levels):
        chains = [each.chains[recording] for each in found.repetitions]
        values = [chain.estimate for chain in chains]
        none = sum(value == 0.0 for value in values)
        mean = f"{sum(values) / len(values):.2g}" if any(values) else "-"
        share = f"{100 * sum(values) / total:.1f}" if any(values) else "-"
        last = [chain.moved[-1] for chain in chains if chain.moved]
        moved = f"{100 * sum(last) / len(last):.0f}" if last else "-"
        start = f"{recording:>9}{chains[0].size:>8,}{len(levels) + 1:>8}"
        lines.append(f"{start}{mean:>10}{share:>10}{none:>13}{moved:>10}")
    return [*lines, f"(over {len(found.repetitions)} repetitions; boots: a stage; moved: at the last stage)"]


def _words(found: Rare) -> list[str]:
    values = sorted(each.estimate for each in found.repetitions)
    lines = [
        f"For each recording, a stage keeps the boots of which an exec came closer to finding no free block of order "
        f"{found.order} than its level says, copies them and draws parts of them anew. P(OOM) of a recording is the "
        "product of the shares kept, P(OOM) the mean over recordings (a boot draws each as likely as another) and over "
        "repetitions, unbiased for any levels. Recordings of which the pilots expect more failures have more boots.",
    ]
    if found.estimate.p == 0.0:
        lines.append(
            "ZERO IS NOT SHOWN: no repetition reached a failure. Either P is smaller than this can reach, or a failure "
            "is impossible here, or the levels lead elsewhere. What is shown is the bound that the plain boots at the "
            "start of the repetitions give. More --boots may find the way."
        )
        return lines
    zero = sum(value == 0.0 for value in values)
    lines.append(
        f"Repetitions: median {values[len(values) // 2]:.2g}, largest {values[-1]:.2g}, {zero} without a failure. The "
        f"largest is {100 * values[-1] / sum(values):.0f} % of their sum."
    )
    if values[-1] > 0.5 * sum(values) or zero > len(values) / 2 or _by_few_chains(found) > 0.2:
        lines.append(
            "DO NOT TRUST THIS YET: one repetition makes most of the estimate, or most of them found nothing, or a "
            "fifth of it is from recordings not reached in most of them. The estimate is then too low more often than "
            "not, and its interval with it. More --boots help most."
        )
    return lines


def _by_few_chains(found: Rare) -> float:
    """Share of the estimate from recordings of which most chains reached no failure."""
    few = total = 0.0
    for chains in zip(*(each.chains for each in found.repetitions), strict=True):
        values = [chain.estimate for chain in chains]
        total += sum(values)
        if values.count(0.0) > len(values) / 2:
            few += sum(values)
    return few / total


def _limits(found: Rare) -> list[str]:
    from mcsim.report.text import percent

    lines = [
        f"Interval: {percent(found.level)}, from independent repetitions, on the scale of logarithms: the hull of "
        "Student's and of a lognormal distribution's (when it fails: docs/statistics.md, Rare events).",
        "How far the model is from real boots is not in it, least of all for failures so rare (docs/validation.md).",
    ]
    if found.estimate.p == 0.0 or not any(found.levels):
        lines[0] = f"Interval: {percent(found.level)}, exact (Clopper-Pearson), of plain boots."
    return lines
