"""P(OOM) against RAM, and all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcsim.report import figures, text
from mcsim.report.sections.parts import Cell, Gallery, Lines, Part, Picture, Section, Table
from mcsim.report.sections.rates import per_cent
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    pass


PANELS_FROM = 4  # so many lines in one picture, and each gets a panel of its own, too


def p_oom_section(view: Findings) -> Section:
    """P(OOM) against RAM, with interval bands."""
    groups = view.groups
    parts: list[Part] = []
    pictures = [
        Picture(figures.svg(figures.overlay(view.summary, groups, size), f"p-{width}", "P(OOM) against RAM"), "", width)
        for width, size in (("wide", figures.WIDE), ("narrow", figures.NARROW))
    ]
    legend = [
        (figures.svg(figures.swatch(number), f"swatch-{number}", ""), " = ".join(group))
        for number, group in enumerate(groups)
    ]
    parts.append(
        Gallery(
            pictures,
            f"{text.sample_size(view.summary)} boots a point; bands: exact (Clopper-Pearson) "
            f"{text.percent(view.level)} intervals, each by itself. RAM sizes stand at equal steps; // marks a gap. "
            "'=': variants that fail in exactly the same boots share a line.",
            legend,
        )
    )
    if len(groups) >= PANELS_FROM:
        panels = [
            Picture(
                figures.svg(figures.alone(view.summary, groups, number), f"panel-{number}", " = ".join(group)),
                " = ".join(group),
            )
            for number, group in enumerate(groups)
        ]
        parts.append(Gallery(panels, "Each line by itself, the others in grey."))
    return Section("p-oom", "P(OOM) against RAM", parts)


def heat_map_section(view: Findings) -> Section:
    """Variant x RAM, coloured by P(OOM), and the numbers behind it."""
    rows = {(row["variant"], row["ram"]): row for row in view.summary.iter_rows(named=True)}
    sizes = list(dict.fromkeys(view.summary.sort("ram_bytes")["ram"]))
    table = [
        [Cell(name), *(_heat(rows.get((name, size))) for size in sizes)]
        for name in dict.fromkeys(view.summary["variant"])
    ]
    caption = (
        "P(OOM) in per cent. '<' and '>': no boot or every boot failed; the figure is the bound of the exact "
        f"{text.percent(view.level)} interval."
    )
    level = text.percent(view.level)
    columns = ["variant", "RAM", "boots", "failed", "P(OOM), %", "exact, from", "to", "sequence, from", "to"]
    cells = [
        [
            Cell(row["variant"]),
            Cell(row["ram"], row["ram_bytes"]),
            Cell(f"{row['boots']:,}", row["boots"]),
            Cell(f"{row['failures']:,}", row["failures"]),
            Cell(per_cent(row, ""), row["p"]),
            *(
                Cell(f"{100 * row[name]:.2f}", row[name])
                for name in ("exact_low", "exact_high", "sequence_low", "sequence_high")
            ),
        ]
        for row in text.by_variant(view.summary, view.result).iter_rows(named=True)
    ]
    parts: list[Part] = [
        Table(caption, ["variant", *sizes], table, heat=True),
        Table(
            f"All cells, P(OOM) in per cent; a click on a column sorts. Intervals at {level}: exact (Clopper-Pearson); "
            "confidence sequence, which holds although the number of boots may have been chosen by looking.",
            columns,
            cells,
        ),
    ]
    ended = [*text.ended_early(view.result), *view.result.missing()]
    return Section("cells", "Variant by RAM", [*parts, Lines(ended)] if ended else parts)


def _heat(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    return Cell(per_cent(row, ""), row["p"], figures.heat(row["p"]))
