"""Sets of boots as ascending, disjoint ranges (first, last), both ends included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = list[tuple[int, int]]


def union(ranges: Iterable[Sequence[int]]) -> Ranges:
    """The boots that lie in any of the ranges, which may overlap and come in any order."""
    joined: Ranges = []
    for first, last in sorted((first, last) for first, last in ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """The boots of `ranges` that do not lie in `others`; both ascending and disjoint."""
    left: Ranges = []
    place = 0
    for first, last in ranges:
        while place < len(others) and others[place][1] < first:
            place += 1
        at = place
        while at < len(others) and others[at][0] <= last:
            if others[at][0] > first:
                left.append((first, others[at][0] - 1))
            first = others[at][1] + 1
            at += 1
        if first <= last:
            left.append((first, last))
    return left


def count(ranges: Iterable[Sequence[int]]) -> int:
    """How many boots."""
    return sum(last - first + 1 for first, last in ranges)


def in_words(ranges: Ranges, most: int = 4) -> str:
    """`3, 5..9 and 2 more ranges`."""
    shown = [str(first) if first == last else f"{first}..{last}" for first, last in ranges[:most]]
    more = len(ranges) - most
    return ", ".join(shown) + (f" and {more} more {'range' if more == 1 else 'ranges'}" if more > 0 else "")
