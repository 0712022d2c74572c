"""The buddy allocator against a plain twin, and its own claims."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twin_page_alloc import TwinZone

from mcsim.kernels.linux.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_MOVABLE, GFP_NOMEMALLOC, GFP_NOWAIT, GFP_RECLAIMABLE
from mcsim.kernels.linux.machine import EXACT_TAIL_HEAD, EXACT_TAIL_TAIL, MAX_ORDER_LIMIT, bare_machine
from mcsim.kernels.linux.memblock import memblock_free_all
from mcsim.kernels.linux.page_alloc import (
    FPI_NONE,
    FPI_TO_TAIL,
    MIGRATE_HIGHATOMIC,
    MIGRATE_TYPES,
    MIN_FREE_KBYTES,
    NR_FREE_LISTS,
    NR_PCP_LISTS,
    NR_RESERVED_HIGHATOMIC,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    PCP_FREE_FACTOR,
    SLOWPATH,
    SLOWPATH_NO_WATERMARKS,
    SLOWPATH_UNRESERVE,
    SLOWPATH_WMARK_MIN,
    WATERMARK_BOOST,
    WMARK_MIN,
    ZONE_RECLAIM_ACTIVE,
    alloc_pages,
    alloc_pages_exact,
    build_all_zonelists,
    calculate_min_free_kbytes,
    copy_zone,
    drain_pages_zone,
    folio_add_lru,
    free_one_page_run,
    free_pages,
    free_pages_exact,
    get_pageblock_migratetype,
    kswapd,
    largest_free_order,
    list_entries,
    make_zone,
    nr_free_pages,
    pageset_update,
    reset_zone,
    setup_per_zone_wmarks,
    zone_set_pageset_high_and_batch,
)
from mcsim.kernels.probe.invariants import check_zone
from tests.machines import machine, policy

GFP_TYPES = (0, GFP_MOVABLE, GFP_RECLAIMABLE)
GFP_KINDS = (
    (GFP_KERNEL, {}),
    (GFP_NOWAIT, {"reclaim": False}),
    (GFP_ATOMIC, {"high": True, "reclaim": False}),
    (GFP_KERNEL | GFP_NOMEMALLOC, {"memalloc": False}),
    (GFP_ATOMIC | GFP_NOMEMALLOC, {"high": True, "reclaim": False, "memalloc": False}),
)


def empty_zone(pages, start=0, **facts):
    return make_zone(start, pages, machine(**facts), policy())


def fresh_zone(pages=4096, reserved=((0, 505),), start=0, mobility_off=True, **facts):
    zone = empty_zone(pages, start, reserved=np.array(reserved, np.int64).reshape(-1, 2), **facts)
    zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] = mobility_off
    memblock_free_all(zone)
    return zone


def with_tail(zone, exact_tail):
    """The same pages under the other policy."""
    return zone._replace(policy=zone.policy._replace(exact_tail=exact_tail))


def free_lists(zone):
    pages = len(zone.order)
    return [
        [list_entries(zone, pages + order * MIGRATE_TYPES + kind) for kind in range(MIGRATE_TYPES)]
        for order in range(zone.machine.max_order)
    ]


def everything(zone):
    return [free_lists(zone), zone.pageblock.tolist(), zone.lru.tolist(), zone.scalar.tolist()]


class AgainstTwin(RuleBasedStateMachine):
    """Any sequence of requests leaves the twin's lists, list order included."""

    max_orders: tuple[int, ...] = (11,)

    @initialize(
        max_order=st.runner().flatmap(lambda self: st.sampled_from(self.max_orders)),
        page_size=st.sampled_from([8192, 8192, 1024, 4096, 65536]),
        in_a_pageblock=st.sampled_from([0, 0, 0.5]),
        pages=st.sampled_from([1500, 2048, 3000, 5120, 5500]),
        hole=st.sampled_from([(), ((0, 505),), ((0, 700), (1300, 9))]),
        mobility_off=st.booleans(),
        pcp=st.sampled_from([(0, 1), (0, 1), (4, 1), (60, 15), (20, 4)]),
        minimum=st.sampled_from([0, 0, 40, 300]),
        slow=st.integers(0, 7),
        mmu=st.booleans(),
    )
    def begin(self, max_order, page_size, in_a_pageblock, pages, hole, mobility_off, pcp, minimum, slow, mmu):
        start = int(in_a_pageblock * 2 ** (max_order - 1))
        pages *= 2 ** max(0, max_order - 11)  # as many pageblocks
        hole = [(first, count) for first, count in hole if first >= start]
        facts = {"page_size": page_size, "max_order": max_order, "mmu": int(mmu)}
        self.zone = fresh_zone(pages, hole, start, mobility_off, **facts)
        self.twin = TwinZone(start, pages, hole, mobility_off=mobility_off, mmu=mmu, max_order=max_order)
        pageset_update(self.zone, *pcp)
        self.twin.high, self.twin.batch = pcp
        self.zone.scalar[MIN_FREE_KBYTES] = minimum * page_size // 1024
        setup_per_zone_wmarks(self.zone)
        pageset_update(self.zone, *pcp)
        self.twin.set_marks(minimum)
        self.zone.scalar[SLOWPATH] = slow
        self.twin.slow_min = bool(slow & SLOWPATH_WMARK_MIN)
        self.twin.slow_unreserve = bool(slow & SLOWPATH_UNRESERVE)
        self.twin.slow_no_marks = bool(slow & SLOWPATH_NO_WATERMARKS)
        self.blocks = []  # (page, order)
        self.exact = []  # (page, pages)

    def request(self, order, kind, gfp):
        flags, rights = gfp
        page = alloc_pages(self.zone, flags | GFP_TYPES[kind], order)
        expected = self.twin.alloc_pages(order, kind, **rights)
        assert page == (-1 if expected is None else expected)
        return page

    @rule(
        order=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 7, 9, 10, 13, 14]),
        kind=st.sampled_from([0, 0, 1, 2]),
        gfp=st.sampled_from(GFP_KINDS),
        times=st.sampled_from([1, 1, 3, 20]),
        lru=st.booleans(),
    )
    def alloc(self, order, kind, gfp, times, lru):
        for _ in range(times):
            page = self.request(order, kind, gfp)
            if page == -1:
                break
            self.blocks.append((page, order))
            if lru and kind == 1:
                folio_add_lru(self.zone, page, order)
                self.twin.lru |= set(range(page, page + 2**order))

    @rule(order=st.sampled_from([0, 3, 4, 6]), kind=st.integers(0, 2), keep=st.sampled_from([2, 3, 7]))
    def fill_and_punch_holes(self, order, kind, keep):
        taken = []
        while len(taken) < 150:
            page = self.request(order, kind, GFP_KINDS[0])
            if page == -1:
                break
            taken.append((page, order))
        for i, (page, _) in enumerate(taken):
            if i % keep:
                free_pages(self.zone, page, order)
                self.twin.free_pages(page, order)
            else:
                self.blocks.append((page, order))

    @rule(pages=st.sampled_from([1, 3, 5, 63, 100, 113, 129]), kind=st.integers(0, 2), tail=st.booleans())
    def alloc_exact(self, pages, kind, tail):
        zone = with_tail(self.zone, EXACT_TAIL_TAIL if tail else EXACT_TAIL_HEAD)
        page = alloc_pages_exact(zone, pages, GFP_KERNEL | GFP_TYPES[kind])
        expected = self.twin.alloc_pages_exact(pages, kind, to_tail=tail)
        assert page == (-1 if expected is None else expected)
        if page != -1:
            self.exact.append((page, pages))

    @precondition(lambda self: self.blocks)
    @rule(data=st.data(), times=st.sampled_from([1, 1, 3, 20]))
    def free(self, data, times):
        for _ in range(min(times, len(self.blocks))):
            page, order = self.blocks.pop(data.draw(st.integers(0, len(self.blocks) - 1)))
            free_pages(self.zone, page, order)
            self.twin.free_pages(page, order)

    @precondition(lambda self: self.exact)
    @rule(data=st.data())
    def free_exact(self, data):
        page, pages = self.exact.pop(data.draw(st.integers(0, len(self.exact) - 1)))
        free_pages_exact(self.zone, page, pages)
        self.twin.free_pages_exact(page, pages)

    @rule()
    def drain(self):
        drain_pages_zone(self.zone)
        self.twin.drain()

    @rule(pcp=st.sampled_from([(0, 1), (4, 1), (60, 15)]), active=st.booleans())
    def resize_pcp(self, pcp, active):
        pageset_update(self.zone, *pcp)
        self.zone.scalar[ZONE_RECLAIM_ACTIVE] = active
        self.twin.high, self.twin.batch = pcp
        self.twin.reclaim_active = active

    @rule()
    def work_the_boost_off(self):
        kswapd(self.zone)
        self.twin.boost = 0

    @invariant()
    def same_state(self):
        if not hasattr(self, "zone"):
            return
        check_zone(self.zone)
        zone, twin, scalar = self.zone, self.twin, self.zone.scalar
        assert free_lists(zone) == twin.lists
        heads = range(len(zone.order) + NR_FREE_LISTS, len(zone.next))
        assert [list_entries(zone, head) for head in heads] == [[page for page, _ in p] for p in twin.pcp]
        assert zone.pageblock.tolist() == list(twin.types.values())
        assert nr_free_pages(zone) == twin.nr_free()
        assert largest_free_order(zone) == max((order for order, _ in twin.free.values()), default=-1)
        assert 2 ** scalar[PCP_FREE_FACTOR] == 2**twin.free_factor
        assert scalar[WATERMARK_BOOST] == twin.boost
        assert scalar[NR_RESERVED_HIGHATOMIC] == twin.highatomic


