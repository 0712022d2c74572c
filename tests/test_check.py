"""Checked boots: each broken invariant is found, none is broken in any variant, and outcomes stay the same."""

import copy
import functools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import InvariantViolatedError, UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.batch import BOOTED, OUTCOME, draw_recordings
from mcsim.kernels.boot.boot import RESULT_CLASS, TASKS_ALIVE, make_boot
from mcsim.kernels.boot.sched import make_sched
from mcsim.kernels.linux import maple_tree as maple_code
from mcsim.kernels.linux import nommu as nommu_code
from mcsim.kernels.linux import page_alloc
from mcsim.kernels.linux import slub as slub_code
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.probe import invariants
from mcsim.model.experiment import load, select
from mcsim.model.release import shipped_variants
from mcsim.run import check as check_code
from mcsim.run.progress import Silent
from mcsim.simulator import simulator
from mcsim.store.shard import Shard
from mcsim.workload.program import mix
from tests.machines import machine, policy
from tests.plain_kernels import plain_kernels
from tests.test_boot import NOISY, SEED, recorded
from tests.test_sched import login, make_program, page

PAGE = 8192
LEAF = maple_code.MAPLE_LEAF_64


def checked_boot(code, program, variant, ram=32, number=0):
    """One boot by the kernels of `code`: BOOTED (also if it fails) or VIOLATED, its memory, and the check."""
    board = machine(ram)
    boot = code.boot.make_boot(program, board, policy(variant))
    check = code.invariants.make_boot_check(boot)
    sched, outcomes = make_sched(program, board), np.zeros(1, OUTCOME)
    draw_recordings(program, sched, SEED, number, outcomes)
    single = code.invariants.one_request_a_phase(program)
    parts = (sched, boot, check, SEED, number, np.zeros(1, np.int64), outcomes)
    return code.invariants.check_boots(program, single, NOISY, *parts), boot, check


# -- each invariant, broken on purpose -------------------------------------------------------------------------


def mapper():
    """A process with many mappings, whose tree has two levels, and a second one that shares its text and a file."""
    maps = [(flat.OP_MMAP, 0, 10, 0, PAGE * (1 + n % 3), n) for n in range(40)]
    unmaps = [(flat.OP_MUNMAP, flat.CALL_RCU, 10, n, 0, 1 + n % 3) for n in range(0, 40, 8)]
    shares = [(flat.OP_MMAP_FILE, 1 << flat.MMAP_FILE_SHIFT, 10, mm, 3 * PAGE, -1) for mm in (0, 1)]
    images = [(flat.OP_EXEC, 0, 10, mm, 0) for mm in (0, 1)]
    blocks = [(flat.OP_PAGE_ALLOC, 0, 10, n, n % 4, GFP_KERNEL) for n in range(12)]
    gone = [(flat.OP_PAGE_FREE, 0, 10, n) for n in (1, 5, 7)]
    forks = [(flat.OP_COPY_PROCESS, 0, 10, 100 + n, 0, GFP_KERNEL) for n in range(9)]
    program = make_program([*images, *maps, *blocks, *shares, *unmaps, *gone, *forks, *login()])
    program.image[0, [flat.IMAGE_TEXT, flat.IMAGE_DATA, flat.IMAGE_STACK]] = 40_000, 9_000, 4_096
    program.image[0, flat.IMAGE_FILE] = 7
    program.mms, program.mappings = 2, 40
    program.pre_init = np.array(
        [
            (flat.PRE_PAGE_ALLOC, 0, 3, GFP_KERNEL),
            (flat.PRE_PAGE_FREE_PART, 0, 5, 2),
            (flat.PRE_KMEM_CACHE_ALLOC, slub_code.MAPLE_NODE, 2, 0),
            (flat.PRE_FREE_INITMEM, 0, 417, 79),
            (flat.PRE_WATERMARKS, 0, 0, 0),
            (flat.PRE_TASKS, 5, 0, 0),
        ],
        np.int32,
    )
    program.pre_init_handles = 1
    return mix([program])


@functools.cache
def sound():
    """A boot in which everything holds, at its prompt."""
    code = SimpleNamespace(boot=SimpleNamespace(make_boot=make_boot), invariants=invariants)
    ended, boot, check = checked_boot(code, mapper(), "linux-6.1.y")
    assert ended == BOOTED, invariants.words_of(check)
    return boot, check


