"""`mcsim rare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.errors import UserError

if TYPE_CHECKING:
    from mcsim.stats.rare import Rare


@click.command(
    name="rare",
    epilog="Exit code 2 for bad input. How it works, and when not to trust it: docs/statistics.md, Rare events.",
)
@click.argument("experiment")
@click.option("--variant", metavar="V", help="The kernel variant.")
@click.option("--ram", metavar="R", help="The RAM size, as 37M (any of the machine's, also outside of the experiment).")
@click.option("--repetitions", type=int, default=20, show_default=True, metavar="N", help="Independent estimates.")
@click.option("--boots", type=int, default=500, show_default=True, metavar="N", help="Boots at each level.")
@click.option("--level", type=float, default=0.95, show_default=True, metavar="L", help="Of the interval.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder [default: results/NAME-rare].")
@click.option("--seed", type=int, metavar="S", help="Another seed than that of the file.")
@click.option("--workers", type=int, metavar="N", help="Workers [default: one per processor].")
@click.option("--format", "form", type=click.Choice(["text", "csv"]), default="text", show_default=True)
def rare(
    experiment: str,
    variant: str | None,
    ram: str | None,
    repetitions: int,
    boots: int,
    level: float,
    out: Path | None,
    seed: int | None,
    workers: int | None,
    form: str,
) -> None:
    """P(OOM) where it is so small that plain boots hardly ever fail.

    Multilevel splitting: boots that come close to failure are copied, parts of them are drawn anew, and those that come
    closer are copied again. The same command again continues; more --repetitions add to those that are there.

    \b
    Examples:
      mcsim rare rare --variant maple-naive --ram 43M
      mcsim rare mail-2022 --variant tail-free --ram 37M --repetitions 40
    """
    import mcsim
    from mcsim.model.experiment import load
    from mcsim.run.progress import for_stderr

    loaded = load(experiment)
    if variant is None:
        raise UserError("is missing", key="--variant", valid=", ".join(each.name for each in loaded.variants))
    if ram is None:
        raise UserError("is missing", key="--ram", valid="one size, as 37M")
    try:
        found = mcsim.rare(
            loaded,
            variant=variant,
            ram=ram,
            repetitions=repetitions,
            boots=boots,
            level=level,
            out=out,
            seed=seed,
            workers=workers,
            progress=for_stderr(),
        )
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished repetitions are kept; the same command continues.", err=True)
        raise
    if form == "csv":
        import polars as pl

        click.echo(pl.DataFrame([found.row()]).write_csv(), nl=False)
    else:
        click.echo(page(found, loaded.name), nl=False)


def page(found: Rare, name: str) -> str:
    """What was found and how, at most 72 columns wide."""
    from mcsim.model.units import format_size
    from mcsim.report.text import wrapped

    task = found.task
    title = f"{name}, {task.variant} at {format_size(task.ram)}, seed {task.seed}"
    parts = [[title, *_answer(found)], _stages(found), wrapped(_words(found)), wrapped(_limits(found))]
    return "\n\n".join("\n".join(wrapped(part)) for part in parts) + "\n"


def _answer(found: Rare) -> list[str]:
    from mcsim.report.text import percent

    p, low, high, error = found.estimate
    done = f"{len(found.repetitions)} repetitions of {found.repetitions[0].size:,} boots a stage"
    if p == 0.0:
        return [
            f"P(OOM)       <{high:.2g}   ({percent(found.level)}, exact, from plain boots alone)",
            f"work         {done}",
        ]
    lines = [
        f"P(OOM)       {p:.3g}",
        f"{percent(found.level):<12} {low:.2g} .. {high:.2g}",
        f"work         {found.boots:,} boots: {done}, and a pilot",
    ]
    if math.isfinite(found.plain_boots):
        lines.append(f"plain boots  {found.plain_boots:,.0f} would give the same relative error ({100 * error:.0f} %)")
        lines.append(f"             {found.ratio:,.3g} times as many")
    return lines


def _stages(found: Rare) -> list[str]:
    """A line per stage, over all repetitions."""
    size, number = found.repetitions[0].size, len(found.repetitions)
    lines = [f"{'stage':>5}{'free blocks':>13}{'above, %':>10}{'least':>8}{'most':>8}{'moved, %':>10}"]
    for stage in range(len(found.levels) + 1):
        counts = [each.above[stage] if stage < len(each.above) else 0 for each in found.repetitions]
        reached = sum(stage <= len(each.moved) for each in found.repetitions)
        moved = [each.moved[stage] for each in found.repetitions if stage < len(each.moved)]
        blocks = "failed" if stage == len(found.levels) else f"{free_blocks(found.levels[stage]):.2f}"
        share, least, most = (100 * count / size for count in (sum(counts) / max(1, reached), min(counts), max(counts)))
        taken = f"{100 * sum(moved) / len(moved):.0f}" if moved else "-"
        lines.append(f"{stage + 1:>5}{blocks:>13}{share:>10.1f}{least:>8.1f}{most:>8.1f}{taken:>10}")
    return [*lines, f"(over {number} repetitions)"]


def free_blocks(danger: float) -> float:
    """A danger as a number of free blocks: a boot that is once so close has it, one that is so often has less."""
    return -math.log2(danger) / 3


def _words(found: Rare) -> list[str]:
    values = sorted(each.estimate for each in found.repetitions)
    lines = [
        f"A stage keeps the boots that came closer to having no free block of order {found.order} than its level says "
        "(a soft minimum: the longer a boot is close, the fewer free blocks it counts), copies them and draws parts of "
        "them anew. P(OOM) is the product of the shares above, in each repetition; the estimate is the mean over "
        "repetitions, unbiased for any levels.",
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
    if values[-1] > 0.5 * sum(values) or zero > len(values) / 2:
        lines.append(
            "DO NOT TRUST THIS YET: one repetition makes most of the estimate, or most of them found nothing. The "
            "estimate is then too low more often than not, and its interval with it. More --boots help most."
        )
    return lines


def _limits(found: Rare) -> list[str]:
    from mcsim.report.text import percent

    lines = [
        f"Interval: {percent(found.level)}, from independent repetitions, on the scale of logarithms: the hull of "
        "Student's and of a lognormal distribution's (when it fails: docs/statistics.md, Rare events).",
        "How far the model is from real boots is not in it, least of all for failures so rare (docs/validation.md).",
    ]
    if found.estimate.p == 0.0 or not found.levels:
        lines[0] = f"Interval: {percent(found.level)}, exact (Clopper-Pearson), of plain boots."
    return lines