AgainstTwin.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_sequence_of_requests_leaves_the_lists_of_the_twin = AgainstTwin.TestCase


class AtOtherOrders(AgainstTwin):
    """The same with smaller and larger pageblocks."""

    max_orders = (4, 7, 14, MAX_ORDER_LIMIT)


AtOtherOrders.TestCase.settings = AgainstTwin.TestCase.settings
test_any_sequence_leaves_the_lists_of_the_twin_at_other_orders = AtOtherOrders.TestCase


def test_with_grouping_off_the_first_request_takes_the_lowest_whole_pageblock():
    zone = fresh_zone()
    assert alloc_pages(zone, GFP_KERNEL, 0) == 1024
    assert zone.pageblock.tolist() == [1, 0, 1, 1]


def test_grouping_is_off_at_32_mb_and_on_at_33_mb():
    for pages, memmap, off in ((4096, 16, 1), (4224, 20, 0)):
        zone = empty_zone(pages, memmap_pages=memmap)
        build_all_zonelists(zone)
        assert zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] == off


@pytest.mark.parametrize("fpi_flags", [FPI_NONE, FPI_TO_TAIL])
def test_a_run_of_any_length_leaves_what_its_pages_leave_one_by_one(fpi_flags):
    """400 runs of up to three largest blocks, anywhere, in memory of which other pages are free at random."""
    rng = np.random.default_rng(20220601)
    once, by_page = fresh_zone(), fresh_zone()
    for zone in (once, by_page):
        while alloc_pages(zone, GFP_ATOMIC, 0) >= 0:  # all pages taken, so that any may be freed
            pass
    assert nr_free_pages(once) == 0
    nothing_free = fresh_zone()
    copy_zone(nothing_free, once)
    for _ in range(400):
        copy_zone(once, nothing_free)
        pages = int(2 ** rng.uniform(0, 11.5))
        first = int(rng.integers(505, 4096 - pages + 1))
        others = np.setdiff1d(np.arange(505, 4096), np.arange(first, first + pages))
        for page in others[rng.random(len(others)) < rng.choice([0.5, 0.9, 1.0])].tolist():
            free_one_page_run(once, page, 1, FPI_NONE)
        copy_zone(by_page, once)
        free_one_page_run(once, first, pages, fpi_flags)
        for page in range(first, first + pages):
            free_one_page_run(by_page, page, 1, fpi_flags)
        assert everything(once) == everything(by_page)
        assert np.array_equal(once.order, by_page.order)


