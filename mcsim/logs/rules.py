"""When a kernel refuses a request: __zone_watermark_ok() of mm/page_alloc.c, as it was before 4.4 and as it is since.

Before 4.4 the free pages less the request must be above the mark, and then once for each order below the request, with
the blocks of that order taken off and the mark halved. Since 4.4 the first test is the only one, and a block of the
order or a larger one must be on a list that the request may use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcsim.logs.values import Report, Zone

ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")  # as the kernel orders them
GFP_DMA, GFP_HIGHMEM, GFP_DMA32, GFP_MOVABLE = 1, 2, 4, 8
GFP_HIGH = 0x20
OLD_GFP_WAIT, OLD_GFP_NOMEMALLOC = 0x10, 0x10000  # before 4.4
NEW_GFP_ATOMIC, NEW_GFP_RECLAIM = 0x80000, 0x2400000  # 4.4 and 4.5, which print no names yet
FRAGMENTED, EXHAUSTED, TOO_BIG, WATERMARK, UNDECIDED = "fragmented", "exhausted", "too-big", "watermark", "undecided"
PASSES = "passes"  # of a zone as printed: then the report does not show the moment of the refusal


@dataclass(frozen=True)
class Request:
    """What is asked of the page allocator. `no_marks`: the process may take everything (__GFP_MEMALLOC)."""

    order: int
    highest: str = "Normal"  # zone
    high: bool = False  # half of the mark may be used (GFP_ATOMIC)
    harder: bool = False  # another quarter, and the highatomic reserve
    movable: bool = False  # CMA blocks may be used

    def mark(self, pages: int) -> int:
        """Of a mark, what this request leaves alone."""
        pages -= pages // 2 if self.high else 0
        return pages - (pages // 4 if self.harder else 0)


def request_of(report: Report, order: int) -> Request:
    """By the GFP bits and, where the kernel prints them, their names."""
    gfp, names = report.gfp or 0, report.gfp_names
    text = " ".join(names)
    dma = "GFP_DMA" in names or "__GFP_DMA" in names or bool(gfp & GFP_DMA)
    dma32 = "GFP_DMA32" in names or "__GFP_DMA32" in names or bool(gfp & GFP_DMA32)
    high_zone = "HIGHMEM" in text or "HIGHUSER" in text or bool(gfp & GFP_HIGHMEM)
    movable = "MOVABLE" in text or (bool(names) and bool(gfp & GFP_MOVABLE))
    highest = "DMA" if dma else "DMA32" if dma32 else "Normal"
    if high_zone and highest == "Normal":
        highest = "Movable" if movable else "HighMem"
    if names:
        high = "GFP_ATOMIC" in names or "__GFP_HIGH" in names
        harder = ("GFP_ATOMIC" in names or "__GFP_ATOMIC" in names) and "__GFP_NOMEMALLOC" not in names
    else:
        high = bool(gfp & GFP_HIGH)
        old = bool(report.gfp) and not gfp & (OLD_GFP_WAIT | OLD_GFP_NOMEMALLOC)
        harder = bool(gfp & NEW_GFP_ATOMIC) if gfp & NEW_GFP_RECLAIM else old
    return Request(order, highest, high, harder, movable)


def since_4_4(report: Report) -> bool | None:
    """Which rule the kernel has: by its release, else by the layout of the report; None if neither says."""
    numbers = re.match(r"(\d+)\.(\d+)", report.release or "")
    if numbers:
        return (int(numbers[1]), int(numbers[2])) >= (4, 4)
    if len(report.hints) == 1:
        return "since 4.4" in report.hints
    return None


@dataclass(frozen=True)
class ZoneState:
    """A zone in pages. `usable[order]`: whether a block of that order is on a list that the request may use."""

    label: str
    free: int | None
    mark: int | None  # as the request has it
    mark_text: str
    boost: int
    reserve: int
    highatomic: int
    cma: int
    blocks: tuple[int, ...] | None
    usable: tuple[bool, ...] = ()
    atomic: tuple[bool, ...] = ()  # whether one is in the highatomic reserve
    complete: bool = True
    size: int = 0

    def has_block(self, order: int) -> bool | None:
        """Whether a large enough block is on such a list; None if the list does not say."""
        if self.blocks is None:
            return None
        if any(self.usable[order:]):
            return True
        listed = sum(count << each for each, count in enumerate(self.blocks))
        return None if not self.complete and (self.free is None or self.free - listed >= 1 << order) else False


def states(report: Report, request: Request, page_size: int, mark: str = "min") -> list[ZoneState]:
    """The zones that the request may use and that have memory, the lowest first."""
    allowed = ZONES[: ZONES.index(request.highest) + 1]
    chosen = [zone for zone in report.zones if zone.name in allowed and not _is_empty(zone)]
    several = len(chosen) > 1 or (chosen and chosen[0].node)
    return [_state(zone, report, request, page_size, mark, bool(several)) for zone in chosen]


def _is_empty(zone: Zone) -> bool:
    sizes = [zone.kb.get(name, zone.in_pages.get(name)) for name in ("present", "managed")]
    return any(size == 0 for size in sizes) or (zone.blocks is None and not zone.kb and not zone.in_pages)


def _state(zone: Zone, report: Report, request: Request, page_size: int, mark: str, several: bool) -> ZoneState:
    def pages(name: str) -> int:
        return zone.figure(name, page_size) or 0

    free = zone.figure("free", page_size)
    if free is None:
        free = report.counts.get("free") if len(report.zones) == 1 else None
    if free is None and zone.complete:
        free = zone.listed
    printed = zone.figure(mark, page_size)
    kept = None if printed is None else request.mark(printed)
    highatomic = pages("free_highatomic") if "free_highatomic" in zone.kb else pages("reserved_highatomic")
    return ZoneState(
        (f"node {zone.node} " if zone.node else "") + f"{zone.name}: " if several else "",
        free,
        kept,
        mark if kept == printed else f"{mark} {printed}, of which it may use {(printed or 0) - (kept or 0)}",
        pages("boost"),
        _lowmem_reserve(zone, report, request),
        0 if request.harder else min(highatomic, free or 0),
        0 if request.movable else pages("free_cma"),
        zone.blocks,
        tuple(_usable(zone, order, request) for order in range(len(zone.blocks or ()))),
        tuple("H" in letters for letters in zone.letters),
        zone.complete,
        pages("managed") or pages("present") or free or 0,
    )


def _usable(zone: Zone, order: int, request: Request) -> bool:
    """Whether a request may take one of the blocks of this order: by the letters of the list."""
    assert zone.blocks is not None
    if zone.blocks[order] == 0:
        return False
    letters = zone.letters[order] if order < len(zone.letters) else ""
    if not letters:
        return True
    served = "UMER?" + ("C" if request.movable else "") + ("H" if request.harder and request.order > 0 else "")
    return any(letter in served for letter in letters)


def _lowmem_reserve(zone: Zone, report: Report, request: Request) -> int:
    """Pages that this zone keeps from requests that a higher zone could serve."""
    if not zone.reserve:
        return 0
    seen = {each.name for each in report.zones}
    configured = set(seen | {"Normal"})
    for name in ("Movable", "Device", "DMA32", "HighMem", "DMA"):
        if len(configured) < len(zone.reserve):
            configured.add(name)
    order = [name for name in ZONES if name in configured]
    below = [place for place, name in enumerate(order) if ZONES.index(name) <= ZONES.index(request.highest)]
    return zone.reserve[min(below[-1] if below else 0, len(zone.reserve) - 1)]


@dataclass(frozen=True)
class Check:
    """Whether a zone's figures let a request pass, and the arithmetic."""

    passes: bool
    words: str


