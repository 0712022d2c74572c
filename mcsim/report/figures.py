"""Pictures for the HTML report: SVG that is part of the page and takes its colours from it, dark or light.

Each picture is small enough to be read on a telephone without being scaled; the page puts as many side by side as fit.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mcsim.report import plot
from mcsim.report.comparison import blocks
from mcsim.stats.verdicts import DIFFERS, EQUIVALENT
from mcsim.studies.compare import POOLED

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#000000", "#bbbbbb", "#dddddd"
# What matplotlib draws -> the variable of the page (page/report.css) that says how it looks.
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--grid",
    **{colour.lower(): f"--series-{number}" for number, colour in enumerate(plot.COLOURS) if colour != INK},
}
WIDE, NARROW = (9.4, 3.9), (3.7, 3.6)  # inches, at 96 pixels an inch in a browser
SMALL = (3.6, 2.4)
VERDICT_STYLE: dict[str, dict[str, Any]] = {
    DIFFERS: {"color": plot.COLOURS[1], "marker": "s", "markerfacecolor": plot.COLOURS[1]},
    EQUIVALENT: {"color": plot.COLOURS[2], "marker": "o", "markerfacecolor": plot.COLOURS[2]},
    "undecided": {"color": INK, "marker": "D", "markerfacecolor": "none"},
}


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element; `name` keeps its ids apart from those of others, `label` says what it shows."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # They would apply to the whole page.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(
        "#[0-9a-f]{6}", lambda found: f"var({VARIABLES[found[0]]})" if found[0] in VARIABLES else found[0], text
    )
    return text.replace("<svg", f'<svg role="img" aria-label="{_attribute(label)}"', 1)


def _attribute(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def overlay(summary: pl.DataFrame, groups: Sequence[Sequence[str]], size: tuple[float, float]) -> Figure:
    """P(OOM) against RAM with interval bands, a line per group of variants that fail in the same boots."""
    figure, axes = _figure(size)
    sizes, names = _sizes(summary)
    plot.draw_overlay(axes, summary, groups, sizes)
    _ram_axis(axes, sizes, names, size)
    axes.set_ylabel("P(OOM)")
    return figure


def alone(summary: pl.DataFrame, groups: Sequence[Sequence[str]], number: int) -> Figure:
    """One group of variants, the others in grey."""
    figure, axes = _figure(SMALL)
    sizes, names = _sizes(summary)
    plot.draw_alone(axes, summary, groups, number, sizes)
    _ram_axis(axes, sizes, names, SMALL)
    return figure


def swatch(number: int) -> Figure:
    """The line and marker of a group, for the legend."""
    figure, axes = _figure((0.55, 0.2))
    axes.plot([0.0, 0.5, 1.0], [0.0, 0.0, 0.0], markevery=[1], markersize=5.5, linewidth=1.5, **plot.line_style(number))
    axes.set_axis_off()
    return figure


def verdict_swatch(word: str) -> Figure:
    """Line and marker of a verdict in a forest plot."""
    figure, axes = _figure((0.55, 0.2))
    style = VERDICT_STYLE[word]
    axes.plot([0.0, 0.5, 1.0], [0.0, 0.0, 0.0], markevery=[1], markersize=5, linewidth=1.4, **style)
    axes.set_axis_off()
    return figure


def forest(rows: Sequence[dict[str, Any]], reach: tuple[float, float], width: float) -> Figure:
    """Paired differences of one variant from the baseline: a line per RAM size, all sizes together at the bottom.

    `reach`: ends of the axis, in points; `width`: inches.
    """
    figure, axes = _figure((width, 1.0 + 0.2 * len(rows)))
    delta = 100 * rows[0]["delta"]
    axes.axvspan(-delta, delta, color=GRID, linewidth=0)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    for place, row in enumerate(rows):
        middle, low, high = (100 * row[name] for name in ("difference", "low", "high"))
        style = VERDICT_STYLE[row["verdict"]]
        axes.plot([low, high], [place, place], color=style["color"], linewidth=1.4)
        axes.plot([middle], [place], markersize=8 if row["ram"] == POOLED else 5, linestyle="none", **style)
    axes.set_yticks(range(len(rows)), ["all sizes" if row["ram"] == POOLED else row["ram"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(*reach)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_xlabel("difference of P(OOM), points of per cent")
    return figure


def reach(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The ends of an axis, in points, on which all intervals fit."""
    low, high = 100 * min(row["low"] for row in rows), 100 * max(row["high"] for row in rows)
    low, high = min(low, -100 * rows[0]["delta"]), max(high, 100 * rows[0]["delta"])
    room = 0.05 * (high - low)
    return low - room, high + room


def differing_blocks(frame: pl.DataFrame) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """The variants of a comparison with their rows, those with equal figures together, of which any boot differs."""
    return [block for block in blocks(list(frame.iter_rows(named=True))) if any(row["discordant"] for row in block[1])]


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    return figure, axes


def _sizes(summary: pl.DataFrame) -> tuple[list[int], dict[int, str]]:
    names = {row["ram_bytes"]: row["ram"] for row in summary.iter_rows(named=True)}
    return sorted(names), names


def _ram_axis(axes: Any, sizes: list[int], names: dict[int, str], size: tuple[float, float]) -> None:
    plot.set_axes(axes, sizes, names, few=False)
    step = max(1, -(-len(sizes) // (16 if size[0] < 5.0 else 32)))
    shown = range(0, len(sizes), step)
    turned = len(shown) > 2.0 * size[0]
    axes.set_xticks([float(number) for number in shown], [names[sizes[number]] for number in shown])
    axes.tick_params(axis="x", labelsize=9, rotation=90 if turned else 0)


def heat(p: float) -> str:
    """Style of a cell of a heat map: ground and ink for the light page and the dark one."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    parts = []
    for theme, name in (("light", "Blues"), ("dark", "cividis")):
        ground = colormaps[name](0.95 * p)
        ink = "#000000" if contrast(ground, (0.0, 0.0, 0.0)) >= contrast(ground, (1.0, 1.0, 1.0)) else "#ffffff"
        parts.append(f"--{theme}:{to_hex(ground)};--{theme}-ink:{ink}")
    return ";".join(parts)


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Contrast of two colours (red, green, blue from 0 to 1) as WCAG 2 defines it: 1 to 21, 4.5 is legible."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
