"""Maps of physical memory: one cell a page, coloured and lettered by owner."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcsim.simulator.values import FREE, OWNERS, PROCESS_IMAGE, Snapshot
from mcsim.studies.explain.blocks import Block, blocks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.text import Text

NARROW, WIDE = 64, 128  # cells of a line in a terminal
LABEL = 7  # columns before them
LARGE = ":"  # letter of pages in free blocks of the needed order or above
LINE_ORDERS = (6, 8)  # a line of a picture is one block of the needed order, if that is one of these, or between
IMAGE_COLOURS = (OWNERS[PROCESS_IMAGE].colour, "#7DB8E0")  # of neighbours
FREE_SMALL, FREE_LARGE = "#FFFFFF", "#DDEFD5"
HEIGHT = 0.92  # of a line; the next one begins at 1
MOST_WORDS = 88  # letters to the right of a line
NEAREST = 3  # blocks that the picture points out


def letters(memory: Snapshot, order: int) -> str:
    """One letter a page, see `key`."""
    found = np.array([each.letter for each in OWNERS])[memory.owner]
    found[memory.free_order >= order] = LARGE
    return "".join(found)


def key(memory: Snapshot, order: int) -> list[str]:
    """What the letters mean, with the number of pages; owners without any are left out."""
    counts = np.bincount(memory.owner, minlength=len(OWNERS))
    large = int((memory.free_order >= order).sum())
    items = [f". free {counts[FREE] - large}", f"{LARGE} free, order {order} and up {large}"]
    items += [f"{each.letter} {each.name} {counts[each.number]}" for each in OWNERS[1:] if counts[each.number]]
    lines, line = [], ""
    for item in items:
        if line and len(line) + 2 + len(item) > LABEL + NARROW:
            lines.append(line)
            line = ""
        line += ("  " if line else "") + item
    return [*lines, line]


def text(memory: Snapshot, order: int, width: int) -> list[Text]:
    """The map for a terminal of `width` columns: lines of 128 pages if they fit, else of 64.

    Three and more lines with the same letter all over are folded into one. Colours are there where the terminal has
    them.
    """
    from rich.text import Text

    cells = WIDE if width >= LABEL + WIDE else NARROW
    all_letters = letters(memory, order)
    styles = {each.letter: _style(each.colour) for each in OWNERS} | {".": "", LARGE: _style(FREE_LARGE)}
    rows = [all_letters[first : first + cells] for first in range(0, memory.pages, cells)]
    lines = []
    number = 0
    for uniform, group in groupby(rows, key=lambda row: row[0] if len(set(row)) == 1 else ""):
        members = list(group)
        first = number * cells
        number += len(members)
        if uniform and len(members) > 2:
            line = Text(f"{first:>6} ")
            line.append(f"{uniform} x {sum(map(len, members))}", styles[uniform])
            lines.append(line)
            continue
        for place, row in enumerate(members):
            line = Text(f"{first + place * cells:>6} ")
            for letter, run in groupby(row):
                line.append("".join(run), styles[letter])
            lines.append(line)
    return lines


def _style(colour: str) -> str:
    return f"{'black' if _is_light(colour) else 'white'} on {colour}"


def _is_light(colour: str) -> bool:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return 0.3 * red + 0.59 * green + 0.11 * blue > 100


# -- pictures ---------------------------------------------------------------------------------------------------


def draw(memory: Snapshot, order: int, title: str) -> Figure:
    """The map as a picture: a line is a block of the needed order (or as near to it as can be read)."""
    from matplotlib.figure import Figure

    line_order = min(max(order, LINE_ORDERS[0]), LINE_ORDERS[1])
    cells = 1 << line_order
    lines = -(-memory.pages // cells)
    gaps = (lines * cells - 1) // memory.pageblock  # a space after each pageblock
    height = 2.2 + 0.2 * lines + 0.08 * gaps
    figure = Figure(figsize=(16, height), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    axes = figure.subplots()
    blocks = {each.first: each for each in blocks_of(memory, order)}
    nearest = sorted((each for each in blocks.values() if each.missing), key=lambda each: each.missing)[:NEAREST]
    _paint(axes, _colours(memory, order), line_order, memory.pageblock)
    _separate_free_blocks(axes, memory, line_order)
    for line in range(lines):
        top = _top(line * cells, line_order, memory.pageblock)
        length = min(cells, memory.pages - line * cells)
        _frame(axes, length, top)
        axes.text(-1, top + 0.46, str(line * cells), ha="right", va="center", fontsize=8, family="monospace")
        block = blocks.get(line * cells)
        if block is not None and order >= line_order:
            _say(axes, block, cells + 1.5, top + 0.46, block in nearest)
        _name_images(axes, memory, line * cells, length, top)
    bottom = _top((lines - 1) * cells, line_order, memory.pageblock) + 1.0
    axes.set_xlim(-7, cells * 1.66)
    axes.set_ylim(bottom, -0.25)
    axes.axis("off")
    _legend(figure, memory, order)
    return figure


def _top(first: int, line_order: int, pageblock: int) -> float:
    """Where the line of page `first` begins."""
    return (first >> line_order) + 0.4 * (first // pageblock)


def _colours(memory: Snapshot, order: int) -> NDArray[Any]:
    """float[pages, 3]."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(each.colour) for each in OWNERS])
    found = palette[memory.owner]
    found[(memory.owner == FREE) & (memory.free_order >= order)] = to_rgb(FREE_LARGE)
    images = memory.owner == PROCESS_IMAGE
    shade = 0
    previous = -1
    for first, lane in _spans(np.where(images, memory.lane, -1)):
        if lane < 0:
            continue
        shade = 1 - shade if lane != previous else shade
        previous = lane
        span = images[first:] & (memory.lane[first:] == lane)
        found[first:][span] = to_rgb(IMAGE_COLOURS[shade])
    return found


