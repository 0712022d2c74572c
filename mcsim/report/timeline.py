"""The timeline of a boot as text and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcsim.simulator.values import Ending
from mcsim.studies.explain.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = 58  # columns of the timeline in text
BARS = "▁▂▃▄▅▆▇█"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def text(timeline: Timeline, ending: Ending) -> list[str]:
    """The timeline in 72 columns: one column a span of time, the least (processes: the most) in it."""
    seconds = timeline.time_us[-1] / 1e6
    order = timeline.order
    free = timeline.in_steps(timeline.free_pages, STEPS)
    scale = max(1, *timeline.free_pages)
    bars = "".join(BARS[min(len(BARS) - 1, each * len(BARS) // scale)] for each in free)
    rows = [
        ("free", bars),
        ("order", _digits(timeline.in_steps(timeline.largest_order, STEPS))),
        ("blocks", _digits(timeline.in_steps(timeline.blocks, STEPS))),
        ("procs", _digits(timeline.in_steps(timeline.processes, STEPS, highest=True))),
    ]
    mark = "fails ^" if ending.failed else "login ^"
    ruler = f"0 s{' ' * (STEPS - 3 - len(f'{seconds:.2f} s'))}{seconds:.2f} s"
    notes = [
        f"free: pages, up to {scale}, down to {min(timeline.free_pages)}. order: of the largest free block. "
        f"blocks: of order {order}, in the free ones. procs: processes with memory of their own. Each column is a span "
        f"of {1000 * seconds / STEPS:.0f} ms: the least in it, of procs the most; digits go on with a = 10, b = 11; "
        "+ is more, - none.",
    ]
    pad = " " * 8
    return [f"{'':<8}{ruler}", *(f"{name:<8}{line}" for name, line in rows), f"{pad}{mark:>{STEPS}}", *notes]


def _digits(values: list[int]) -> str:
    return "".join("-" if each < 0 else DIGITS[each] if each < len(DIGITS) else "+" for each in values)


def draw(timeline: Timeline, ending: Ending, title: str) -> Figure:
    """The same as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.0), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    panels: Any = figure.subplots(4, 1, sharex=True, height_ratios=(2, 1.4, 1.4, 1.4))
    seconds = np.array(timeline.time_us) / 1e6
    order = timeline.order
    megabytes = np.array(timeline.free_pages) * timeline.page_size / (1 << 20)
    _stairs(panels[0], seconds, megabytes, "#0072B2", "free memory (MB)")
    _stairs(panels[1], seconds, np.array(timeline.largest_order), "#000000", "largest\nfree order")
    panels[1].axhline(order, color="#D55E00", linewidth=1, linestyle="--")
    panels[1].text(0, order, f" needed: {order}", color="#D55E00", fontsize=9, va="bottom")
    panels[1].set_ylim(-1.3, max(*timeline.largest_order, order) + 0.6)
    _stairs(panels[2], seconds, np.array(timeline.blocks), "#009E73", f"free blocks\nof order {order}")
    panels[2].fill_between(
        seconds, 0, 1, where=np.array(timeline.blocks) == 0, step="post", color="#D55E00", alpha=0.35, linewidth=0,
        transform=panels[2].get_xaxis_transform(), label="none left",
    )  # fmt: skip
    _stairs(panels[3], seconds, np.array(timeline.processes), "#7B3FA0", "processes\nwith memory")
    for panel in panels[2:]:
        panel.set_ylim(bottom=0)
    if (np.array(timeline.blocks) == 0).any():
        panels[2].legend(fontsize=8, frameon=False, loc="lower left")
    panels[0].set_ylim(bottom=0)
    end = ending.event.time_us / 1e6
    colour = "#D55E00" if ending.failed else "#009E73"
    for panel in panels:
        panel.axvline(end, color=colour, linewidth=1.6)
    words = f"{ending.event.process}\nfails" if ending.failed else "login"
    panels[0].annotate(
        words, (end, 0), xytext=(-6, 6), textcoords="offset points", ha="right", va="bottom", color=colour,
        fontsize=10, fontweight="bold", parse_math=False,
    )  # fmt: skip
    panels[-1].set_xlabel("seconds since the kernel started /init")
    return figure


def _stairs(panel: Axes, seconds: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    panel.step(seconds, values, where="post", color=colour, linewidth=1.3)
    panel.set_ylabel(label, fontsize=10)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.01)
