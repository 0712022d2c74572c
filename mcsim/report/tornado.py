"""Effects of factors as horizontal bars, the largest on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.report.plot import COLOURS, save
from mcsim.report.text import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mcsim.studies.sensitivity import Sensitivity

MAIN, INTERACTION = COLOURS[2], "#999999"


def draw(found: Sensitivity, title: str) -> Figure:
    """The figure: main effects in colour, interactions in grey, with intervals; last what the workload does."""
    from matplotlib.figure import Figure

    rows = list(found.effects.iter_rows(named=True))
    names = [f"{row['effect']}\n{row['levels']}".rstrip() for row in rows]
    values = [100 * row["difference"] for row in rows]
    colours = [MAIN if row["levels"] else INTERACTION for row in rows]
    around = [
        [100 * (row["difference"] - row["low"]) for row in rows],
        [100 * (row["high"] - row["difference"]) for row in rows],
    ]
    figure = Figure(figsize=(8.0, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(rows)))
    axes.barh(places, values, color=colours, height=0.7)
    axes.errorbar(values, places, xerr=around, fmt="none", ecolor="#000000", elinewidth=1.2, capsize=3)
    axes.axvline(0.0, color="#000000", linewidth=0.8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left", parse_math=False)
    axes.set_xlabel(
        "effect on P(OOM), points of per cent, from the first level to the second; grey: interactions\n"
        f"{found.cells} cells of {found.boots:,} boots; lines: {percent(rows[0]['level'])} intervals, each by itself",
        fontsize=8,
    )
    return figure


def write(found: Sensitivity, title: str, stem: Path) -> list[Path]:
    """Write the picture as PNG and SVG; return their paths. UserError if that cannot be done."""
    return save(draw(found, title), stem)
