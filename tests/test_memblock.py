"""The hand-over at boot against blocks and watermarks that were read out of a real kernel."""

import csv

import numpy as np
import pytest
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from mcsim.kernels.linux.memblock import (
    INITMEM_PAGES,
    INITMEM_START,
    RAM_MB_MEASURED,
    RAM_MB_VALID,
    free_initmem,
    m68k_reserved,
    memblock_free_all,
    memmap_pages,
)
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    MAX_ORDER,
    MIGRATE_TYPES,
    MIN_FREE_KBYTES,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    WMARK_MIN,
    build_all_zonelists,
    calculate_min_free_kbytes,
    free_area,
    free_one_page_run,
    list_entries,
    make_zone,
    nr_free_pages,
    setup_per_zone_wmarks,
)
from mcsim.kernels.probe.invariants import check_zone

INITIAL_STATE = DATA / "initial_state.csv"


def booted_zone(ram_mb):
    zone = make_zone(0, ram_mb * 128)
    build_all_zonelists(zone, memmap_pages(ram_mb))
    memblock_free_all(zone, m68k_reserved(ram_mb))
    return zone


def lists(zone):
    return {
        (order, kind): list_entries(zone, free_area(zone, order, kind))
        for order in range(MAX_ORDER)
        for kind in range(MIGRATE_TYPES)
    }


def measured_blocks():
    blocks = {}
    with INITIAL_STATE.open() as file:
        for row in csv.DictReader(file):
            order, first = int(row["order"]), int(row["first_page_rel"])
            blocks.setdefault(int(row["ram_mb"]), {}).setdefault(order, []).append(first)
    return blocks


def test_the_rule_gives_the_measured_blocks_at_every_measured_size():
    measured = measured_blocks()
    assert tuple(sorted(measured)) == RAM_MB_MEASURED
    for ram_mb, blocks in measured.items():
        zone = booted_zone(ram_mb)
        check_zone(zone)
        got = {order: pages for (order, kind), pages in lists(zone).items() if pages and kind == 1}
        assert got == blocks, ram_mb
        assert nr_free_pages(zone) == sum(len(pages) << order for order, pages in blocks.items())


@pytest.mark.parametrize(
    ("ram_mb", "managed", "kbytes", "marks"),
    [
        (31, 3438, 663, [82, 102, 122]),
        (32, 3566, 675, [84, 105, 126]),
        (33, 3687, 686, [85, 106, 127]),
        (34, 3815, 698, [87, 108, 129]),
        (64, 7643, 989, [123, 153, 183]),
    ],
)
def test_managed_pages_and_watermarks_are_those_of_real_boots(ram_mb, managed, kbytes, marks):
    zone = booted_zone(ram_mb)
    calculate_min_free_kbytes(zone)
    setup_per_zone_wmarks(zone)
    assert zone.scalar[MANAGED_PAGES] == managed
    assert zone.scalar[MIN_FREE_KBYTES] == kbytes
    assert zone.scalar[WMARK_MIN : WMARK_MIN + 3].tolist() == marks


def test_mobility_grouping_begins_at_33_mb():
    first, last = RAM_MB_VALID
    off = [ram for ram in range(first, last + 1) if booted_zone(ram).scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]]
    assert off == list(range(first, 33))


def test_every_valid_size_gives_ascending_ranges_inside_ram():
    for ram_mb in range(RAM_MB_VALID[0], RAM_MB_VALID[1] + 1):
        ranges = m68k_reserved(ram_mb)
        ends = ranges.sum(axis=1)
        assert (ranges[1:, 0] > ends[:-1]).all()
        assert ends[-1] == ram_mb * 128
        check_zone(booted_zone(ram_mb))


@pytest.mark.parametrize("ram_mb", [0, 16, 129, 4096])
def test_a_size_that_the_rule_does_not_cover_is_refused(ram_mb):
    with pytest.raises(ValueError, match="17 to 128 MB"):
        m68k_reserved(ram_mb)


def test_freed_init_memory_counts_as_managed_and_free():
    zone = booted_zone(32)
    managed, free = int(zone.scalar[MANAGED_PAGES]), nr_free_pages(zone)
    free_initmem(zone, INITMEM_START, INITMEM_PAGES)
    check_zone(zone)
    assert int(zone.scalar[MANAGED_PAGES]) - managed == nr_free_pages(zone) - free == 79


def test_without_reserved_ranges_the_whole_zone_is_handed_over():
    zone = make_zone(0, 2500)
    memblock_free_all(zone, np.zeros((0, 2), np.int64))
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
        zone = make_zone(0, 2048)
        for page in holes:
            if not first <= page < end:
                free_one_page_run(zone, page, 1, 0)
        step = end - first if at_once else 1
        for page in range(first, end, step):
            free_one_page_run(zone, page, step, 2 * to_tail)
        check_zone(zone)
        results.append(lists(zone))
    assert results[0] == results[1]