def found_in(boot, check):
    """The number of the invariant that does not hold, 0 if all do."""
    return int(invariants.boot_violation(boot, check, 1))


def free_block(zone, order):
    """A free block that is not alone on its list."""
    heads = [page_alloc.free_area(zone, order, kind) for kind in range(page_alloc.MIGRATE_TYPES)]
    return next(int(zone.next[head]) for head in heads if zone.next[head] != head)


def some_block(zone):
    """A free block of an order from 1 to 9."""
    return next((block, order) for order in range(1, 10) if zone.nr_free[order] for block in [free_block(zone, order)])


def leaf(boot):
    """A leaf of the tree of mm 0, not the last one, and its root."""
    root = int(boot.memory.maple.tree[0, maple_code.ROOT])
    return int(boot.memory.maple.node[root, maple_code.SLOT, 0]), root


def break_alignment(boot, check):
    zone = boot.memory.zone
    block, order = some_block(zone)
    before, after = int(zone.prev[block]), int(zone.next[block])
    zone.order[block], zone.order[block + 1] = -1, order
    zone.next[before] = zone.prev[after] = block + 1
    zone.prev[block + 1], zone.next[block + 1] = before, after


def leave_buddies_apart(boot, check):
    zone = boot.memory.zone
    block, order = some_block(zone)
    page_alloc.del_page_from_free_list(zone, block, order)
    for half in (block, block + (1 << order - 1)):
        zone.order[half] = order - 1
        page_alloc.list_add(zone, half, page_alloc.free_area(zone, order - 1, 1))


def unlink_a_vma(boot, check):
    nommu_code.unlink_vma(boot.memory.nommu, 0, int(boot.memory.nommu.mm[0, nommu_code.MM_MMAP]))


def overlap_vmas(boot, check):
    nommu = boot.memory.nommu
    first = int(nommu.mm[0, nommu_code.MM_MMAP])
    second = int(nommu.vma[first, nommu_code.VMA_NEXT])
    nommu.vma[second, nommu_code.VMA_START] = nommu.vma[first, nommu_code.VMA_START]
    nommu.vma[second, nommu_code.VMA_FLAGS] = 0


def exchange_entries(boot, check):
    node, _ = leaf(boot)
    slots = boot.memory.maple.node[node, maple_code.SLOT]
    one, other = np.flatnonzero(slots[: boot.memory.maple.node[node, maple_code.HEAD, maple_code.END] + 1])[:2]
    slots[[one, other]] = slots[[other, one]]


def set_value(*path):
    """Set an element of the boot's arrays: part, array, index ..., then the change."""
    *where, change = path

    def corrupt(boot, check):
        array = boot.memory if hasattr(boot.memory, where[0]) else boot
        for name in (each for each in where if isinstance(each, str)):
            array = getattr(array, name)
        index = tuple(each(boot) if callable(each) else each for each in where if not isinstance(each, str))
        array[index] = change(int(array[index]))

    return corrupt


def more(value):
    return value + 1


def to(value):
    return lambda _: value


def free_page(boot):
    return some_block(boot.memory.zone)[0]


def first_vma(boot):
    return int(boot.memory.nommu.mm[0, nommu_code.MM_MMAP])


def its_region(boot):
    return int(boot.memory.nommu.vma[first_vma(boot), nommu_code.VMA_REGION])


def private_region(boot):
    nommu = boot.memory.nommu
    rows = (int(nommu.mm[0, nommu_code.MM_MMAP]),)
    while nommu.vma[rows[-1], nommu_code.VMA_NEXT] >= 0:
        rows = (*rows, int(nommu.vma[rows[-1], nommu_code.VMA_NEXT]))
    return next(int(nommu.vma[row, nommu_code.VMA_REGION]) for row in rows if not nommu.vma[row, nommu_code.VMA_FLAGS])


def a_leaf(boot):
    return leaf(boot)[0]


def its_root(boot):
    return leaf(boot)[1]


def end_of_leaf(boot):
    return int(boot.memory.maple.node[leaf(boot)[0], maple_code.HEAD, maple_code.END])


def cpu_slab(boot):
    return int(boot.memory.slub.scalar[0, slub_code.CPU_SLAB])


