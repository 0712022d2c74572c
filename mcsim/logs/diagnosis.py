"""Why a request was refused, with the arithmetic, and what would have helped. No model: figures of the report alone.

A request may use several zones; the one with the most memory decides, the arithmetic of all is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcsim.errors import UserError
from mcsim.logs import rules
from mcsim.logs.rules import EXHAUSTED, FRAGMENTED, PASSES, TOO_BIG, UNDECIDED, WATERMARK, ZoneState
from mcsim.logs.values import OOM, PROC, REFUSALS, Boot, Log, Report
from mcsim.model.units import parse_size

USUAL_PAGE = 4096
PAGES_KB = (4, 8, 16, 32, 64, 128, 256)
# Where a page size is from, the strongest evidence first. Lengths are whole pages: an odd number of 4 kB are of 4 kB.
FREE_LIST, COUNTERS, HASH_TABLES, LENGTHS = "free list", "free:N pages and free:NkB", "hash tables", "lengths"
ASSUMED = "not in the log"
COSTLY_ORDER = 3  # PAGE_ALLOC_COSTLY_ORDER: above it the kernel gives up rather than reclaim without end
INCLUSIVE = (6, 4)  # since then the configured order is the largest one; before, one more than that
MOST_FIT = 100_000


@dataclass(frozen=True)
class Given:
    """What a user knows and the log may not say. `fit` in bytes; `max_order` as the kernel is configured."""

    release: str | None = None
    page_size: int | None = None
    max_order: int | None = None
    fit: int | None = None

    def __post_init__(self) -> None:
        """UserError for what no kernel can have."""
        if self.page_size is not None and (self.page_size < 1024 or self.page_size & (self.page_size - 1)):
            raise UserError(f"{self.page_size} bytes", key="--page-size", valid="a power of two from 1K, as 4K or 8K")
        if self.max_order is not None and not 0 <= self.max_order < 64:
            raise UserError(str(self.max_order), key="--max-order", valid="0 to 63, as CONFIG_ARCH_FORCE_MAX_ORDER")
        if self.fit is not None and self.fit < 1:
            raise UserError(str(self.fit), key="--fit", valid="a size, as 218K")
        if self.release is not None and not self.release[:1].isdigit():
            raise UserError(repr(self.release), key="--release", valid="as 3.19 or 6.1.14")


def given(release: str | None, fit: str | None, page_size: str | None, max_order: int | None) -> Given:
    """What the user says. UserError, with the option, for what cannot be."""

    def size(text: str | None, key: str) -> int | None:
        try:
            return None if text is None else parse_size(text)
        except UserError as error:
            raise error.at(key=key) from None

    return Given(release, size(page_size, "--page-size"), max_order, size(fit, "--fit"))


@dataclass(frozen=True)
class Diagnosis:
    """One report explained; sizes in kB, None where the log does not say.

    `orders`: how many the kernel has (MAX_ORDER before 6.4). `verdict`: None where nothing was refused. `why`: the
    arithmetic, a line for each zone or rule. `beside`: what else the figures say. `helps`: what would have let the
    request pass. `blocks`: free ones of each order, of the zone that decides, as `free_kb`, `largest_kb`, `min_kb`.
    """

    report: Report
    page_size: int
    page_size_from: str
    pages: int | None
    order: int | None
    orders: int | None
    free_kb: int | None
    largest_kb: int | None
    min_kb: int | None
    blocks: tuple[int, ...] | None
    verdict: str | None
    consistent: bool | None
    why: tuple[str, ...]
    beside: tuple[str, ...]
    helps: tuple[str, ...]

    @property
    def unusable(self) -> tuple[float, ...]:
        """Unusable free space index of each order."""
        return tuple(rules.unusable(self.blocks or ()))

    @property
    def usable(self) -> int | None:
        """Free blocks that are large enough for the request, on whatever list."""
        if self.blocks is None or self.order is None:
            return None
        return sum(self.blocks[self.order :])


@dataclass(frozen=True)
class Shared:
    """What one report of a log may tell about the others: page size, by kind of evidence, and number of orders."""

    page_sizes: Mapping[str, int]
    orders: int

    @classmethod
    def of(cls, reports: Sequence[Report], boots: Sequence[Boot]) -> Shared:
        """Of some reports and boots."""
        found: dict[str, int] = {}
        for report in reports:
            for kind, size in _page_sizes(report):
                found.setdefault(kind, size)
        for boot in boots:
            if boot.page_size:
                found.setdefault(HASH_TABLES, boot.page_size)
        zones = [zone for report in reports for zone in report.zones]
        orders = max((len(zone.blocks) for zone in zones if zone.blocks and zone.whole), default=0)
        return cls(found, orders)


def _page_sizes(report: Report) -> Iterator[tuple[str, int]]:
    """Kind of evidence and bytes."""
    for zone in report.zones:
        if zone.page_kb in PAGES_KB:
            yield FREE_LIST, zone.page_kb * 1024
    pages = report.counts.get("free", 0)
    kb = sum(zone.kb.get("free", 0) for zone in report.zones)
    if pages and kb and kb % pages == 0 and kb // pages in PAGES_KB:
        yield COUNTERS, kb // pages * 1024
    if report.bytes and report.bytes % USUAL_PAGE == 0 and report.bytes % (2 * USUAL_PAGE):
        yield LENGTHS, USUAL_PAGE


def _page_size(given: Given, own: Shared, log: Shared) -> tuple[int, str]:
    """Page size in bytes, and the evidence: the strongest one, of the report itself before others."""
    if given.page_size:
        return given.page_size, "given"
    for kind in (FREE_LIST, COUNTERS, HASH_TABLES, LENGTHS):
        for each in (own, log):
            if kind in each.page_sizes:
                return each.page_sizes[kind], kind
    return USUAL_PAGE, ASSUMED


def diagnose_all(log: Log, given: Given | None = None) -> list[Diagnosis]:
    """Explain every report that was kept of a log."""
    shared = Shared.of(log.reports, log.boots)
    return [_diagnose(report, log, given or Given(), shared) for report in log.reports]


def _diagnose(report: Report, log: Log, given: Given, shared: Shared) -> Diagnosis:
    boot = _boot_of(report, log)
    if report.release is None or given.release:
        report = replace(report, release=given.release or (boot.release if boot else None))
    own = Shared.of([report], [boot] if boot else [])
    page_size, source = _page_size(given, own, shared)
    return _Case(report, given, boot, page_size, source, own.orders or shared.orders).diagnosis()


def _boot_of(report: Report, log: Log) -> Boot | None:
    """The boot whose lines come before a report; of an excerpt, the only one."""
    before = [boot for boot in log.boots if boot.line <= report.line]
    return before[-1] if before else log.boots[0] if log.boots else None


class _Case:
    """The work on one report: each method adds its lines."""

    def __init__(
        self, report: Report, given: Given, boot: Boot | None, page_size: int, source: str, columns: int
    ) -> None:
        self.report, self.given, self.boot = report, given, boot
        self.page_size, self.source = page_size, source
        self.kb = page_size // 1024
        self.new = rules.since_4_4(report)
        self.why: list[str] = []
        self.beside: list[str] = []
        self.helps: list[str] = []
        self.pages = None if report.bytes is None else max(-(-report.bytes // page_size), 1)
        self.order = report.order if report.order is not None else self._order_of_bytes()
        self.request = rules.request_of(report, self.order or 0)
        mark = "high" if report.kind == OOM else "min"
        self.states = rules.states(report, self.request, page_size)
        self.judged = rules.states(report, self.request, page_size, mark) if mark != "min" else self.states
        self.state = max(self.states, key=lambda state: state.size) if self.states else None
        self.orders = columns or self._orders()
        self.ram_pages = self._ram_pages()

    def _order_of_bytes(self) -> int | None:
        return None if self.report.bytes is None else rules.order_of(self.report.bytes, self.page_size)

    def _orders(self) -> int | None:
        """How many orders the kernel has, where no list shows it."""
        if self.given.max_order is None:
            return None
        numbers = [int(each) for each in (self.report.release or "").split("-")[0].split(".")[:2] if each.isdigit()]
        return self.given.max_order + (0 if numbers and tuple(numbers) < INCLUSIVE else 1)

    def _ram_pages(self) -> int | None:
        """All memory that the request could ever have had."""
        sizes = [
            zone.figure("managed", self.page_size) or zone.figure("present", self.page_size)
            for zone in self.report.zones
        ]
        if any(sizes):
            return sum(size or 0 for size in sizes)
        if "ram" in self.report.counts:
            return self.report.counts["ram"]
        if self.boot and self.boot.ram_kb:
            return self.boot.ram_kb // self.kb
        if self.boot and self.boot.ranges:
            return max(end + 1 - start for _, start, end in self.boot.ranges) // self.page_size
        return None

    def diagnosis(self) -> Diagnosis:
        refused = self.report.kind in REFUSALS and not (self.report.kind == OOM and self.report.order is None)
        verdict = self.verdict() if refused else None
        self.state_of_memory()
        if verdict is not None:
            self.what_helps(verdict)
        self.fit()
        state = self.state
        blocks = None if state is None else state.blocks
        return Diagnosis(
            self.report,
            self.page_size,
            self.source,
            self.pages,
            self.order,
            self.orders,
            self._kb(state.free if state else self.report.counts.get("free")),
            self._largest_kb(blocks),
            self._kb(self._printed("min")),
            blocks,
            verdict,
            self.consistent(),
            tuple(self.why),
            tuple(self.beside),
            tuple(self.helps),
        )

    def _kb(self, pages: int | None) -> int | None:
        return None if pages is None else pages * self.kb

    def _largest_kb(self, blocks: Sequence[int] | None) -> int | None:
        if blocks is None:
            return None
        return max((self.kb << order for order, count in enumerate(blocks) if count), default=0)

    def _printed(self, name: str) -> int | None:
        """A figure of the zone that decides, in pages."""
        if self.state is None:
            return None
        place = self.states.index(self.state)
        allowed = rules.ZONES[: rules.ZONES.index(self.request.highest) + 1]
        zones = [zone for zone in self.report.zones if zone.name in allowed and not rules._is_empty(zone)]
        return zones[place].figure(name, self.page_size)

    # The verdict

    def verdict(self) -> str:
        order = self.order
        if order is None:
            self.why.append("neither how many bytes nor which order was asked (the line of the request is missing)")
            return UNDECIDED
        if (too_big := self._too_big(order)) is not None:
            self.why.append(too_big)
            return TOO_BIG
        if not self.states:
            return self._without_zones(order)
        words = self._by_rule(order)
        if words[False] == words[True]:
            return self._said(words[True])
        if self.new is not None:
            return self._said(words[self.new])
        shown = {PASSES: "as printed it passes"}
        old, new = (shown.get(words[each], words[each]) for each in (False, True))
        self.why.append(f"before 4.4: {old}; since 4.4: {new} (the release is not in the log: --release)")
        return UNDECIDED

    def _said(self, word: str) -> str:
        """What a zone's figures come to as a verdict."""
        if word != PASSES:
            return word
        self.why.append(
            "as printed it passes: memory was freed between refusal and report, or another limit refused it (a cpuset, "
            "a control group)"
        )
        return UNDECIDED

    def _too_big(self, order: int) -> str | None:
        block = f"order {order}, a block of {size_words(self.kb << order)}" if order < 64 else f"order {order}"
        if self.orders is not None and order >= self.orders:
            return f"{block}; the largest order of this kernel is {self.orders - 1}: fails on every boot"
        if self.ram_pages is not None and (1 << min(order, 64)) > self.ram_pages:
            return f"{block}; there are {size_words(self.ram_pages * self.kb)} in all: fails on every boot"
        if self.report.warned:
            return f"{block}; the kernel warns (mm/page_alloc.c) that it has no such order: fails on every boot"
        return None

    def _without_zones(self, order: int) -> str:
        """Only counters, or nothing at all."""
        free = self.report.counts.get("free")
        if free is not None and free < 1 << order:
            self.why.append(f"{free} pages are free, {1 << order} are asked: {free} < {1 << order}")
            return EXHAUSTED
        known = "" if free is None else f"{free} pages ({free * self.kb} kB) are free, {1 << order} are asked; "
        missing = "the zone's line (ZONE free:NkB min:NkB) and the free list (ZONE: n*SkB ... = NkB)"
        self.why.append(f"{known}missing: {missing}")
        if self.orders is None:
            self.why.append("MAX_ORDER is not in the log either (--max-order)")
        return UNDECIDED

    def _by_rule(self, order: int) -> dict[bool, str]:
        """The verdict by each rule, and the lines of the one that holds (of both where that is unknown)."""
        words = {}
        for new in (False, True):
            judged = [rules.judge(state, order, new) for state in self.judged]
            if self.new in (None, new):
                age = ("since 4.4: " if new else "before 4.4: ") if self.new is None else ""
                self._zone_lines(order, judged, age)
            words[new] = self._overall([word for word, _ in judged])
        if self.new is None:
            self.why = list(dict.fromkeys(self._without_twins(self.why)))
        if any(state.mark is None for state in self.states):
            self.why.append("the mark is not in the report: taken as 0")
        return words

    def _without_twins(self, lines: list[str]) -> list[str]:
        """Lines that both rules agree upon once, and without the age."""
        bare = [line.removeprefix("since 4.4: ").removeprefix("before 4.4: ") for line in lines]
        return [text if bare.count(text) > 1 else line for text, line in zip(bare, lines, strict=True)]

    def _zone_lines(self, order: int, judged: list[tuple[str, str]], age: str) -> None:
        for state, (word, arithmetic) in zip(self.judged, judged, strict=True):
            self.why.append(f"{age}{state.label}{arithmetic}" + (f": {word}" if state.label else ""))
            if word in (FRAGMENTED, WATERMARK, PASSES, EXHAUSTED) and state.blocks is not None:
                self.why.append(f"{state.label}{self._blocks_words(state, order)}")

    def _blocks_words(self, state: ZoneState, order: int) -> str:
        assert state.blocks is not None
        size = size_words(self.kb << order)
        there = {each: count for each, count in enumerate(state.blocks) if each >= order and count}
        if not there:
            largest = size_words(self._largest_kb(state.blocks) or 0)
            return f"no block of order {order} ({size}) or more is free; largest {largest}"
        listed = " + ".join(f"{count}*{self.kb << each}kB" for each, count in there.items())
        if not any(state.usable[order:]):
            return f"blocks of order {order} and more: {listed}, all on lists that it may not use"
        return f"blocks of order {order} and more: {listed}"

    def _overall(self, words: list[str]) -> str:
        """Of all zones: that of the largest, unless one of them would have served the request."""
        assert self.state is not None
        if PASSES in words:
            return PASSES
        return words[self.states.index(self.state)]

    # Beside it

    def state_of_memory(self) -> None:
        report = self.report
        if self.pages is not None and self.order is not None and self.order < 64:
            block = 1 << self.order
            trimmed = (block - self.pages) * self.kb
            if trimmed >= 0:
                self.beside.append(
                    f"{self.pages} pages of {self.kb} kB need a block of {block} (order {self.order}, "
                    f"{size_words(block * self.kb)}); {trimmed} kB of it are trimmed"
                )
        if self.source == ASSUMED:
            self.beside.append("page size: not in the log, 4 kB assumed (--page-size)")
        self._lists()
        free, without_user = report.counts.get("free"), report.counts.get("free_count")
        if free is not None and without_user is not None and without_user > free:
            self.beside.append(
                f"{without_user} pages have no user, {free} are free: {without_user - free} are on no list (a leak, if "
                "they become more; some wait in lists of the CPUs)"
            )
        if self.state and self.state.highatomic:
            self.beside.append(
                f"{self.state.highatomic * self.kb} kB are kept for atomic requests (reserved_highatomic)"
            )

    def _lists(self) -> None:
        for zone in self.report.zones:
            if zone.listed is None or not zone.kb:
                continue
            listed, free = zone.listed * self.kb, zone.kb.get("free")
            if zone.total_kb is not None and listed != zone.total_kb:
                self.beside.append(f"{zone.name}: the list sums up to {listed} kB, and says {zone.total_kb} kB")
            if free is not None and listed != free:
                self.beside.append(
                    f"{zone.name}: {listed} kB on the list, free:{free}kB ({listed - free:+d} kB; on SMP the list is "
                    "read a little later)"
                )

    def consistent(self) -> bool | None:
        """Whether lists, their totals and the counters agree; None if there is nothing to compare.

        Files of /proc are read one after another: what they say need not agree.
        """
        if self.report.kind == PROC:
            return None
        answers = []
        for zone in self.report.zones:
            if zone.listed is None:
                continue
            listed = zone.listed * self.kb
            answers += [listed == other for other in (zone.total_kb, zone.kb.get("free")) if other is not None]
        free = self.report.counts.get("free")
        kb = [zone.kb["free"] for zone in self.report.zones if "free" in zone.kb]
        if free is not None and kb and len(kb) == len(self.report.zones):
            answers.append(sum(kb) == free * self.kb)
        return all(answers) if answers else None

    # What would help

    def what_helps(self, verdict: str) -> None:
        order = self.order
        if order is None or order >= 64:
            return
        if verdict == TOO_BIG and self.orders is not None and order >= self.orders:
            self.helps.append(
                f"MAX_ORDER: {order + 1} orders would be needed, 0 to {order} (CONFIG_ARCH_FORCE_MAX_ORDER={order} "
                f"since 6.4, {order + 1} before){self._largest_bank(order)}"
            )
        if verdict == TOO_BIG:
            self._largest_ever()
            return
        self._half(order)
        if self.state is None:
            return
        if verdict == WATERMARK:
            self._min_free_kbytes(order)
        if verdict == EXHAUSTED:
            self._more_memory(order)
        if verdict in (FRAGMENTED, EXHAUSTED, WATERMARK):
            self._page_cache(order, verdict)
        if verdict == FRAGMENTED:
            self.helps.append("min_free_kbytes: no value helps, as there is no block to be given")

    def _largest_bank(self, order: int) -> str:
        """Whether memory has room for such a block at all."""
        sizes = [end + 1 - start for _, start, end in self.boot.ranges] if self.boot else []
        if not sizes:
            return ""
        fits = "holds" if max(sizes) >= self.page_size << order else "does not hold"
        return f"; the largest bank, {size_words(max(sizes) // 1024)}, {fits} such a block"

    def _largest_ever(self) -> None:
        """What this kernel could serve in one piece, if all were free."""
        limits = [self.orders, None if self.ram_pages is None else self.ram_pages.bit_length()]
        order = min((each for each in limits if each), default=0) - 1
        if order >= 0:
            size = size_words(self.kb << order)
            self.helps.append(f"asking for {size} at most: no block of this kernel is larger (order {order})")

    def _half(self, order: int) -> None:
        """Asking for less: the next smaller block."""
        if order == 0 or self.report.bytes is None:
            return
        half = self.page_size << (order - 1)
        less = self.report.bytes - half
        if less <= 0:
            return
        most = size_words(half // 1024)
        text = f"asking for {less} bytes less ({most} at most) needs a block of half the size, order {order - 1}"
        if self.state is not None and self.state.blocks is not None:
            served = rules.fit(self.state, 1 << (order - 1), self.new, MOST_FIT)
            text += f": {_times(served)} now"
        self.helps.append(text)

    def _min_free_kbytes(self, order: int) -> None:
        state = self.state
        assert state is not None
        new = bool(self.new)
        if not any(state.usable[order:]):
            self.helps.append("min_free_kbytes: no value helps: the blocks are in the reserve for atomic requests")
            return
        if (
            state.boost
            and rules.largest_mark(replace(state, mark=(state.mark or 0) - state.boost + 1), order, new)
            == (state.mark or 0) - state.boost
        ):
            self.helps.append(
                f"watermark_boost_factor=0: without the boost of {state.boost} pages the mark is "
                f"{(state.mark or 0) - state.boost} pages, and it passes"
            )
        largest = rules.largest_mark(state, order, new)
        mark = state.mark or 0
        if largest is None or largest < state.boost:
            self.helps.append("min_free_kbytes: no value lets it pass; reserves alone refuse it")
            return
        zones = [zone for zone in self.report.zones if zone.name != "HighMem"]
        now = sum(zone.kb.get("min", 0) - zone.kb.get("boost", 0) for zone in zones) or mark * self.kb
        needed = largest * self.kb
        if len(zones) > 1 or self.request.high or self.request.harder:  # the mark is a share of it
            needed = now * (largest - state.boost) // max(mark - state.boost, 1)
        self.helps.append(
            f"min_free_kbytes: {needed} or less lets it pass (a mark of {largest} pages, now {mark}; now about {now})"
        )

    def _more_memory(self, order: int) -> None:
        state = self.state
        assert state is not None and state.free is not None
        needed = (state.mark or 0) + state.reserve + state.highatomic + state.cma + (1 << order)
        self.helps.append(
            f"{(needed - state.free) * self.kb} kB more would have to be free: mark and request are {needed} pages, "
            f"{state.free} are free" + ("" if order == 0 else "; and in one piece")
        )

    def _page_cache(self, order: int, verdict: str) -> None:
        counts = self.report.counts
        names = ("inactive_file", "active_file") if "inactive_file" in counts else ("inactive", "active")
        if not any(name in counts for name in names):
            return
        pages = sum(counts.get(name, 0) for name in names)
        kept = counts.get("unevictable", 0)
        unevictable = f"; {kept * self.kb} kB are unevictable (ramfs, mlock)" if kept else ""
        if not pages:
            self.helps.append(f"dropping page cache: nothing to drop, 0 kB{unevictable}")
        elif order == 0:
            self.helps.append(
                f"dropping page cache: {pages * self.kb} kB in single pages, which is what is asked{unevictable}"
            )
        else:
            costly = (
                f"; above order {COSTLY_ORDER} the kernel gives up rather than free pages until there is one"
                if order > COSTLY_ORDER
                else ""
            )
            block = size_words(self.kb << order)
            self.helps.append(
                f"dropping page cache: {pages * self.kb} kB, in single pages: a block of {block} only where "
                f"{1 << order} neighbours are all free then{costly}{unevictable}"
            )

    def fit(self) -> None:
        """How many more programs of a size fit."""
        if self.given.fit is None:
            return
        pages = -(-self.given.fit // self.page_size)
        order = rules.order_of(self.given.fit, self.page_size)
        text = f"{self.given.fit} bytes are {pages} pages, order {order}"
        if self.state is None or self.state.blocks is None:
            self.helps.append(f"fit: {text}; the free list is missing")
            return
        served = rules.fit(self.state, pages, self.new, MOST_FIT)
        whole = sum(count >> 0 << each - order for each, count in enumerate(self.state.blocks) if each >= order)
        self.helps.append(f"fit: {text}; {served} more fit now ({whole} blocks of that order are in the free ones)")


def _times(number: int) -> str:
    if number >= MOST_FIT:
        return f"would pass {MOST_FIT} times and more"
    return {0: "would be refused as well", 1: "would pass once"}.get(number, f"would pass {number} times")


def size_words(kb: int) -> str:
    """`512 kB`, `2 MB`: whole megabytes as such, all else in kB."""
    return f"{kb >> 10} MB" if kb >= 1024 and kb % 1024 == 0 else f"{kb} kB"
