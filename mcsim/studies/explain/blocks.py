"""Blocks of the needed order in one boot: how many pages each lacks to be whole, and who holds them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mcsim.simulator.values import BEFORE_INIT, FREE, OF_A_PROCESS, OWNERS, PROCESS_IMAGE, Snapshot

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
        return PROCESS_IMAGE in self.held

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
        held = {int(each): count for each, count in Counter(owners.tolist()).items() if each != FREE}
        processes = {}
        for owner in held:
            if owner in OF_A_PROCESS:
                lanes = np.unique(memory.lane[first : first + size][owners == owner]).tolist()
                processes[owner] = tuple(str(memory.processes[lane]) for lane in lanes if lane in memory.processes)
        found.append(Block(first, order, held, processes))
    return found
