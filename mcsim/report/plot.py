"""P(OOM) against RAM: all variants in one panel, and each alone below, with interval bands."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.files import one_line, write_each
from mcsim.report.text import percent, sample_size

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers; yellow is left out, it vanishes on white.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
PANELS_IN_A_ROW = 4
GAP_MARK = 1.5  # sizes that lie further apart than this many usual steps get a mark between them


def draw(summary: pl.DataFrame, groups: Sequence[Sequence[str]], title: str, note: str) -> Figure:
    """The figure. `groups` lists variants whose boots fail alike: the upper panel draws a group as one line.

    RAM sizes stand at equal distances, because what matters is each size (where the zone ends), not the
    distance; a break in the axis is marked.
    """
    from matplotlib.figure import Figure

    sizes = sorted(set(summary["ram_bytes"]))
    names = {row["ram_bytes"]: row["ram"] for row in summary.iter_rows(named=True)}
    variants = [name for group in groups for name in group]
    rows = -(-len(variants) // PANELS_IN_A_ROW)
    figure = Figure(figsize=(10.5, 5.2 + 2.0 * rows), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(4.9, 2.0 * rows))
    upper, lower = parts
    upper.suptitle(one_line(title), fontsize=13, fontweight="bold", parse_math=False)
    axes = upper.subplots()
    draw_overlay(axes, summary, groups, sizes)
    legend = axes.legend(fontsize=9, frameon=False, handlelength=4, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for words in legend.get_texts():
        words.set_parse_math(False)
    panels = lower.subplots(rows, min(PANELS_IN_A_ROW, len(variants)), sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(variants) :]:
        panel.set_visible(False)
    for panel, name in zip(panels.flat, variants, strict=False):
        group = next(number for number, each in enumerate(groups) if name in each)
        draw_alone(panel, summary, groups, group, sizes)
        panel.set_title(one_line(name), fontsize=10, loc="left", parse_math=False)
    for panel in [*upper.axes, *lower.axes]:
        set_axes(panel, sizes, names, few=panel in lower.axes)
    upper.axes[0].set_xlabel("RAM (equal steps; // marks a gap)")
    upper.axes[0].set_ylabel("P(OOM): share of boots that fail")
    lower.supxlabel(note, fontsize=8)
    return figure


def draw_overlay(axes: Axes, summary: pl.DataFrame, groups: Sequence[Sequence[str]], sizes: list[int]) -> None:
    """A line with band for each group, side by side at each of `sizes` (bytes)."""
    shift = 0.5 / max(1, len(groups))
    for number, group in enumerate(groups):
        # Side by side, so that lines that nearly coincide can both be seen.
        offset = (number - (len(groups) - 1) / 2) * shift
        x, p, low, high = curve(summary, group[0], sizes)
        x = [value + offset for value in x]
        style = line_style(number)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
        axes.vlines(x, low, high, color=style["color"], linewidth=1.2)
        axes.plot(x, p, label="\n= ".join(map(one_line, group)), markersize=5.5, linewidth=1.3, **style)


def draw_alone(
    axes: Axes, summary: pl.DataFrame, groups: Sequence[Sequence[str]], group: int, sizes: list[int]
) -> None:
    """The line of one group, by number, before those of the others in grey."""
    for number, others in enumerate(groups):
        if number != group:
            x, p, _, _ = curve(summary, others[0], sizes)
            axes.plot(x, p, color="#bbbbbb", linewidth=0.8)
    x, p, low, high = curve(summary, groups[group][0], sizes)
    style = line_style(group)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.25, linewidth=0)
    axes.plot(x, p, markersize=3.5, linewidth=1.3, **style)


def curve(
    summary: pl.DataFrame, name: str, sizes: list[int]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Places on the axis, P(OOM) and both ends of the intervals of a variant."""
    place = {size: float(number) for number, size in enumerate(sizes)}
    rows = [row for row in summary.sort("ram_bytes").iter_rows(named=True) if row["variant"] == name]
    return (
        [place[row["ram_bytes"]] for row in rows],
        [row["p"] for row in rows],
        [row["exact_low"] for row in rows],
        [row["exact_high"] for row in rows],
    )


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of a group."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
    }


def set_axes(axes: Axes, sizes: list[int], names: dict[int, str], few: bool) -> None:
    """P(OOM) upwards, RAM sizes at equal distances; `few`: fewer labels, for a small panel."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(-0.6, len(sizes) - 0.4)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    step = max(1, -(-len(sizes) // (6 if few else 24)))
    shown = range(0, len(sizes), step)
    axes.set_xticks([float(number) for number in shown], [names[sizes[number]] for number in shown])
    axes.tick_params(labelsize=8 if few else 9)
    steps = [after - before for before, after in pairwise(sizes)]
    usual = min(steps, default=0)
    for number, width in enumerate(steps):
        if width > GAP_MARK * usual and not few:
            axes.text(number + 0.5, -0.03, "//", ha="center", va="center", fontsize=10, clip_on=False)


def note(summary: pl.DataFrame, seed: int, level: float) -> str:
    """The line under the figure: sample, seed, method."""
    return (
        f"{sample_size(summary)} boots per point, seed {seed}; bands: exact (Clopper-Pearson) "
        f"{percent(level)} intervals, each by itself; below, the other variants in grey"
    )


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def pictures(figure: Figure, stem: Path, dpi: int = 130) -> dict[Path, bytes]:
    """The figure as PNG and SVG, by the paths that they are to have; equal figures give equal SVG text."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "mcsim"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    # A stem such as tornado-linux-6.6-32M has no suffix to be replaced.
    return {
        stem.with_name(f"{stem.name}.png"): png(figure, dpi),
        stem.with_name(f"{stem.name}.svg"): file.getvalue(),
    }


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and SVG. UserError if that cannot be done."""
    return write_each(pictures(figure, stem))