def _spans(values: NDArray[Any]) -> list[tuple[int, int]]:
    """First place and value of each run of equal values."""
    starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist()]
    return [(start, int(values[start])) for start in starts]


def _paint(axes: Axes, colours: NDArray[Any], line_order: int, pageblock: int) -> None:
    """A rectangle for each run of pages of one colour in a line."""
    from matplotlib.collections import PolyCollection

    cells = 1 << line_order
    changes = np.flatnonzero((np.diff(colours, axis=0) != 0).any(axis=1)) + 1
    starts = sorted({0, *changes.tolist(), *range(0, len(colours), cells)})
    corners = []
    for start, end in zip(starts, [*starts[1:], len(colours)], strict=True):
        left, top = start % cells, _top(start, line_order, pageblock)
        right, bottom = left + end - start, top + HEIGHT
        corners.append([(left, top), (right, top), (right, bottom), (left, bottom)])
    axes.add_collection(PolyCollection(corners, facecolors=colours[starts], linewidths=0, antialiaseds=False))


def _separate_free_blocks(axes: Axes, memory: Snapshot, line_order: int) -> None:
    """A thin line where a free block begins behind another page of its line."""
    from matplotlib.collections import LineCollection

    cells = 1 << line_order
    segments: list[Any] = []
    for page in np.flatnonzero(memory.free_order >= 0):
        if page % cells and page % (1 << int(memory.free_order[page])) == 0:
            top = _top(int(page), line_order, memory.pageblock)
            segments.append([(page % cells, top), (page % cells, top + HEIGHT)])
    axes.add_collection(LineCollection(segments, colors="#BBBBBB", linewidths=0.6))


def _frame(axes: Axes, cells: int, top: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((0, top), cells, HEIGHT, fill=False, edgecolor="#999999", linewidth=0.5))


def _name_images(axes: Axes, memory: Snapshot, start: int, cells: int, top: float) -> None:
    """The process's name on each long run of its image's pages."""
    part = slice(start, start + cells)
    lanes = np.where(memory.owner[part] == PROCESS_IMAGE, memory.lane[part], -1)
    spans = _spans(lanes)
    for (first, lane), (end, _) in zip(spans, [*spans[1:], (cells, 0)], strict=True):
        if lane >= 0 and end - first >= 16:
            name = str(memory.processes[lane])
            axes.text((first + end) / 2, top + 0.48, name, ha="center", va="center", fontsize=8, parse_math=False)


def _say(axes: Axes, block: Block, x: float, y: float, nearest: bool) -> None:
    """What keeps the block from being whole, to the right of its line."""
    words = block.holders(names=False)
    if block.missing:
        words = f"{block.missing:>3}  {words}"
    words = words if len(words) <= MOST_WORDS else words[: MOST_WORDS - 3] + " .."
    style: dict[str, Any] = {"fontweight": "bold", "color": "#B03A00"} if nearest else {"color": "#333333"}
    if not block.missing:
        style = {"fontweight": "bold", "color": "#00694C"}
    axes.text(x, y, words, ha="left", va="center", fontsize=8.5, **style)


def _legend(figure: Figure, memory: Snapshot, order: int) -> None:
    from matplotlib.patches import Patch

    counts = np.bincount(memory.owner, minlength=len(OWNERS))
    large = int((memory.free_order >= order).sum())
    handles = [
        Patch(facecolor=FREE_SMALL, edgecolor="#777777", label=f"free, below order {order}: {counts[0] - large}"),
        Patch(facecolor=FREE_LARGE, edgecolor="#777777", label=f"free, order {order} and up: {large}"),
    ]
    for each in OWNERS[1:]:
        if counts[each.number]:
            label = f"{each.name}: {counts[each.number]}"
            handles.append(Patch(facecolor=each.colour, edgecolor="#777777", label=label))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=6, fontsize=9, frameon=False,
        title="Pages by owner; thin lines part free blocks. Right of each line: pages that are not free, and whose "
        "they are (bold: the fewest).",
        title_fontsize=9.5, alignment="left",
    )  # fmt: skip
