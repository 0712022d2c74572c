"""Boards: what they keep of their RAM, which sizes they can have, and that the shipped one is as it was measured."""

import csv

import numpy as np
import pytest
from conftest import DATA

from mcsim.errors import UserError
from mcsim.kernels.boot.boot import build_zone
from mcsim.kernels.linux.page_alloc import (
    MANAGED_PAGES,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    MIN_FREE_KBYTES,
    PAGE_GROUP_BY_MOBILITY_DISABLED,
    WMARK_MIN,
    Zone,
    calculate_min_free_kbytes,
    free_area,
    list_entries,
    nr_free_pages,
    setup_per_zone_wmarks,
)
from mcsim.kernels.probe.invariants import check_zone
from mcsim.model.board import Board
from mcsim.simulator.machine import machine_of
from tests.machines import BOARD, machine, policy

INITIAL_STATE = DATA / "initial_state.csv"


def booted_zone(ram_mb: int) -> Zone:
    return build_zone(machine(ram_mb), policy())


def all_ram_mb() -> range:
    return range(BOARD.ram.smallest >> 20, (BOARD.ram.largest >> 20) + 1)


def measured_blocks() -> dict[int, dict[int, list[int]]]:
    """RAM in MB -> order -> first pages, in the order of the list."""
    blocks: dict[int, dict[int, list[int]]] = {}
    with INITIAL_STATE.open() as file:
        for row in csv.DictReader(file):
            order, first = int(row["order"]), int(row["first_page_rel"])
            blocks.setdefault(int(row["ram_mb"]), {}).setdefault(order, []).append(first)
    return blocks


# -- the shipped one -----------------------------------------------------------------------------------------------


def test_the_rule_gives_the_measured_blocks_at_every_measured_size() -> None:
    measured = measured_blocks()
    assert sorted(measured) == [size >> 20 for size in BOARD.ram.measured]
    for ram_mb, blocks in measured.items():
        zone = booted_zone(ram_mb)
        check_zone(zone)
        got = {
            order: pages
            for order in range(zone.machine.max_order)
            if (pages := list_entries(zone, free_area(zone, order, MIGRATE_MOVABLE)))
        }
        assert got == blocks, ram_mb
        assert nr_free_pages(zone) == sum(len(pages) << order for order, pages in blocks.items())
        others = [kind for kind in range(MIGRATE_TYPES) if kind != MIGRATE_MOVABLE]
        assert not any(list_entries(zone, free_area(zone, order, kind)) for order in range(11) for kind in others)


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
def test_managed_pages_and_watermarks_are_those_of_real_boots(
    ram_mb: int, managed: int, kbytes: int, marks: list[int]
) -> None:
    zone = booted_zone(ram_mb)
    calculate_min_free_kbytes(zone)
    setup_per_zone_wmarks(zone)
    assert zone.scalar[MANAGED_PAGES] == managed
    assert zone.scalar[MIN_FREE_KBYTES] == kbytes
    assert zone.scalar[WMARK_MIN : WMARK_MIN + 3].tolist() == marks


def test_mobility_grouping_begins_at_33_mb() -> None:
    off = [ram for ram in all_ram_mb() if booted_zone(ram).scalar[PAGE_GROUP_BY_MOBILITY_DISABLED]]
    assert off == list(range(17, 33))


def test_every_valid_size_gives_ascending_ranges_inside_ram() -> None:
    for ram_mb in all_ram_mb():
        ranges = machine(ram_mb).reserved
        ends = ranges.sum(axis=1)
        assert (ranges[1:, 0] > ends[:-1]).all()
        assert ends[-1] == ram_mb * 128
        check_zone(booted_zone(ram_mb))


@pytest.mark.parametrize("ram_mb", [0, 16, 129, 4096])
def test_a_size_that_the_rule_does_not_cover_is_refused(ram_mb: int) -> None:
    with pytest.raises(UserError, match="out of range") as caught:
        machine(ram_mb)
    assert "17M to 128M" in str(caught.value.valid)


def test_a_size_between_the_steps_is_refused() -> None:
    with pytest.raises(UserError, match="is not a whole number of MB"):
        machine_of(BOARD, (32 << 20) + BOARD.machine.page_size)


# -- any other -----------------------------------------------------------------------------------------------------


def other(**memblock: object) -> Board:
    """The shipped board with another `[memblock]`."""
    values = BOARD.model_dump()
    return Board.model_validate({**values, "memblock": memblock, "initmem": None})


def ranges_of(board: Board, ram_mb: int = 32) -> list[tuple[int, int]]:
    return list(board.reserved(ram_mb << 20))


def test_each_request_takes_the_highest_pages_that_fit() -> None:
    plan = {"name": "plan", "pages": 2}
    requests = [{"pages": 10}, plan, {"pages": 4}, {"give_back": "plan"}, {"pages": 3}, {"pages": 1}, {"pages": 1}]
    # 4096 pages: 10 at the top, 2 below, 4 below; 3 do not fit into the gap of 2, which two single pages then fill.
    assert ranges_of(other(image_pages=100, requests=requests)) == [(0, 100), (4077, 19)]
    assert ranges_of(other(image_pages=100, requests=requests[:5])) == [(0, 100), (4077, 7), (4086, 10)]


def test_a_hash_table_is_a_power_of_two_of_buckets_and_at_least_a_page() -> None:
    def pages(scale: int, bucket: int) -> int:
        board = other(image_pages=100, requests=[{"hash_scale": scale, "bucket_bytes": bucket}])
        return ranges_of(board)[-1][1]

    assert pages(13, 4) == 2, "4,096 buckets for 32 MB"
    assert pages(13, 8) == 4
    assert pages(20, 4) == 1, "32 buckets are 128 bytes"


def test_ranges_can_be_said_for_each_size_of_ram() -> None:
    kept = [{"ram": "32M", "ranges": [[0, 7], [9, 1]]}, {"ram": "48M", "ranges": []}]
    board = other(reserved=kept)
    assert board.all_ram() == (32 << 20, 48 << 20)
    assert machine_of(board, 32 << 20).reserved.tolist() == [[0, 7], [9, 1]]
    zone = build_zone(machine_of(board, 48 << 20), policy())
    assert zone.scalar[MANAGED_PAGES] == nr_free_pages(zone) == 48 * 128
    with pytest.raises(UserError, match="out of range"):
        machine_of(board, 40 << 20)


def test_facts_of_a_board_reach_its_machine() -> None:
    found = machine(64)
    assert (found.page_shift, found.page_size, found.ram_pages, found.memmap_pages) == (13, 8192, 8192, 32)
    assert (found.timer_ns, found.tick_counts, found.tick_us) == (768, 13021, 10_000)
    assert found.object_sizes.tolist() == [256, 68, 44]
    assert found.object_sizes.dtype == found.reserved.dtype == np.int64
