"""Does Linux 6.6 fail more often than 6.1? The numbers and the figure of docs/results/linux-6.6.md (`make results`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import mcsim
from docs.fill import ROOT, fill
from docs.results.laboratory import Laboratory
from mcsim.kernels.linux.slub import MAPLE_NODE, OBJECTS_PEAK, PAGES_PEAK
from mcsim.model.units import format_size
from mcsim.stats.intervals import interval
from mcsim.store.result import Result

HERE = Path(__file__).parent
NAME = "linux-6.6"
OLD, NEW = "linux-6.1.y", "linux-6.6"
PEAK_RAM_MB = 64  # so that boots reach their login prompt
PEAK_BOOTS = 1000
NODES_IN_A_PAGE = 32
STYLES = {"maple-naive": "#D55E00", OLD: "#000000", NEW: "#0072B2"}


def table(result: Result) -> str:
    """Failures of both, discordant boots, and the interval for their share; one row a RAM size.

    The last row counts boots that differ at any size: boot k is the same boot at all of them, so they do not add up.
    """
    lines = [
        f"| RAM | boots | {OLD} fails | {NEW} fails | only {OLD} | only {NEW} | boots that differ, exact 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    differ = []
    for ram in result.experiment.ram:
        old, new = (result.outcomes(variant, ram)["failed"].to_numpy() == 1 for variant in (OLD, NEW))
        counts = f"{old.sum():,} | {new.sum():,} | {(old & ~new).sum():,} | {(new & ~old).sum():,}"
        lines.append(f"| {format_size(ram)} | {len(old):,} | {counts} | {share(old != new)} |")
        differ.append(old != new)
    anywhere = np.any(differ, axis=0)
    return "\n".join([*lines, f"| any | {len(anywhere):,} | | | | | {share(anywhere)} |"])


def share(differ: Any) -> str:
    """How many boots differ, and the exact interval for their share."""
    low, high = interval(int(differ.sum()), len(differ))
    return f"{differ.sum()} ({100 * low:.4f} .. {100 * high:.4f} %)"


def peaks(laboratory: Laboratory, variant: str) -> tuple[Any, int]:
    """Most maple nodes in use at a time, one a boot, and the most pages they ever took."""
    boot = laboratory.boot(laboratory.machine(PEAK_RAM_MB), variant)
    outcomes = laboratory.outcomes(boot, PEAK_BOOTS)
    found = []
    pages = 0
    for outcome in outcomes:
        laboratory.place(boot, outcome)
        found.append(int(boot.memory.slub.scalar[MAPLE_NODE, OBJECTS_PEAK]))
        pages = max(pages, int(boot.memory.slub.scalar[MAPLE_NODE, PAGES_PEAK]))
    return np.array(found), pages


def draw(found: dict[str, Any]) -> Figure:
    """Histogram of the peaks, a line a variant, and where a page is full."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    edges = np.arange(NODES_IN_A_PAGE + 3) - 0.5
    for name, colour in STYLES.items():
        axes.hist(found[name], edges, histtype="step", linewidth=1.6, color=colour, label=name)
    axes.axvline(NODES_IN_A_PAGE + 0.5, color="#999999", linestyle=":")
    axes.annotate("page full", (NODES_IN_A_PAGE + 0.4, axes.get_ylim()[1] * 0.9), ha="right", fontsize=9)
    axes.set_xlabel("most maple nodes in use at a time (2 more objects of the page are taken by pool_workqueue)")
    axes.set_ylabel(f"boots of {PEAK_BOOTS:,}")
    axes.legend(frameon=False, loc="upper left")
    return figure


def main() -> None:
    """Run the experiment (or go on with it), then the page's table, figure and caption."""
    result = mcsim.run(NAME, out=ROOT / "results" / NAME)
    page = HERE / "linux-6.6.md"
    fill(page, "table", table(result))
    laboratory = Laboratory()
    found = {name: peaks(laboratory, name) for name in STYLES}
    draw({name: peak - 2 for name, (peak, _) in found.items()}).savefig(HERE / "linux-6.6.svg", metadata={"Date": None})
    words = [
        f"{name}: {int(np.median(peak)) - 2} in the median boot, {peak.max() - 2} at most, in {pages} page"
        f"{'s' if pages > 1 else ''}"
        for name, (peak, pages) in found.items()
    ]
    fill(
        page, "caption", f"Nodes in use at a time, {PEAK_BOOTS:,} boots at {PEAK_RAM_MB} MB. " + "; ".join(words) + "."
    )


if __name__ == "__main__":
    main()
