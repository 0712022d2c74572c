"""Why more RAM can be worse: the simulations and the figures of docs/results/non-monotonic.md (`make results`).

Beside the real zones it simulates two that no RAM size has: one that ends where its last pageblock ends, and one that
ends a page early. All three have the same pages to give: what the ends differ by is reserved, so never free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from docs.fill import fill
from docs.results.laboratory import Laboratory
from mcsim.kernels.boot.boot import Boot
from mcsim.kernels.linux.memblock import PAGES_PER_MB, m68k_reserved, memblock_free_all, memmap_pages
from mcsim.kernels.linux.page_alloc import (
    MAX_ORDER,
    MIGRATE_TYPES,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    PAGEBLOCK_NR_PAGES,
    Zone,
    build_all_zonelists,
    list_entries,
    make_zone,
)
from mcsim.stats.intervals import interval

HERE = Path(__file__).parent
BOOTS = 2000
SIZES = range(29, 41)
GROUPED_SIZES = range(31, 37)  # around the size from which on pages are grouped by mobility
TAILS = {"old tail": "maple-naive", "new tail": "tail-free"}
ENDS = ("as it is", "last pageblock whole", "one page short")
NEEDED_ORDER = 7  # 1 MB: a process image
COLOURS = ("#000000", "#D55E00", "#0072B2")
MARKERS = ("o", "s", "^")
MAPPED = ((31, "as it is"), (32, "as it is"), (32, "one page short"))  # memory maps, side by side


def zone_ending(ram_mb: int, end: str) -> Zone:
    """The zone of a RAM size after memblock's hand-over, ending as one of ENDS says."""
    pages = ram_mb * PAGES_PER_MB
    whole = -(-pages // PAGEBLOCK_NR_PAGES) * PAGEBLOCK_NR_PAGES
    end_pfn = {"as it is": pages, "last pageblock whole": whole, "one page short": pages - 1}[end]
    zone = make_zone(0, end_pfn)
    build_all_zonelists(zone, memmap_pages(ram_mb))
    reserved = m68k_reserved(ram_mb)
    reserved[-1, 1] += end_pfn - pages
    memblock_free_all(zone, reserved)
    return zone


def zone_grouping(ram_mb: int, grouping: bool) -> Zone:
    """The zone of a RAM size as it is, but with pages grouped by mobility or not, whatever its size."""
    zone = zone_ending(ram_mb, "as it is")
    zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = 0 if grouping else 1
    return zone


def machine(laboratory: Laboratory, ram_mb: int, end: str) -> Boot:
    """Memory for boots of this RAM size and end of the zone."""
    return laboratory.boot(ram_mb, zone_ending(ram_mb, end))


def free_pages_of(zone: Zone) -> Any:
    """int8[pages]: the order of the free block that a page is in, -1 if it is in use."""
    pages = len(zone.order)
    order_of = np.full(pages, -1, np.int8)
    for order in range(MAX_ORDER):
        for migratetype in range(MIGRATE_TYPES):
            for pfn in list_entries(zone, pages + order * MIGRATE_TYPES + migratetype):
                order_of[pfn : pfn + (1 << order)] = order
    return order_of


def simulate(laboratory: Laboratory) -> dict[tuple[int, str, str], Any]:
    """Outcomes by RAM size (MB), end of the zone, and tail."""
    return {
        (ram_mb, end, tail): laboratory.outcomes(machine(laboratory, ram_mb, end), variant, BOOTS)
        for ram_mb in SIZES
        for end in ENDS
        for tail, variant in TAILS.items()
    }


def cell(outcomes: Any) -> str:
    """P(OOM) in per cent with its exact interval."""
    failures = int(outcomes["failed"].sum())
    low, high = interval(failures, BOOTS)
    return f"{100 * failures / BOOTS:.1f} ({100 * low:.1f} .. {100 * high:.1f})"


def table(found: dict[tuple[int, str, str], Any]) -> str:
    """A row a RAM size and tail, a column an end of the zone."""
    lines = ["| RAM | tail | " + " | ".join(ENDS) + " |", "|---|---|" + "---|" * len(ENDS)]
    for ram_mb in SIZES:
        for tail in TAILS:
            cells = [cell(found[ram_mb, end, tail]) for end in ENDS]
            lines.append(f"| {ram_mb}M | {tail} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def grouping_table(laboratory: Laboratory) -> str:
    """A row a RAM size around the switch, a column a tail with grouping off and on."""
    columns = [(tail, grouping) for tail in TAILS for grouping in (False, True)]
    heads = [f"{tail}, grouping {'on' if grouping else 'off'}" for tail, grouping in columns]
    lines = ["| RAM | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]
    for ram_mb in GROUPED_SIZES:
        cells = [
            cell(laboratory.outcomes(laboratory.boot(ram_mb, zone_grouping(ram_mb, grouping)), TAILS[tail], BOOTS))
            for tail, grouping in columns
        ]
        lines.append(f"| {ram_mb}M | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_curves(found: dict[tuple[int, str, str], Any]) -> Figure:
    """P(OOM) against RAM for the three ends, one panel a tail."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels: Any = figure.subplots(1, len(TAILS), sharey=True)
    for panel, tail in zip(panels, TAILS, strict=True):
        for end, colour, marker in zip(ENDS, COLOURS, MARKERS, strict=True):
            failures = [int(found[ram_mb, end, tail]["failed"].sum()) for ram_mb in SIZES]
            bounds = np.array([interval(each, BOOTS) for each in failures])
            panel.fill_between(SIZES, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.2, linewidth=0)
            panel.plot(SIZES, np.array(failures) / BOOTS, color=colour, marker=marker, label=f"zone end {end}")
        panel.set_title(tail, loc="left")
        panel.set_xlabel("RAM in MB")
        panel.set_xticks(list(SIZES))
        panel.axvline(32, color="#999999", linewidth=0.8, linestyle=":")
    panels[0].set_ylabel(f"P(OOM), {BOOTS:,} boots a point")
    panels[1].legend(frameon=False)
    return figure


def draw_maps(laboratory: Laboratory, found: dict[tuple[int, str, str], Any]) -> tuple[Figure, str]:
    """Memory of one boot at the request at which it fails with 32 MB; and what the figure shows, in words."""
    ends = [found[ram_mb, end, "old tail"] for ram_mb, end in MAPPED]
    number = int(np.flatnonzero(ends[1]["failed"].astype(bool) & ~ends[0]["failed"].astype(bool))[0])
    variant = TAILS["old tail"]
    length = laboratory.place(machine(laboratory, *MAPPED[1]), variant, ends[1][number])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, len(MAPPED), sharey=True)
    words = []
    for panel, (ram_mb, end), outcomes in zip(panels, MAPPED, ends, strict=True):
        boot = machine(laboratory, ram_mb, end)
        laboratory.place(boot, variant, outcomes[number], length)
        zone = boot.zone
        order_of = free_pages_of(zone)[: ram_mb * PAGES_PER_MB]
        picture = np.select([order_of >= NEEDED_ORDER, order_of >= 0], [2, 1], 0).reshape(-1, PAGES_PER_MB)
        panel.imshow(
            picture,
            cmap=ListedColormap(["#444444", "#b5d6ee", "#009E73"]),
            vmin=0,
            vmax=2,
            aspect="auto",
            interpolation="nearest",
        )
        for edge in range(0, ram_mb, PAGEBLOCK_NR_PAGES // PAGES_PER_MB):
            panel.axhline(edge - 0.5, color="#D55E00", linewidth=1)
        panel.set_title(f"{ram_mb} MB, zone end {end}", loc="left", fontsize=10)
        panel.set_xlabel("page in the MB")
        blocks = int(sum(zone.nr_free[order] << (order - NEEDED_ORDER) for order in range(NEEDED_ORDER, MAX_ORDER)))
        words.append(f"{ram_mb} MB, zone end {end}: {int((order_of >= 0).sum())} pages free, {blocks} blocks of 1 MB")
    panels[0].set_ylabel("MB of RAM (line: pageblock)")
    caption = f"Boot {number} after {length} requests of processes. " + "; ".join(words) + "."
    return figure, caption


def main() -> None:
    """Simulate, draw, and replace what lies between the page's markers."""
    laboratory = Laboratory()
    found = simulate(laboratory)
    draw_curves(found).savefig(HERE / "non-monotonic.svg", metadata={"Date": None})
    figure, caption = draw_maps(laboratory, found)
    figure.savefig(HERE / "non-monotonic-map.svg", metadata={"Date": None})
    page = HERE / "non-monotonic.md"
    fill(page, "table", table(found))
    fill(page, "grouping", grouping_table(laboratory))
    fill(page, "caption", caption)


if __name__ == "__main__":
    main()