def head_of_freelist(boot):
    return int(boot.memory.slub.slab[0, cpu_slab(boot), slub_code.FREELIST])


def entry_of_leaf(boot):
    """A slot with an entry beside a NULL."""
    slots = boot.memory.maple.node[leaf(boot)[0], maple_code.SLOT]
    return next(n for n in range(1, end_of_leaf(boot)) if slots[n] and not (slots[n - 1] and slots[n + 1]))


NODES, VMAS, REGIONS = 0, 1, 2
I = invariants  # noqa: E741 - a table of its names follows
BROKEN = {
    I.LIST_OF_PAGES: set_value("zone", "next", free_page, to(5000)),
    I.LIST_LINKS: set_value("zone", "prev", free_page, more),
    I.BLOCK_ORDER: set_value("zone", "order", free_page, more),
    I.BLOCK_ALIGNED: break_alignment,
    I.BUDDIES_MERGED: leave_buddies_apart,
    I.PAGE_OWNER: lambda boot, check: boot.handle.__setitem__((0, 0), free_page(boot)),
    I.NR_FREE_IS_SUM: set_value("zone", "nr_free", 2, more),
    I.FREE_PAGES_IS_SUM: set_value("zone", "scalar", page_alloc.NR_FREE_PAGES, more),
    I.ORDER_ON_LIST: set_value("zone", "order", 1, to(0)),
    I.PCP_COUNT_IS_SUM: set_value("zone", "scalar", page_alloc.PCP_COUNT, more),
    I.FREE_OFF_LRU: set_value("zone", "lru", free_page, to(1)),
    I.PAGEBLOCK_TYPES: set_value("zone", "pageblock", 1, to(4)),
    I.HIGHATOMIC_COUNT: set_value("zone", "pageblock", 1, to(page_alloc.MIGRATE_HIGHATOMIC)),
    I.MARKS_ASCEND: set_value("zone", "scalar", page_alloc.WMARK_LOW, to(0)),
    I.PARTIAL_LINKS: set_value("slub", "scalar", NODES, slub_code.PARTIAL_TAIL, more),
    I.PARTIAL_LENGTH: set_value("slub", "scalar", NODES, slub_code.NR_PARTIAL, more),
    I.CPU_SLAB_APART: set_value("slub", "scalar", NODES, slub_code.CPU_SLAB, to(63)),
    I.FREELIST_IN_SLAB: lambda boot, check: boot.memory.slub.next_object.__setitem__(
        (NODES, head_of_freelist(boot)), head_of_freelist(boot)
    ),
    I.INUSE_IS_SUM: set_value("slub", "slab", NODES, cpu_slab, slub_code.INUSE, more),
    I.PARTIAL_HAS_FREE: set_value("slub", "scalar", NODES, slub_code.CPU_SLAB, to(-1)),
    I.OBJECTS_IS_SUM: set_value("slub", "scalar", VMAS, slub_code.OBJECTS, more),
    I.SLAB_PAGES_IS_SUM: set_value("slub", "scalar", VMAS, slub_code.PAGES, more),
    I.SLAB_ROWS: set_value("slub", "slab", REGIONS, 0, slub_code.UNUSED, to(62)),
    I.OBJECT_USE: set_value("nommu", "mm", 1, nommu_code.MM_MMAP, to(60)),
    I.OBJECTS_ALL_USED: lambda boot, check: slub_code.kmem_cache_alloc(
        boot.memory.slub, boot.memory.zone, NODES, GFP_KERNEL
    ),
    I.VMA_LINKS: set_value("nommu", "vma", first_vma, nommu_code.VMA_PREV, more),
    I.VMA_RANGE: set_value("nommu", "vma", first_vma, nommu_code.VMA_END, to(0)),
    I.VMAS_APART: overlap_vmas,
    I.VMA_IN_REGION: set_value("nommu", "vma", first_vma, nommu_code.VMA_START, lambda start: start - PAGE),
    I.REGION_PAGES: set_value("nommu", "region", its_region, nommu_code.REGION_END, more),
    I.REGION_USERS: set_value("nommu", "region", its_region, nommu_code.REGION_USAGE, more),
    I.MAP_COUNT: set_value("nommu", "mm", 0, nommu_code.MM_MAP_COUNT, more),
    I.REGION_LINKS: set_value("nommu", "scalar", nommu_code.REGION_LIST, lambda region: 90),
    I.REGION_LISTED: set_value("nommu", "region", private_region, nommu_code.REGION_FLAGS, to(nommu_code.VM_MAYSHARE)),
    I.TREE_ROOT: set_value("maple", "tree", 0, maple_code.ROOT_ENTRY, to(5)),
    I.NODE_TYPE: set_value("maple", "node", its_root, maple_code.HEAD, maple_code.TYPE, to(LEAF)),
    I.NODE_MARK: set_value("maple", "node", a_leaf, maple_code.HEAD, maple_code.MARKED, to(1)),
    I.NODE_SLOTS: set_value("maple", "node", a_leaf, maple_code.HEAD, maple_code.END, to(32)),
    I.NODE_END: set_value("maple", "node", a_leaf, maple_code.PIVOT, end_of_leaf, more),
    I.PIVOTS_ASCEND: set_value("maple", "node", a_leaf, maple_code.PIVOT, 1, to(0)),
    I.NULLS_JOINED: set_value("maple", "node", a_leaf, maple_code.SLOT, entry_of_leaf, to(0)),
    I.NULL_LAST: set_value("maple", "node", a_leaf, maple_code.SLOT, end_of_leaf, to(0)),
    I.GAP_IS_LARGEST: set_value("maple", "node", its_root, maple_code.GAP, 0, more),
    I.TREE_HAS_VMA: exchange_entries,
    I.TREE_ENTRIES: unlink_a_vma,
    I.NODES_GIVEN_BACK: set_value("maple", "state", 0, maple_code.ALLOCATED, to(1)),
    I.CALLBACKS: set_value("maple", "scalar", maple_code.RCU_DONE, to(1000)),
    I.BLOCK_ORDERS: set_value("handle", 0, 1, to(11)),
    I.TASKS_HAVE_ROOM: set_value("tasks", TASKS_ALIVE, to(1000)),
    I.MANAGED_IS_SUM: set_value("zone", "scalar", page_alloc.MANAGED_PAGES, more),
    I.EVERY_PAGE_ACCOUNTED: set_value("handle", 0, 0, to(-1)),
    I.ROWS_SUFFICE: set_value("slub", "scalar", REGIONS, slub_code.ROW_FAILURES, to(1)),
}


