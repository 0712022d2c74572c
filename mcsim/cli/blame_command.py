"""`mcsim blame`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mcsim.studies.explain.blame import Tally

SETS = 10  # sets of owners in the text


@click.command(epilog="Exit code: 0; 2 for bad input; 130 interrupted, after the table of the boots done until then.")
@click.argument("experiment")
@click.option("--variant", metavar="V", help="The kernel variant.")
@click.option("--ram", metavar="R", help="The RAM size.")
@click.option("--boots", type=int, metavar="N", help="Boots to simulate [default: the experiment's].")
@click.option("--level", type=float, default=0.95, show_default=True, metavar="L", help="Level of intervals.")
@click.option("--seed", type=int, metavar="S", help="Another seed than that of the file.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Replace a key of the file (repeatable).")
@click.option("--workers", type=int, metavar="N", help="Threads [default: one per processor].")
@click.option("--format", "form", type=click.Choice(["text", "csv"]), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it to a file instead.")
def blame(
    experiment: str,
    variant: str | None,
    ram: str | None,
    boots: int | None,
    level: float,
    seed: int | None,
    changes: tuple[str, ...],
    workers: int | None,
    form: str,
    out: Path | None,
) -> None:
    """Whose pages keep blocks from being whole when boots fail?

    Boots are simulated, and for those that fail each page of each block of the order asked for is given its owner.
    [stop] of the experiment is not used: all boots are simulated.

    \b
    Examples:
      mcsim blame mail-2022 --variant maple-naive --ram 33M
      mcsim blame mail-2022 --variant tail-free --ram 32M --boots 1000000 --format csv
    """
    from mcsim.errors import UserError
    from mcsim.model.experiment import load
    from mcsim.model.settings import Setting
    from mcsim.run.engine import workers_or_all
    from mcsim.run.progress import for_stderr
    from mcsim.stats.intervals import check_level
    from mcsim.studies.explain.blame import Tally, tally
    from mcsim.studies.explain.selection import boot_count, one_task

    loaded = load(experiment, [Setting.of(text) for text in changes])
    loaded = loaded if seed is None else loaded.with_seed(seed)
    wanted = boot_count(loaded, boots)
    check_level(level)
    if out is not None and os.path.lexists(out):
        raise UserError("exists", file=out, key="--out", valid="the name of a new file")
    found = Tally(one_task(loaded, variant, ram))
    try:
        threads = workers_or_all(workers)
        tally(found.task, loaded.workload, range(wanted), workers=threads, progress=for_stderr(), into=found)
    except KeyboardInterrupt:
        if found.simulated:
            click.echo(f"Interrupted; what follows is about {found.simulated:,} boots.", err=True)
            _write(found, level, form, out)
        raise
    _write(found, level, form, out)


def _write(found: Tally, level: float, form: str, out: Path | None) -> None:
    from mcsim.files import csv_of, write_atomically, written

    text = page(found, level) if form == "text" else csv_of(found.owners(level))
    if out is None:
        click.echo(text, nl=False)
        return
    with written(out):
        write_atomically(out, text.encode())
    click.echo(f"written: {out}", err=True)


def page(found: Tally, level: float) -> str:
    """Tables of owners and of sets of owners for each order asked for, and how they were made."""
    from mcsim.report.text import wrapped

    task = found.task
    head = [f"{task.label}, seed {task.seed}: {found.failures:,} of {found.simulated:,} boots failed"]
    parts = [wrapped(head)]
    for order in found.orders():
        parts += _order(found, order, level)
    if found.failures:
        parts.append(wrapped(_method(level)))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _order(found: Tally, order: int, level: float) -> list[list[str]]:
    from mcsim.report.text import percent, wrapped
    from mcsim.studies.explain.blocks import size_words

    rows = [row for row in found.owners(level).iter_rows(named=True) if row["order"] == order]
    failures, blocks = rows[0]["failures"], rows[0]["blocks"]
    lacking, low, high = found.fewest(order, level)
    size = size_words(order, found.task.board.machine.page_size)
    words = (
        f"For order {order} ({size}), of which the zone has {blocks} blocks: {failures:,} boots. The "
        f"block that lacked the fewest pages lacked {lacking:.2f}{_bounds(low, high)} in the mean."
    )
    table = [
        f"{'per failing boot':<21}{'pages':>8}{'blocks alone':>14}{percent(level):>14}{'shared':>7}{'boots':>8}",
        *map(_owner_line, sorted(rows, key=lambda row: (-row["alone"], -row["shared"]))),
    ]
    together = found.together(order, level)
    sets = [f"{'blocks':>6}{percent(level):>15}  held by exactly these"]
    for row in together.head(SETS).iter_rows(named=True):
        sets += _set_lines(row)
    rest = together.slice(SETS)
    if rest.height:
        sets.append(f"{rest['blocks'].sum():>6.2f}{'':>15}  {rest.height} other sets")
    return [wrapped([words]), table, sets]


def _owner_line(row: dict[str, Any]) -> str:
    from mcsim.report.text import probability

    alone = f"{row['alone']:.3f}" if row["boots_alone"] else "-"
    interval = _bounds(row["alone_low"], row["alone_high"], 3).strip(" ()")
    share = row["boots_alone"], row["failures"], row["p_alone_low"], row["p_alone_high"]
    boots = probability(*share)
    return f"{row['owner']:<21}{row['pages']:>8.1f}{alone:>14}{interval:>14}{row['shared']:>7.2f}{boots:>8}"


def _set_lines(row: dict[str, Any]) -> list[str]:
    import textwrap

    start = f"{row['blocks']:>6.2f}{_bounds(row['blocks_low'], row['blocks_high']).strip(' ()'):>15}  "
    words = row["owners"] or "nobody: whole"
    return textwrap.wrap(words, 72, initial_indent=start, subsequent_indent=" " * len(start))


def _bounds(low: float | None, high: float | None, digits: int = 2) -> str:
    return "" if low is None or high is None else f" ({low:.{digits}f}..{high:.{digits}f})"


def _method(level: float) -> list[str]:
    from mcsim.report.text import percent

    return [
        "pages: in blocks of the order. blocks alone: nobody else holds a page of them, so without this owner's pages "
        "there the request would have been served. shared: others hold pages, too. boots: share of the failing boots "
        "with a block held alone.",
        f"Means over failing boots. Intervals: Student's t, {percent(level)} each (of all means: --format csv); none "
        "where all boots have the same number. '<' and '>' in the last column: none or all; the bound of the exact "
        f"(Clopper-Pearson) {percent(level)} interval.",
        "Slabs, bulk pages and other kernel pages: taken since /init was started. How pages are told apart: "
        "docs/explain.md.",
    ]