def first_test(state: ZoneState, order: int, mark: int | None = None) -> Check:
    """Free pages less the request, against mark and reserve; the whole rule of order 0."""
    assert state.free is not None
    kept = (state.mark or 0) if mark is None else mark
    left = state.free - ((1 << order) - 1) - state.highatomic - state.cma
    limit = kept + state.reserve
    sum_of = f"{state.free} free pages - {(1 << order) - 1}"
    sum_of += f" - {state.highatomic} (highatomic)" if state.highatomic else ""
    sum_of += f" - {state.cma} (CMA)" if state.cma else ""
    against = f"{kept} ({state.mark_text}{f', boost {state.boost} of it' if state.boost else ''})"
    against += f" + {state.reserve} (lowmem_reserve)" if state.reserve else ""
    return Check(left > limit, f"{sum_of} = {left} {'>' if left > limit else '<='} {against}")


def before(state: ZoneState, order: int, mark: int | None = None) -> Check:
    """The rule before 4.4."""
    first = first_test(replace(state, highatomic=0), order, mark)
    if not first.passes or state.blocks is None or order == 0:
        return first
    assert state.free is not None
    kept = (state.mark or 0) if mark is None else mark
    left, taken = state.free - ((1 << order) - 1) - state.cma, []
    for below in range(order):
        pages = (state.blocks[below] if below < len(state.blocks) else 0) << below
        taken.append(str(pages))
        left, kept = left - pages, kept >> 1
        if left <= kept:
            break
    rest = (
        f"; less {', '.join(taken)} in smaller blocks: {left} {'>' if left > kept else '<='} {kept} (the mark, halved"
    )
    return Check(left > kept, f"{first.words}{rest} {len(taken)} times)")