def test_every_invariant_is_broken_below():
    assert set(BROKEN) == set(invariants.INVARIANTS) == set(range(1, len(BROKEN) + 1))


def test_the_boot_that_they_are_broken_in_has_what_they_are_about():
    boot, check = sound()
    assert found_in(*copy.deepcopy((boot, check))) == 0
    assert boot.memory.maple.tree[:, maple_code.HEIGHT].tolist() == [2, 1]
    assert boot.memory.maple.scalar[maple_code.RCU_PENDING] > 0
    assert boot.memory.nommu.region[:, nommu_code.REGION_USAGE].max() == 2
    assert check.at[invariants.CHECKS] == 1 + 6 + 1 + (check.at[invariants.POSITION] + 1)


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_invariant_is_found_and_told(code):
    boot, check = copy.deepcopy(sound())
    BROKEN[code](boot, check)
    assert found_in(boot, check) == code, invariants.words_of(check)
    words = invariants.words_of(check)
    assert words.partition(" (expected ")[0] == invariants.INVARIANTS[code].format(place=int(check.found[1]))


def test_a_page_of_two_is_told_by_the_names_of_both():
    boot, check = copy.deepcopy(sound())
    BROKEN[invariants.PAGE_OWNER](boot, check)
    found_in(boot, check)
    page = free_page(boot)
    assert invariants.words_of(check) == (
        f"page {page} belongs to one only (expected a block of a process, got a free list)"
    )


