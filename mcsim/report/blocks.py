"""Blocks of one boot and who holds their pages, in words."""

from __future__ import annotations

import re
import textwrap

from mcsim.report.text import WIDTH
from mcsim.studies.explain.blocks import Block

NO_BREAK = "\u00a0"


def size_words(order: int, page_size: int) -> str:
    """`1 MB`, `64 kB`."""
    kilobytes = (page_size << order) // 1024
    return f"{kilobytes // 1024} MB" if kilobytes >= 1024 else f"{kilobytes} kB"


def summary(blocks: list[Block], page_size: int) -> str:
    """One sentence about all blocks."""
    order = blocks[0].order
    whole = sum(each.missing == 0 for each in blocks)
    fixed = sum(each.is_fixed for each in blocks)
    images = sum(each.has_image and not each.is_fixed for each in blocks)
    rest = len(blocks) - whole - fixed - images
    size = size_words(order, page_size)
    return (
        f"{len(blocks)} blocks of order {order} ({size}) lie in the zone: {whole} whole, {fixed} with "
        f"pages that the kernel took before /init, {images} more with a process image, {rest} that only other pages "
        "break."
    )


def wrap_holders(words: str, start: str) -> list[str]:
    """What `Block.holders` says behind `start`; a name and its number stay on one line."""
    joined = re.sub(r"(?<=[^,]) (?=\(?\d+\)?)", NO_BREAK, words)
    lines = textwrap.wrap(joined, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    return [line.replace(NO_BREAK, " ") for line in lines]


def table(blocks: list[Block], rows: int = 12) -> list[str]:
    """The blocks that lack the fewest pages, whole ones left out."""
    broken = sorted((each for each in blocks if each.missing), key=lambda each: each.missing)
    lines = [f"{'pages of the block':<19}{'lacks':>6}  held by"]
    for block in broken[:rows]:
        start = f"{block.first:>7} .. {block.first + (1 << block.order) - 1:<7} {block.missing:>6}  "
        lines += wrap_holders(block.holders(), start)
    if len(broken) > rows:
        lines.append(f"{len(broken) - rows} more lack {broken[rows].missing} pages and more.")
    return lines
