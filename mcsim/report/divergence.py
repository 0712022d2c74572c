"""Where two variants part on the same boot, in words."""

from __future__ import annotations

import textwrap
from itertools import pairwise

from mcsim.report.blocks import wrap_holders
from mcsim.report.mem_info import MIGRATETYPE_LETTERS
from mcsim.report.text import WIDTH
from mcsim.simulator.values import Ending, Event
from mcsim.studies.explain.blocks import blocks_of
from mcsim.studies.explain.divergence import Divergence, Lists

ENTRIES = 4  # of a long list, at either end
ROWS = 8
NEARLY = 16  # a block that lacks no more pages than this is worth a line


def text(found: Divergence) -> list[str]:
    """What differs first and what comes of it, in 72 columns."""
    lines: list[str] = []
    if found.first_lists is None:
        return _wrap(f"{found.names[0]} and {found.names[1]} do the same in this boot, up to its end.")
    lines += _wrap(f"First the free lists differ: {_when(found.first_lists.event)}.")
    if found.first_pages is not found.first_lists:
        lines += _wrap(f"both take {_pages(found.first_lists.taken[0])}", "  ")
    lines += _list_lines(found.names, found.first_lists.lists)
    lines.append("")
    if found.first_pages is None:
        lines += _wrap("No request ever gets other pages.")
    else:
        lines += _wrap(f"Then the pages differ: {_when(found.first_pages.event)}.")
        parting = found.first_pages
        for name, taken, given in zip(found.names, parting.taken, parting.given, strict=True):
            moves = [f"takes {_pages(taken)}"] if taken else []
            moves += [f"gives back {_pages(given)}"] if given else []
            lines += _wrap(f"{name} {' and '.join(moves) or 'moves no page'}", "  ")
    lines.append("")
    lines += _wrap("What comes of it:")
    for name, ending in zip(found.names, found.endings, strict=True):
        lines += _wrap(f"{name} {_outcome(ending)}", "  ")
    return [*lines, "", *_block_lines(found)]


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")


def _when(event: Event) -> str:
    return (
        f"event {event.position}, {event.time_us / 1e6:.3f} s after /init was started, {event.process}: {event.words}"
    )


def _outcome(ending: Ending) -> str:
    seconds = f"{ending.event.time_us / 1e6:.3f} s"
    if not ending.failed:
        return f"reaches the login prompt after {seconds}."
    event = ending.event
    return f"fails after {seconds} (event {event.position}): {event.process} gets no block of order {ending.order}."


def _pages(pages: list[int]) -> str:
    """`pages 12, 20-27`."""
    if not pages:
        return "no page"
    ends = [place for place, (one, other) in enumerate(pairwise(pages)) if other != one + 1]
    starts = [0, *(place + 1 for place in ends)]
    spans = [(pages[start], pages[end]) for start, end in zip(starts, [*ends, len(pages) - 1], strict=True)]
    words = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"page{'s' if len(pages) > 1 else ''} {words}"


def _list_lines(names: tuple[str, str], lists: list[Lists]) -> list[str]:
    width = max(map(len, names))
    lines = []
    for each in lists[:ROWS]:
        lines.append(f"  free list of order {each.order} ({MIGRATETYPE_LETTERS[each.migratetype]}), head first:")
        for name, blocks in zip(names, each.blocks, strict=True):
            lines.append(f"    {name:<{width}}  {_entries(blocks)}")
    if len(lists) > ROWS:
        lines.append(f"  and {len(lists) - ROWS} more lists")
    return lines


def _entries(blocks: list[int]) -> str:
    if not blocks:
        return "(empty)"
    if len(blocks) <= 2 * ENTRIES:
        return " ".join(map(str, blocks))
    shown = [*map(str, blocks[:ENTRIES]), "..", *map(str, blocks[-ENTRIES:])]
    return f"{' '.join(shown)}  ({len(blocks)})"


def _block_lines(found: Divergence) -> list[str]:
    """Blocks that one has whole, or nearly so, and the other has not, at the first of the two endings."""
    first = next((each for each in found.endings if each.failed), found.endings[0])
    order = first.order
    both = [{each.first: each for each in blocks_of(memory, order)} for memory in found.at_end]
    whole = [sum(not each.missing for each in blocks.values()) for blocks in both]
    lines = _wrap(
        f"At event {found.at_end_event.position}, where the first of them ends, {found.names[0]} has {whole[0]} whole "
        f"blocks of order {order}, {found.names[1]} has {whole[1]}. Blocks that differ, the nearest to whole first:"
    )
    differing = [
        (a, b)
        for a, b in ((both[0][place], both[1][place]) for place in both[0])
        if a.held != b.held and min(a.missing, b.missing) <= NEARLY
    ]
    differing.sort(key=lambda pair: (min(each.missing for each in pair), -max(each.missing for each in pair)))
    width = max(map(len, found.names))
    for pair in differing[:ROWS]:
        last = pair[0].first + (1 << order) - 1
        lines.append(f"  pages {pair[0].first} .. {last}")
        for name, block in zip(found.names, pair, strict=True):
            start = f"    {name:<{width}} {block.missing:>4}  "
            lines += wrap_holders(block.holders(names=False), start)
    if not differing:
        lines.append("  none")
    elif len(differing) > ROWS:
        lines.append(f"  and {len(differing) - ROWS} more")
    return lines