@pytest.mark.parametrize("what", ["row of a tree lost", "callback lost", "callback twice"])
def test_nodes_that_the_callbacks_of_rcu_lose_are_found(what):
    boot, check = copy.deepcopy(sound())
    maple = boot.memory.maple
    expected = invariants.OBJECTS_ALL_USED
    if what == "row of a tree lost":
        maple.tree[1, [maple_code.ROOT, maple_code.HEIGHT]] = -1, 0
        expected = invariants.TREE_ENTRIES
    elif what == "callback lost":
        maple.scalar[maple_code.RCU_PENDING] -= 1
    else:
        head = maple.scalar[maple_code.RCU_HEAD]
        maple.callback[(head + 1) % len(maple.callback)] = maple.callback[head]
        maple.scalar[maple_code.RCU_PENDING] = 2
        expected = invariants.OBJECT_USE
    assert found_in(boot, check) == expected


# -- allocators with a mistake ---------------------------------------------------------------------------------


def small():
    taken = [page(n, 10) for n in range(4)]
    given = [(flat.OP_PAGE_FREE, 0, 10, 100 + n) for n in range(4)]
    return mix([make_program([*taken, *given, *login()])])


def spoil(code, monkeypatch, name):
    """One mistake in the plain kernels of `code`; what it breaks, and after which request."""
    if name == "freed pages are not counted":
        monkeypatch.setattr(code.boot, "free_pages", lambda zone, pfn, order: None)
        return invariants.EVERY_PAGE_ACCOUNTED, 4
    if name == "buddies are not merged":
        done = code.page_alloc.done_merging

        def free_one_page(zone, pfn, order, migratetype, flags):
            zone.scalar[page_alloc.NR_FREE_PAGES] += 1 << order
            done(zone, pfn, pfn, order, migratetype, flags)

        monkeypatch.setattr(code.page_alloc, "__free_one_page", free_one_page)
        return invariants.BUDDIES_MERGED, None
    taken = code.boot.alloc_pages
    monkeypatch.setattr(code.boot, "alloc_pages", lambda zone, gfp, order: taken(zone, gfp, order) & ~1)
    return invariants.PAGE_OWNER, None


@pytest.mark.parametrize("name", ["freed pages are not counted", "buddies are not merged", "a page is given twice"])
def test_a_mistake_in_an_allocator_is_found_at_the_request_that_shows_it(name, monkeypatch):
    code = plain_kernels("probe.invariants", "boot.boot", "linux.page_alloc")
    assert checked_boot(code, small(), "maple-naive", 17)[0] == BOOTED
    expected, position = spoil(code, monkeypatch, name)
    ended, _, check = checked_boot(code, small(), "maple-naive", 17)
    assert ended == invariants.VIOLATED
    assert check.found[invariants.CODE] == expected, invariants.words_of(check)
    assert position in (None, check.at[invariants.POSITION])


# -- boots of all variants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", shipped_variants())
def test_recorded_boots_are_sound_whether_they_fail_or_not(variant):
    code = SimpleNamespace(boot=SimpleNamespace(make_boot=make_boot), invariants=invariants)
    failed = []
    for ram in (28, 34, 64):
        for number in range(2):
            ended, boot, check = checked_boot(code, recorded(), variant, ram, number)
            assert ended == BOOTED, invariants.words_of(check)
            failed.append(bool(boot.result[RESULT_CLASS]))
    assert any(failed) and not all(failed)


def test_checked_boots_of_all_variants_have_the_outcomes_of_the_others(tmp_path: Path) -> None:
    result = mcsim.run("mail-2022", boots=2, check=True, ram=["31M", "34M"], out=tmp_path / "r")
    found = result.checked
    assert found is not None
    assert (found.boots, found.cells, found.equal) == (28, 14, 28)
    assert found.checks > 28 * 1000
    assert str(found).startswith("checked: 28 boots in 14 cells; 52 invariants after every request, ")
    assert str(found).endswith("; 28 stored outcomes are the same")


