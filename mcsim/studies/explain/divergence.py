"""Where two variants part on the same boot, and what comes of it.

Both get the same stream of requests. After each entry all free lists are compared: first the lists differ (which block
comes next), later the pages that a request gets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcsim.simulator.values import Ending, Event, Snapshot
from mcsim.simulator.walk import Walk


@dataclass(frozen=True)
class Lists:
    """A free list that differs: its order, its migratetype, its blocks in both, head first."""

    order: int
    migratetype: int
    blocks: tuple[list[int], list[int]]


@dataclass(frozen=True)
class Parting:
    """The first event after which something differs; taken, given: page numbers, in both."""

    event: Event
    taken: tuple[list[int], list[int]]
    given: tuple[list[int], list[int]]
    lists: list[Lists]


@dataclass(frozen=True)
class Divergence:
    """Two variants on one boot.

    first_lists, first_pages: None if nothing of that kind ever differs. at_end: memory of both after the event with
    which the first of them ends. endings: of both.
    """

    names: tuple[str, str]
    first_lists: Parting | None
    first_pages: Parting | None
    at_end: tuple[Snapshot, Snapshot]
    at_end_event: Event
    endings: tuple[Ending, Ending]


def diverge(a: Walk, b: Walk) -> Divergence:
    """Compare two walks of the same boot from where they stand (the beginning) to the end of both."""
    first_lists = first_pages = None
    if not a.has_free_lists_of(b):
        raise ValueError("the walks differ before the first event")
    while not a.ended and not b.ended:
        before = a.in_use(), b.in_use()
        a.step()
        b.step()
        if first_lists is None and not a.has_free_lists_of(b):
            first_lists = _parting(a, b, before)
        if first_pages is None and not a.has_free_blocks_of(b):
            first_pages = _parting(a, b, before)
    at_end = a.snapshot(), b.snapshot()
    event = a.event(a.position - 1)
    a.finish()
    b.finish()
    names = a.task.variant, b.task.variant
    return Divergence(names, first_lists, first_pages, at_end, event, (a.ending(), b.ending()))


def _parting(a: Walk, b: Walk, before: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> Parting:
    after = a.in_use(), b.in_use()
    taken = [np.flatnonzero(now & ~then).tolist() for now, then in zip(after, before, strict=True)]
    given = [np.flatnonzero(~now & then).tolist() for now, then in zip(after, before, strict=True)]
    ours, theirs = a.free_lists(), b.free_lists()
    lists = [Lists(*which, (ours[which], theirs[which])) for which in ours if ours[which] != theirs[which]]
    return Parting(a.event(a.position - 1), (taken[0], taken[1]), (given[0], given[1]), lists)
