"""`mcsim min-ram`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcsim.cli import options

if TYPE_CHECKING:
    import polars as pl

EXIT_UNSAFE, EXIT_UNDECIDED = 1, 3
REASON = "docs/results/non-monotonic.md"


@click.command(
    short_help="Which RAM sizes are safe",
    name="min-ram",
    epilog="Exit code: 0 from some size on all scanned sizes are shown safe; 1 none is, the largest is shown unsafe; "
    "3 none is, the largest is undecided (more --boots); 2 bad input.",
)
@options.experiment
@options.variant
@options.sizes
@click.option("--p", "limit", type=float, required=True, metavar="P", help="The P(OOM) that is still good enough.")
@options.sample("Most boots of a size [default: 4 times those of one without failures].")
@options.settings
@click.option("--assume-monotonic", is_flag=True, help="Bisect, as if more RAM were never worse: it can be.")
@options.output("Folder of the boots [default: results/NAME-min-ram].", ["text", "csv"])
@options.workers
@click.pass_context
def min_ram(
    context: click.Context,
    experiment: str,
    variant: str,
    limit: float,
    ram: tuple[str, ...],
    boots: int | None,
    seed: int | None,
    level: float,
    changes: tuple[str, ...],
    assume_monotonic: bool,
    out: Path | None,
    workers: int | None,
    form: str,
) -> None:
    """Which RAM sizes have P(OOM) <= P, at a stated confidence?

    All sizes are scanned, because more RAM can be worse. Clear ones stop early, the boots go to the others. The same
    command again continues; other sizes, variants and P use the same folder. [stop] and [sweep] of the experiment are
    not used.

    \b
    Examples:
      mcsim min-ram mail-2022 --variant tail-free --p 0.01
      mcsim min-ram mail-2022 --variant maple-naive --p 1e-3 --ram '28M..64M step 1M'
    """
    import mcsim
    from mcsim.files import csv_of
    from mcsim.run.progress import for_stderr
    from mcsim.studies.study import not_used

    loaded = options.loaded(experiment, changes, seed)
    try:
        frame = mcsim.min_ram(
            loaded,
            variant=variant,
            p=limit,
            ram=ram,
            level=level,
            boots=boots,
            assume_monotonic=assume_monotonic,
            out=out,
            workers=workers,
            progress=for_stderr,
        )
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished boots are kept; the same command continues.", err=True)
        raise
    if form == "csv":
        click.echo(csv_of(frame), nl=False)
    else:
        title = f"{loaded.name}, {variant}, seed {loaded.seed}"
        click.echo(page(frame, title, assume_monotonic, not_used(loaded)), nl=False)
    context.exit(exit_code(frame))


def exit_code(frame: pl.DataFrame) -> int:
    """What the largest size says, if it is not safe."""
    from mcsim.stats.scan import SAFE, UNDECIDED

    last = frame["verdict"][-1]
    return 0 if last == SAFE else EXIT_UNDECIDED if last == UNDECIDED else EXIT_UNSAFE


def page(frame: pl.DataFrame, title: str, assume_monotonic: bool = False, notes: Sequence[str] = ()) -> str:
    """The table and what it says, at most 72 columns wide; `notes` come last."""
    from mcsim.report.text import percent, wrapped

    first = frame.row(0, named=True)
    level = percent(first["level"])
    head = f"{'RAM':>6}{'boots':>9}{'failed':>9}{'P(OOM)':>10}{level + ', all sizes':>24}  verdict"
    question = f"Which RAM sizes have P(OOM) <= {first['limit']:g}?"
    table = "\n".join([head, *map(_line, frame.iter_rows(named=True))])
    words = [*_answer(frame), "", *_method(frame, level, assume_monotonic), *notes]
    return "\n\n".join(["\n".join(wrapped([title, question])), table, "\n".join(wrapped(words))]) + "\n"


def _line(row: dict[str, Any]) -> str:
    from mcsim.stats.intervals import shown

    if row["assumed"]:
        return f"{row['ram']:>6}{'-':>9}{'-':>9}{'-':>10}{'assumed':>24}  {row['verdict']}"
    sign, share = shown(row["failures"], row["boots"], row["low"], row["high"])
    rate = f"{sign}{share:.3g}"
    bounds = f"{row['low']:.3g} .. {row['high']:.3g}"
    return f"{row['ram']:>6}{row['boots']:>9}{row['failures']:>9}{rate:>10}{bounds:>24}  {row['verdict']}"


def _answer(frame: pl.DataFrame) -> list[str]:
    from mcsim.model.units import format_size
    from mcsim.stats.scan import SAFE, UNSAFE, answer
    from mcsim.studies.min_ram import ranges

    words = dict(zip(frame["ram_bytes"], frame["verdict"], strict=True))
    sizes = sorted(words)
    found = answer(words)

    def names(some: list[int]) -> str:
        return ", ".join(ranges(some, sizes)) or "none"

    lines = [
        f"Shown safe: {names([size for size in sizes if words[size] == SAFE])}.",
        f"Shown unsafe: {names([size for size in sizes if words[size] == UNSAFE])}.",
        f"Undecided: {names(found.undecided)}" + (" (more --boots)." if found.undecided else "."),
    ]
    if found.smallest_safe is not None:
        lines.append(f"Smallest safe size: {format_size(found.smallest_safe)}.")
    if found.safe_from is not None:
        lines.append(f"Safe from here on, as far as scanned: {format_size(found.safe_from)}.")
    else:
        lines.append(f"No size from which on all are shown safe: {format_size(sizes[-1])} is {words[sizes[-1]]}.")
    if found.unsafe_above_safe:
        lines.append(
            f"WARNING: more RAM is worse here. Unsafe above the safe {format_size(found.smallest_safe or 0)}: "
            f"{names(found.unsafe_above_safe)}. Why that can be: {REASON}."
        )
    return lines


def _method(frame: pl.DataFrame, level: str, assume_monotonic: bool) -> list[str]:
    limit = f"{frame['limit'][0]:g}"
    lines = [
        f"safe: P(OOM) <= {limit} is shown; unsafe: P(OOM) > {limit} is shown; undecided: neither. All verdicts of the "
        f"table are right together with {level} confidence: confidence sequences, corrected for {frame.height} sizes "
        "(Bonferroni), so that looking and stopping early costs nothing.",
        "Nothing is said about sizes that are not in the table, nor about how far the model is from real boots "
        "(docs/validation.md).",
    ]
    if assume_monotonic:
        lines.insert(
            0,
            "ASSUMED, not shown: P(OOM) never rises with RAM (--assume-monotonic). Sizes marked so were not simulated, "
            f"and for some kernels the assumption is known to be wrong: {REASON}.",
        )
    return lines
