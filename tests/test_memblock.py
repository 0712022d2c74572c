"""The hand-over of memory to the buddy allocator: what is kept, what is given back later, runs of any length."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcsim.kernels.boot.boot import build_zone
from mcsim.kernels.linux.memblock import free_initmem, memblock_free_all
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    MIGRATE_TYPES,
    free_area,
    free_one_page_run,
    list_entries,
    make_zone,
    nr_free_pages,
)
from mcsim.kernels.probe.invariants import check_zone
from tests.machines import BOARD, machine, policy


def lists(zone):
    return {
        (order, kind): list_entries(zone, free_area(zone, order, kind))
        for order in range(zone.machine.max_order)
        for kind in range(MIGRATE_TYPES)
    }


def test_freed_init_memory_counts_as_managed_and_free():
    zone = build_zone(machine(32), policy())
    managed, free = int(zone.scalar[MANAGED_PAGES]), nr_free_pages(zone)
    free_initmem(zone, BOARD.initmem.first_page, BOARD.initmem.pages)
    check_zone(zone)
    assert int(zone.scalar[MANAGED_PAGES]) - managed == nr_free_pages(zone) - free == 79


def test_without_reserved_ranges_the_whole_zone_is_handed_over():
    zone = make_zone(0, 2500, machine(reserved=np.zeros((0, 2), np.int64)), policy())
    memblock_free_all(zone)
    assert zone.scalar[MANAGED_PAGES] == nr_free_pages(zone) == 2500


@settings(max_examples=60, deadline=None)
@given(
    holes=st.lists(st.integers(0, 2047), max_size=30, unique=True),
    first=st.integers(0, 2000),
    pages=st.integers(1, 300),
    to_tail=st.booleans(),
)
def test_a_run_freed_at_once_leaves_what_single_frees_leave(holes, first, pages, to_tail):
    """Some pages are free already, then [first, first + pages) is freed, ascending, where it was not."""
    end = min(first + pages, 2048)
    results = []
    for at_once in (True, False):
        zone = make_zone(0, 2048, machine(), policy())
        for page in holes:
            if not first <= page < end:
                free_one_page_run(zone, page, 1, 0)
        step = end - first if at_once else 1
        for page in range(first, end, step):
            free_one_page_run(zone, page, step, 2 * to_tail)
        check_zone(zone)
        results.append(lists(zone))
    assert results[0] == results[1]
