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
from mcsim.kernels.linux.machine import Machine
from mcsim.kernels.linux.page_alloc import (
    MIGRATE_TYPES,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    Zone,
    free_area,
    list_entries,
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


def machine_ending(laboratory: Laboratory, ram_mb: int, end: str) -> Machine:
    """The board with so many megabytes, its zone ending as one of ENDS says."""
    machine = laboratory.machine(ram_mb)
    pages = machine.ram_pages
    whole = -(-pages >> machine.pageblock_order) << machine.pageblock_order
    end_pfn = {"as it is": pages, "last pageblock whole": whole, "one page short": pages - 1}[end]
    reserved = machine.reserved.copy()
    reserved[-1, 1] += end_pfn - pages
    return machine._replace(ram_pages=end_pfn, reserved=reserved)


def boot_ending(laboratory: Laboratory, ram_mb: int, end: str, tail: str) -> Boot:
    """Memory for boots of this RAM size, end of the zone, and tail."""
    return laboratory.boot(machine_ending(laboratory, ram_mb, end), TAILS[tail])


def boot_grouping(laboratory: Laboratory, ram_mb: int, grouping: bool, tail: str) -> Boot:
    """Memory as it is, but with pages grouped by mobility or not, whatever its size."""
    boot = boot_ending(laboratory, ram_mb, "as it is", tail)
    boot.fresh_zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = 0 if grouping else 1
    return boot


def free_pages_of(zone: Zone) -> Any:
    """int8[pages]: the order of the free block that a page is in, -1 if it is in use."""
    pages = len(zone.order)
    order_of = np.full(pages, -1, np.int8)
    for order in range(zone.machine.max_order):
        for migratetype in range(MIGRATE_TYPES):
            for pfn in list_entries(zone, free_area(zone, order, migratetype)):
                order_of[pfn : pfn + (1 << order)] = order
    return order_of


def simulate(laboratory: Laboratory) -> dict[tuple[int, str, str], Any]:
    """Outcomes by RAM size (MB), end of the zone, and tail."""
    return {
        (ram_mb, end, tail): laboratory.outcomes(boot_ending(laboratory, ram_mb, end, tail), BOOTS)
        for ram_mb in SIZES
        for end in ENDS
        for tail in TAILS
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
            cell(laboratory.outcomes(boot_grouping(laboratory, ram_mb, grouping, tail), BOOTS))
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
    length = laboratory.place(boot_ending(laboratory, *MAPPED[1], "old tail"), ends[1][number])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, len(MAPPED), sharey=True)
    words = []
    for panel, (ram_mb, end), outcomes in zip(panels, MAPPED, ends, strict=True):
        boot = boot_ending(laboratory, ram_mb, end, "old tail")
        laboratory.place(boot, outcomes[number], length)
        zone = boot.memory.zone
        pages_per_mb = (1 << 20) // zone.machine.page_size
        order_of = free_pages_of(zone)[: ram_mb * pages_per_mb]
        picture = np.select([order_of >= NEEDED_ORDER, order_of >= 0], [2, 1], 0).reshape(-1, pages_per_mb)
        panel.imshow(
            picture,
            cmap=ListedColormap(["#444444", "#b5d6ee", "#009E73"]),
            vmin=0,
            vmax=2,
            aspect="auto",
            interpolation="nearest",
        )
        for edge in range(0, ram_mb, (1 << zone.machine.pageblock_order) // pages_per_mb):
            panel.axhline(edge - 0.5, color="#D55E00", linewidth=1)
        panel.set_title(f"{ram_mb} MB, zone end {end}", loc="left", fontsize=10)
        panel.set_xlabel("page in the MB")
        orders = range(NEEDED_ORDER, zone.machine.max_order)
        blocks = int(sum(zone.nr_free[order] << (order - NEEDED_ORDER) for order in orders))
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
