"""`mcsim explain --boots N`: whose pages keep blocks from being whole, over many boots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mcsim.model.experiment import Experiment
    from mcsim.studies.explain.blame import Tally

SETS = 10  # sets of owners in the text


def print_owners(
    experiment: Experiment,
    variant: str,
    ram: str,
    boots: int,
    level: float,
    workers: int | None,
    form: str,
    out: Path | None,
) -> None:
    """Simulate the boots of one cell and print the owners (`form`: text or csv); into the folder `out`, too."""
    from mcsim.errors import UserError
    from mcsim.model.experiment import number_of_boots
    from mcsim.run.engine import workers_or_all
    from mcsim.run.progress import for_stderr
    from mcsim.stats.intervals import check_level
    from mcsim.studies.explain.blame import Tally, tally
    from mcsim.studies.explain.selection import one_task

    number_of_boots(boots)
    check_level(level)
    files = [] if out is None else [out / "owners.txt", out / "owners.csv"]
    for file in files:
        if os.path.lexists(file):
            raise UserError("exists", file=file, key="--out", valid="a new or an empty folder")
    found = Tally(one_task(experiment, variant, ram))
    threads = workers_or_all(workers)
    try:
        tally(found.task, experiment.workload, range(boots), workers=threads, progress=for_stderr(), into=found)
    except KeyboardInterrupt:
        if found.simulated:
            click.echo(f"Interrupted; what follows is about {found.simulated:,} boots.", err=True)
            _show(found, level, form, files)
        raise
    _show(found, level, form, files)


def _show(found: Tally, level: float, form: str, files: list[Path]) -> None:
    from mcsim.files import csv_of, write_each

    texts = page(found, level), csv_of(found.owners(level))
    click.echo(texts[form == "csv"], nl=False)
    if files:
        write_each({file: text.encode() for file, text in zip(files, texts, strict=True)})
        click.echo("written: " + ", ".join(map(str, files)), err=True)


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
    from mcsim.report.blocks import size_words
    from mcsim.report.text import percent, wrapped

    rows = [row for row in found.owners(level).iter_rows(named=True) if row["order"] == order]
    failures, blocks = rows[0]["failures"], rows[0]["blocks"]
    lacking, low, high = found.fewest(order, level)
    size = size_words(order, found.task.board.machine.page_size)
    words = (
        f"For order {order} ({size}), of which the zone has {blocks} blocks: {failures:,} boots. The block that "
        f"lacked the fewest pages lacked {lacking:.2f}{_bounds(low, high)} in the mean."
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