def since(state: ZoneState, order: int, mark: int | None = None) -> Check:
    """The rule since 4.4, without the search for a block."""
    return first_test(state, order, mark)


def judge(state: ZoneState, order: int, new: bool) -> tuple[str, str]:
    """Verdict on one zone by one of the rules, or PASSES, and the arithmetic."""
    if state.free is None:
        return UNDECIDED, "how many pages are free is missing (the line ZONE free:NkB, or free:N)"
    block = state.has_block(order)
    first = first_test(state if new else replace(state, highatomic=0), order)
    if block is None:
        if not first.passes and (state.mark is not None or state.free < 1 << order):
            return EXHAUSTED, first.words
        return UNDECIDED, f"the free list is missing or cut off (ZONE: n*{'S'}kB ... = NkB)"
    bare = replace(state, boost=0, reserve=0, highatomic=0)
    plain = first_test(bare, order, (state.mark or 0) - state.boost).passes
    if not block and any(state.atomic[order:]) and plain:
        return WATERMARK, first.words  # the reserve refuses it
    if not block:
        return (FRAGMENTED if first.passes else EXHAUSTED), first.words
    rule = (since if new else before)(state, order)
    if state.mark is None and not rule.passes:
        return EXHAUSTED, rule.words
    if rule.passes:
        return (UNDECIDED if state.mark is None else PASSES), rule.words
    if order == 0 and not plain:
        return EXHAUSTED, rule.words
    return WATERMARK, rule.words


def largest_mark(state: ZoneState, order: int, new: bool) -> int | None:
    """The largest mark (pages) with which the rule passes; None if none does."""
    rule = since if new else before
    low, high = 0, max(state.mark or 0, 1)
    if not rule(state, order, 0).passes:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rule(state, order, middle).passes else (low, middle)
    return low


def fit(state: ZoneState, pages: int, new: bool | None, most: int = 100_000) -> int:
    """How many more requests of so many pages pass one after another.

    As by alloc_pages_exact(): the rest of each block is given back.
    """
    if state.blocks is None or pages < 1:
        return 0
    order = (pages - 1).bit_length()
    blocks = [count if usable else 0 for count, usable in zip(state.blocks, state.usable, strict=True)]
    free, served = state.free or 0, 0
    rules = {None: (before, since), True: (since,), False: (before,)}[new]
    while served < most:
        now = replace(state, free=free, blocks=tuple(blocks))
        found = next((each for each in range(order, len(blocks)) if blocks[each]), None)
        if found is None or not all(rule(now, order).passes for rule in rules):
            break
        _take(blocks, found, order, pages)
        free, served = free - pages, served + 1
    return served


def _take(blocks: list[int], found: int, order: int, pages: int) -> None:
    """Split a block and give back what is not needed of it, to lists of blocks of each order."""
    blocks[found] -= 1
    for each in range(order, found):
        blocks[each] += 1
    rest = (1 << order) - pages
    for each in range(order):
        blocks[each] += rest >> each & 1


def order_of(size: int, page_size: int) -> int:
    """get_order(): of the smallest block that holds so many bytes."""
    return max(-(-size // page_size) - 1, 0).bit_length()


def unusable(blocks: Sequence[int]) -> list[float]:
    """Unusable free space index per order: the share of free memory in blocks that are too small for it."""
    total = sum(count << order for order, count in enumerate(blocks))
    below, shares = 0, []
    for order, count in enumerate(blocks):
        shares.append(below / total if total else 0.0)
        below += count << order
    return shares
