"""What could not be had, and whose pages were in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mcsim.model.failures import FAILURES
from mcsim.report import text
from mcsim.report.sections.parts import Cell, Lines, Part, Section, Table
from mcsim.studies.findings import NO_WORKLOAD, OTHER_KERNELS, Findings

if TYPE_CHECKING:
    import polars as pl


def failures_section(view: Findings) -> Section:
    """What could not be had, by variant."""
    names = [each.column for each in FAILURES.values()]
    counted = view.summary.select("variant", "boots", "failures", *names)
    sums = counted.group_by("variant", maintain_order=True).sum()
    rows = [
        [
            Cell(row["variant"]),
            Cell(f"{row['boots']:,}", row["boots"]),
            Cell(f"{row['failures']:,}", row["failures"]),
            *(Cell(f"{row[name]:,}", row[name]) for name in names),
        ]
        for row in sums.iter_rows(named=True)
    ]
    total = int(sums["failures"].sum())
    seen = [name for name in names if int(sums[name].sum())]
    meaning = {each.column: each.meaning for each in FAILURES.values()}
    if not total:
        words = f"No boot failed, of {int(sums['boots'].sum()):,}."
    elif len(seen) == 1:
        words = f"All {total:,} failures are of one class, {seen[0].replace('_', ' ')}: {meaning[seen[0]]}."
    else:
        counts = "; ".join(f"{name.replace('_', ' ')} {int(sums[name].sum()):,} ({meaning[name]})" for name in seen)
        words = f"Of {total:,} failures: {counts}."
    columns = ["variant", "boots", "failed", *(name.replace("_", " ") for name in names)]
    caption = "Failures by what could not be had, summed over RAM sizes."
    return Section("failures", "Failure classes", [Lines([words]), Table(caption, columns, rows)])


def blame_section(view: Findings) -> Section | None:
    """Whose pages keep blocks from being whole when boots fail, at the size where variants differ most."""
    result, blamed = view.result, view.blamed
    if blamed is None:
        return None
    if blamed.missing == OTHER_KERNELS:
        words = (
            "These boots were simulated by other kernels than those of this mcsim, so they cannot be looked at again."
        )
        return Section("blame", "Who pins the blocks", [Lines([words])])
    if blamed.missing == NO_WORKLOAD:
        words = (
            f"The workload is not where it was, or has changed: {result.experiment.workload}; "
            f"`mcsim report {result.path} --workload WHERE` makes this section."
        )
        return Section("blame", "Who pins the blocks", [Lines([words])])
    parts: list[Part] = [_blame_words(blamed.ram), _blame_table(blamed.owners, blamed.ram, view.level)]
    return Section("blame", "Who pins the blocks", parts)


def _blame_words(size: str) -> Lines:
    return Lines(
        [
            f"At {size}, at the moment of the failing request: a block is whole if all its pages are free. An owner "
            "pins a block alone if nobody else holds a page of it; without these pages there the request could have "
            "been served.",
            "One failing boot in pictures: mcsim explain; all owners and sets of owners: mcsim explain --boots N.",
        ]
    )


def _blame_table(found: Mapping[str, pl.DataFrame], size: str, level: float) -> Table:
    columns = ["owner"]
    cells: dict[str, list[Cell]] = {}
    for frame in found.values():
        for owner in frame["owner"]:
            cells.setdefault(owner, [Cell(owner)])
    samples = []
    for name, frame in found.items():
        columns += [f"{name}: blocks alone", "interval"]
        rows = {row["owner"]: row for row in frame.iter_rows(named=True)}
        samples.append(f"{frame['failures'][0]:,} of {name}, order {frame['order'][0]}, {frame['blocks'][0]} blocks")
        for owner, line in cells.items():
            row = rows.get(owner)
            if row is None:
                line += [Cell("-"), Cell("-")]
            else:
                low = row["alone_low"]
                between = "-" if low is None else f"{low:.2f} to {row['alone_high']:.2f}"
                line += [Cell(f"{row['alone']:.2f}", row["alone"]), Cell(between, low)]
    lines = sorted(cells.values(), key=lambda line: -max(float(cell.key or 0.0) for cell in line[1::2]))
    caption = (
        f"Blocks that an owner pins alone at {size}: mean per failing boot, and its {text.percent(level)} interval "
        f"(Student's t). Failing boots, the first of each: {'; '.join(samples)}. Of variants that fail alike "
        "one is shown."
    )
    return Table(caption, columns, lines)
