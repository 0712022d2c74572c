"""Sums over failing boots of who holds pages of blocks: what kernels/boot/page_owner.py counts, by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcsim.kernels.boot import page_owner
from mcsim.simulator.values import Owner, owner_set

COUNTS = ("owner", "together", "boots", "contradictions")  # of mcsim.kernels.boot.page_owner.Blame: what adds up


class Count(NamedTuple):
    """The sum of a whole number over failing boots, and the sum of its squares."""

    total: int
    squared: int


class OfOwner(NamedTuple):
    """Of one owner, in blocks of one order; see `mcsim.studies.explain.blame.of_boots`."""

    pages: Count
    alone: Count
    shared: Count
    pages_alone: int
    boots_alone: int


class BlameSums:
    """Exact whole numbers, which add up over boots. arrays: a `mcsim.kernels.boot.page_owner.Blame`."""

    def __init__(self) -> None:
        """Of no boot."""
        self.arrays = page_owner.make_blame()

    def add(self, other: BlameSums) -> None:
        """Those of other boots, too."""
        for name in COUNTS:
            getattr(self.arrays, name)[...] += getattr(other.arrays, name)

    @property
    def contradictions(self) -> int:
        """Pages that two claim, or that are claimed and free: none, unless the model is wrong."""
        return int(self.arrays.contradictions[0])

    def orders(self) -> list[int]:
        """Orders that failing requests asked for, ascending."""
        return np.flatnonzero(self.arrays.boots[:, page_owner.FAILURES]).tolist()

    def failures(self, order: int) -> int:
        """Boots that failed for want of a block of that order."""
        return int(self.arrays.boots[order, page_owner.FAILURES])

    def blocks(self, order: int) -> int:
        """Blocks of that order, over these boots."""
        return int(self.arrays.boots[order, page_owner.BLOCKS])

    def fewest(self, order: int) -> Count:
        """Pages missing in the block that lacks the fewest."""
        row = self.arrays.boots[order]
        return Count(int(row[page_owner.FEWEST]), int(row[page_owner.FEWEST_SQUARED]))

    def of_owner(self, order: int, owner: Owner) -> OfOwner:
        """What one owner holds."""
        row = self.arrays.owner[order, owner.number].tolist()
        return OfOwner(
            pages=Count(row[page_owner.PAGES], row[page_owner.PAGES_SQUARED]),
            alone=Count(row[page_owner.BLOCKS_ALONE], row[page_owner.ALONE_SQUARED]),
            shared=Count(row[page_owner.BLOCKS_SHARED], row[page_owner.SHARED_SQUARED]),
            pages_alone=row[page_owner.PAGES_ALONE],
            boots_alone=row[page_owner.BOOTS_ALONE],
        )

    def together(self, order: int) -> list[tuple[tuple[str, ...], Count]]:
        """Blocks by the names of exactly those who hold them; nobody: whole ones."""
        sets = self.arrays.together[order]
        return [(owner_set(bits), Count(*sets[bits].tolist())) for bits in np.flatnonzero(sets[:, 0]).tolist()]
