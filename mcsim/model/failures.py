"""What a boot can fail for want of: one table for outcomes, summaries and reports."""

from __future__ import annotations

from typing import NamedTuple


class Failure(NamedTuple):
    """`column`: in summaries. `words`: what could not be had. `meaning`: the same in a sentence."""

    column: str
    words: str
    meaning: str


# By failure_class of an outcome; 0 is none. The numbers are those of kernels/linux/nommu.py and kernels/boot/boot.py.
FAILURES = {
    1: Failure(
        "contiguous",
        "contiguous mapping",
        "no block large enough in one piece for a process image or a mapping",
    ),
    2: Failure("slab", "slab page", "no page for a slab of small objects"),
    3: Failure("maple_node", "maple node", "no page for the nodes of a maple tree"),
    4: Failure("other_page", "other page", "no page for anything else"),
}