def test_what_was_checked_is_the_last_line_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "mail-2022", "--boots", "1", "--variant", "linux-6.6", "--ram", "32M", "--check"]
    assert run_cli([*words, "--out", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("checked: 1 boots in 1 cells; ")


# -- what happens when something is wrong ----------------------------------------------------------------------


def tasks_of(*variants, ram=("32M",)):
    experiment = load("mail-2022")
    return select(experiment.tasks("0" * 64), list(variants), list(ram))


def fake(task, source, first, count):
    outcomes = np.zeros(count, OUTCOME)
    outcomes["boot"] = np.arange(first, first + count)
    return outcomes, 10 * count


def test_a_violation_ends_the_run_with_exit_code_70_and_stores_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*_: object) -> None:
        raise InvariantViolatedError("boot 3 of a cell: something")

    monkeypatch.setattr(check_code, "simulate", wrong)
    with pytest.raises(InvariantViolatedError, match="boot 3"):
        mcsim.run("mail-2022", boots=2, check=True, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where the traceback goes
    assert run_cli(["run", "mail-2022", "--boots", "2", "--check", "--out", str(tmp_path / "r")]) == 70
    assert "boot 3 of a cell: something" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_the_message_says_cell_boot_request_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(program, single, timing, sched, boot, check, *_):
        sched.stream[12] = int(np.flatnonzero(program.op[:, flat.KIND] == flat.OP_EXIT_MMAP)[0])
        check.at[:] = 7, 12, -1, 100
        return invariants.violated(check, invariants.NR_FREE_IS_SUM, 3, 5, 4) and invariants.VIOLATED

    monkeypatch.setattr(invariants, "check_boots", wrong)
    [task] = tasks_of("mail-both")
    with pytest.raises(InvariantViolatedError) as error:
        check_code.simulate(task, load("mail-2022").workload, 0, 8)
    assert str(error.value) == (
        "boot 7 of mail-both at 32M, after request 12 (OP_EXIT_MMAP): "
        "zone: nr_free of order 3 is the number of blocks on its lists (expected 5, got 4)"
    )


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ((4, -1, -1), "boot 4 of mail-both at 32M, before its first request"),
        ((4, -1, 0), "boot 4 of mail-both at 32M, after row 0 of the pre-init phases (PRE_"),
        ((4, 0, -1), "boot 4 of mail-both at 32M, after request 0 (STREAM_RCU_RUN)"),
        ((4, 1, -1), "boot 4 of mail-both at 32M, after request 1 (STREAM_STACK_FREE)"),
    ],
)
def test_an_index_that_leaves_its_array_is_told_with_its_place(at, words, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(program, single, timing, sched, boot, check, *_):
        sched.stream[:2] = -2, -20
        check.at[:3] = at
        raise IndexError("index 9 is out of bounds")

    monkeypatch.setattr(invariants, "check_boots", wrong)
    with pytest.raises(InvariantViolatedError) as error:
        check_code.simulate(tasks_of("mail-both")[0], load("mail-2022").workload, 0, 1)
    assert str(error.value).startswith(words)
    assert str(error.value).endswith("): index 9 is out of bounds") or at[1] < 0


def test_a_stored_outcome_that_differs_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def other(task, source, first, count):
        outcomes = simulator.simulate(task, source, first, count)
        outcomes["time_us"] += outcomes["boot"] == 1
        return outcomes, count

    monkeypatch.setattr(check_code, "simulate", other)
    with pytest.raises(InvariantViolatedError, match=r"boot 1 of linux-6\.6 at 32M: time_us is \d+ as stored and"):
        mcsim.run("mail-2022", boots=2, check=True, variants=["linux-6.6"], ram=["32M"], out=tmp_path / "r")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_part_of_a_run_checks_its_part(workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_code, "simulate", fake)
    tasks = tasks_of("tail-free", "linux-6.6")
    parts = [check_code.check_boots(tasks, "C", 2100, Shard(n, 2), workers, Silent()) for n in (1, 2)]
    assert sum(part.boots for part in parts) == 2 * 2100
    for task in tasks:
        boots = np.concatenate([part.outcomes[task.id]["boot"] for part in parts])
        assert sorted(boots.tolist()) == list(range(2100))
    assert parts[0].checks == 10 * parts[0].boots


def test_one_boot_alone_is_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "mail-2022", "--variant", "linux-6.6", "--ram", "32M", "--boot", "1", "--check"]) == 2
    assert "--check" in capsys.readouterr().err


def test_indices_are_checked_from_the_command_line() -> None:
    code = (
        "from mcsim.cli import run_cli; code = run_cli(['run', 'nowhere.toml', '--check']);"
        "from mcsim.kernels.jit.compile import config; print(code, config.BOUNDSCHECK)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "1"]


def test_a_missing_experiment_is_an_error_of_the_user_with_check_too(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        mcsim.run(tmp_path / "nowhere.toml", check=True)