def test_leftovers_at_the_head_are_handed_out_next_and_leftovers_at_the_tail_are_not():
    for tail in (EXACT_TAIL_HEAD, EXACT_TAIL_TAIL):
        zone = with_tail(fresh_zone(), tail)
        assert alloc_pages(zone, GFP_KERNEL, 0) == 1024  # leaves single page 1025
        page = alloc_pages_exact(zone, 113, GFP_KERNEL)
        assert alloc_pages(zone, GFP_KERNEL, 0) == (1025 if tail == EXACT_TAIL_TAIL else page + 113)


def test_watermarks_are_those_of_the_kernel():
    for reserved, kbytes, marks in ((605, 668, [83, 103, 123]), (8192 - 7571, 984, [123, 153, 183])):
        zone = fresh_zone(4096 if kbytes == 668 else 8192, ((0, reserved),))
        zone_set_pageset_high_and_batch(zone)
        calculate_min_free_kbytes(zone)
        setup_per_zone_wmarks(zone)
        assert zone.scalar[MIN_FREE_KBYTES] == kbytes
        assert zone.scalar[WMARK_MIN : WMARK_MIN + 3].tolist() == marks


def test_a_pageblock_full_of_movable_pages_keeps_its_type_when_a_block_is_stolen():
    for on_lru, kind in ((True, 1), (False, 0)):
        zone = fresh_zone(2048, (), mobility_off=False)
        blocks = [alloc_pages(zone, GFP_KERNEL | GFP_MOVABLE, 8) for _ in range(8)]
        for page in blocks:
            if on_lru:
                folio_add_lru(zone, page, 8)
        free_pages(zone, blocks[-1], 8)
        assert alloc_pages(zone, GFP_KERNEL, 0) == blocks[-1]
        assert zone.pageblock[blocks[-1] // 1024] == kind


def test_the_reserve_for_atomic_requests_is_the_last_resort_of_those_that_may_not_wait():
    zone = fresh_zone(4096, (), mobility_off=False)
    zone.scalar[MIN_FREE_KBYTES] = 4096 * 8
    setup_per_zone_wmarks(zone)
    reserved = alloc_pages(zone, GFP_ATOMIC, 1)
    assert get_pageblock_migratetype(zone, reserved) == MIGRATE_HIGHATOMIC
    zone.scalar[MIN_FREE_KBYTES] = 0
    setup_per_zone_wmarks(zone)
    while alloc_pages(zone, GFP_KERNEL, 0) != -1:
        pass
    assert nr_free_pages(zone) == 1024, "the watermark counts the pages of the reserve that are in use, too"
    pages = [alloc_pages(zone, GFP_NOWAIT, 0) for _ in range(3)]
    assert [get_pageblock_migratetype(zone, page) for page in pages] == [0, 0, MIGRATE_HIGHATOMIC]
    assert alloc_pages(zone, GFP_KERNEL, 0) == -1


@pytest.mark.parametrize("mmu", [0, 1])
def test_a_request_without_watermarks_gets_the_reserve_where_there_is_no_mmu(mmu):
    """ALLOC_OOM and ALLOC_NO_WATERMARKS are one bit there."""
    zone = fresh_zone(4096, (), mobility_off=False, mmu=mmu)
    zone.scalar[MIN_FREE_KBYTES] = 4096 * 8
    setup_per_zone_wmarks(zone)
    alloc_pages(zone, GFP_ATOMIC, 1)
    zone.scalar[SLOWPATH] = SLOWPATH_NO_WATERMARKS
    pages = 1
    while alloc_pages(zone, GFP_KERNEL, 0) != -1:
        pages += 1
    assert nr_free_pages(zone) == (1022 if mmu else 0)


@pytest.mark.parametrize("max_order", [4, 7, 11, 14, MAX_ORDER_LIMIT])
def test_the_largest_order_is_to_be_had_and_none_above_it(max_order):
    zone = fresh_zone(2**max_order, (), max_order=max_order)
    assert alloc_pages(zone, GFP_KERNEL, max_order) == -1
    assert [alloc_pages(zone, GFP_KERNEL, max_order - 1) for _ in range(3)] == [0, 2 ** (max_order - 1), -1]
    free_pages(zone, 2 ** (max_order - 1), max_order - 1)
    check_zone(zone)
    assert largest_free_order(zone) == max_order - 1


@pytest.mark.parametrize("max_order", [4, 7, 11, 14, MAX_ORDER_LIMIT])
def test_grouping_by_mobility_needs_four_pageblocks_of_the_largest_order(max_order):
    pageblock = 2 ** (max_order - 1)
    for pages, off in ((4 * pageblock + 15, 1), (4 * pageblock + 16, 0)):
        zone = empty_zone(pages, max_order=max_order, memmap_pages=16)
        build_all_zonelists(zone)
        assert zone.scalar[PAGE_GROUP_BY_MOBILITY_DISABLED] == off


@pytest.mark.parametrize("page_size", [1024, 4096, 65536])
def test_watermarks_count_pages_of_the_machine(page_size):
    """int_sqrt(kbytes * 16) kbytes of 32 MB less a little, as pages; a step is at least a thousandth of all pages."""
    zone = fresh_zone((32 << 20) // page_size, (), page_size=page_size)
    calculate_min_free_kbytes(zone)
    setup_per_zone_wmarks(zone)
    assert zone.scalar[MIN_FREE_KBYTES] == 724
    minimum = 724 * 1024 // page_size
    step = max(minimum // 4, (32 << 20) // page_size // 1000)
    assert zone.scalar[WMARK_MIN : WMARK_MIN + 3].tolist() == [minimum, minimum + step, minimum + 2 * step]


@pytest.mark.parametrize("kbytes", [0, 128, 8000])
def test_min_free_kbytes_set_by_hand_is_not_computed(kbytes):
    zone = fresh_zone(min_free_kbytes=kbytes)
    calculate_min_free_kbytes(zone)
    setup_per_zone_wmarks(zone)
    assert zone.scalar[MIN_FREE_KBYTES] == kbytes
    assert zone.scalar[WMARK_MIN] == kbytes // 8


@pytest.mark.parametrize("max_order", [4, 7, 11, 14])
def test_a_movable_request_takes_a_whole_pageblock_from_half_its_order_on(max_order):
    """All is unmovable; two free blocks of one pageblock. Both become movable, or only the one that is split."""
    half = (max_order - 1) // 2
    for order, both in ((half - 1, False), (half, True)):
        zone = fresh_zone(6 << (max_order - 1), (), mobility_off=False, max_order=max_order)
        blocks = []
        while (page := alloc_pages(zone, GFP_KERNEL, order)) != -1:
            blocks.append(page)
        for page in sorted(blocks)[:3:2]:
            free_pages(zone, page, order)
        assert alloc_pages(zone, GFP_KERNEL | GFP_MOVABLE, 0) != -1
        movable = sum(len(kinds[1]) << each for each, kinds in enumerate(free_lists(zone)))
        assert movable == (1 + both) * 2**order - 1


def test_a_bare_machine_has_the_pageblocks_of_its_largest_order():
    assert bare_machine(4096, max_order=7).pageblock_order == 6


def test_reset_and_copy_leave_no_trace_of_what_was_before():
    used, other = fresh_zone(), fresh_zone()
    for i in range(300):
        page = alloc_pages(used, GFP_KERNEL | GFP_MOVABLE, i % 4)
        folio_add_lru(used, page, i % 4)
    copy_zone(other, used)
    check_zone(other)
    assert everything(other) == everything(used)
    assert alloc_pages(other, GFP_KERNEL, 5) == alloc_pages(used, GFP_KERNEL, 5)
    reset_zone(used, 0, 4096)
    assert everything(used) == everything(empty_zone(4096))


def test_one_zone_serves_smaller_ram_sizes():
    kept = np.array([[0, 505]], np.int64)
    big, small = empty_zone(8192, reserved=kept), empty_zone(3000, reserved=kept)
    reset_zone(big, 0, 3000)
    for zone in (big, small):
        memblock_free_all(zone)
        check_zone(zone)
    assert free_lists(big) == free_lists(small)


def test_check_zone_sees_a_page_on_two_lists():
    zone = fresh_zone()
    head = len(zone.order) + 10 * MIGRATE_TYPES
    zone.next[head], zone.prev[head] = zone.next[head + 1], zone.prev[head + 1]
    with pytest.raises(AssertionError):
        check_zone(zone)


@pytest.mark.parametrize("span", [(0, 0), (5, 5), (1024, 4096), (-1, 10)])
def test_an_impossible_zone_is_refused(span):
    with pytest.raises(ValueError):
        make_zone(*span, machine(), policy())


def test_pcp_lists_have_no_size_without_an_mmu_and_the_low_mark_with_one():
    for mmu, high in ((0, 0), (1, 103)):
        zone = fresh_zone(reserved=((0, 605),), mmu=mmu)
        zone_set_pageset_high_and_batch(zone)
        calculate_min_free_kbytes(zone)
        setup_per_zone_wmarks(zone)
        pages = [alloc_pages(zone, GFP_KERNEL, 0) for _ in range(50)]
        before = nr_free_pages(zone)
        for page in pages:
            free_pages(zone, page, 0)
        assert nr_free_pages(zone) - before == (0 if high else 50)
        assert NR_PCP_LISTS == 12
