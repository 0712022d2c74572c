"""Blocks of the needed order in one boot: how many pages each lacks to be whole, and who holds them."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import dataclass

import numpy as np

from mcsim.kernels.boot import page_owner
from mcsim.simulator.owners import BEFORE_INIT, OF_A_PROCESS, OWNERS
from mcsim.simulator.walk import Snapshot

WIDTH = 72
NO_BREAK = "\u00a0"
NAMES = 3  # processes that are named for one owner of one block


@dataclass(frozen=True)
class Block:
    """`first` page; `held`: pages by owner, free ones left out; `missing`: all of them; processes: by owner."""

    first: int
    order: int
    held: dict[int, int]
    processes: dict[int, tuple[str, ...]]

    @property
    def missing(self) -> int:
        """The pages that would have to be free for the block to be whole."""
        return sum(self.held.values())

    @property
    def is_fixed(self) -> bool:
        """Whether it holds pages that the kernel took before /init and never gives back."""
        return any(each in self.held for each in BEFORE_INIT)

    @property
    def has_image(self) -> bool:
        """Whether it holds pages of a process image."""
        return page_owner.PROCESS_IMAGE in self.held

    def holders(self, names: bool = True) -> str:
        """`kernel stacks 2 (ifup, sh), page cache 1`: the owner of most pages first."""
        parts = []
        for owner, pages in sorted(self.held.items(), key=lambda each: -each[1]):
            part = f"{OWNERS[owner].name} {pages}"
            known = self.processes.get(owner, ())
            if names and known:
                more = f" and {len(known) - NAMES} more" if len(known) > NAMES else ""
                part += f" ({', '.join(known[:NAMES])}{more})"
            parts.append(part)
        return ", ".join(parts) or "whole"


def blocks_of(memory: Snapshot, order: int) -> list[Block]:
    """All aligned blocks of 2^order pages that lie in the zone, ascending."""
    size = 1 << order
    found = []
    for first in range(0, memory.pages - size + 1, size):
        owners = memory.owner[first : first + size]
        held = {int(each): count for each, count in Counter(owners.tolist()).items() if each != page_owner.FREE}
        processes = {}
        for owner in held:
            if owner in OF_A_PROCESS:
                lanes = np.unique(memory.lane[first : first + size][owners == owner]).tolist()
                processes[owner] = tuple(str(memory.processes[lane]) for lane in lanes if lane in memory.processes)
        found.append(Block(first, order, held, processes))
    return found


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
    return (
        f"{len(blocks)} blocks of order {order} ({size_words(order, page_size)}) lie in the zone: {whole} whole, "
        f"{fixed} with pages that the kernel took before /init, {images} more with a process image, {rest} that only "
        "other pages break."
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
