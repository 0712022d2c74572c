"""Whole boots: the same alone or among others, every page accounted for, and failures told as they happened."""

import functools

import numpy as np
import pytest
from conftest import RECORDINGS
from joblib import Parallel, delayed

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.batch import (
    OUTCOME,
    PID_KERNEL,
    WrongProgramError,
    draw_recordings,
    run_boots,
    write_outcome,
)
from mcsim.kernels.boot.boot import (
    FAILED_OTHER_PAGE,
    FREED_EARLY,
    RESULT_POSITION,
    TASK_SLAB_PAGES,
    TASK_STRUCT_ROOM,
    make_boot,
    place_boot,
)
from mcsim.kernels.boot.sched import STREAM_LENGTH, STREAM_RCU_QS, STREAM_TASK_FREE, Timing, make_sched, run_boot
from mcsim.kernels.jit.rng import FACTOR_BITS
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.linux.maple_tree import NODE_SHORTAGE
from mcsim.kernels.linux.nommu import FAILED_MAPPING, REGION_TOP, VMA_NEXT, VMA_REGION, VMA_START
from mcsim.kernels.linux.page_alloc import MANAGED_PAGES, largest_free_order, nr_free_pages
from mcsim.kernels.linux.slub import PAGES, ROW_FAILURES
from mcsim.kernels.probe.invariants import check_nommu, check_slub, check_zone
from mcsim.simulator.simulator import lognormal_factors
from mcsim.workload.extract import extract
from mcsim.workload.program import mix
from mcsim.workload.recording import read_recording
from tests.kernel_boots import outcomes_of
from tests.machines import BOARD, machine, policy
from tests.plain_kernels import plain_kernels
from tests.test_sched import login, make_program, page

plain = plain_kernels("boot.batch", "boot.boot", "boot.sched", "linux.maple_tree")

NAMES = ("N_V0_64MB_j0_a", "C_M3_64MB_j2_c")
NOISY = Timing(lognormal_factors(0.2), lognormal_factors(0.4), 0)
SEED = 20220601
NS_PER_COUNT = machine().timer_ns
HEAD = ("maple-naive", "prealloc-early")
TAIL = ("tail-free", "mail-both")


@functools.cache
def recorded():
    return mix([extract(read_recording(RECORDINGS / f"{name}.npz", BOARD)) for name in NAMES])


def boots(first=0, count=20, ram=32, variant="maple-naive", seed=SEED, program=None, timing=NOISY, **changes):
    program = program or recorded()
    return outcomes_of(program, policy(variant), timing, ram_mb=ram, seed=seed, first=first, count=count, **changes)


class Bench:
    """One boot after the other, with a look at the machine in between."""

    def __init__(self, ram=32, variant="maple-naive", program=None, **changes):
        self.program = program or recorded()
        board = machine(ram, **changes)
        self.sched = make_sched(self.program, board)
        self.boot = make_boot(self.program, board, policy(variant))

    def run(self, number):
        outcomes = np.zeros(1, OUTCOME)
        run_boots(self.program, NOISY, self.sched, self.boot, SEED, number, outcomes)
        return outcomes[0]

    def run_plainly(self, number):
        """The whole order of requests first, then the whole of memory from memblock's hand-over on."""
        outcomes = np.zeros(1, OUTCOME)
        draw_recordings(self.program, self.sched, SEED, number, outcomes)
        recording, phase = (int(outcomes[0][name]) for name in ("recording", "pre_init"))
        assert run_boot(self.program, NOISY, self.sched, SEED, number, recording)
        booted = place_boot(self.boot, self.program, self.sched, recording, phase)
        write_outcome(self.program, self.sched, self.boot, number, recording, not booted, outcomes[0])
        return outcomes[0]

    def stream(self):
        length = self.sched.clock[STREAM_LENGTH]
        return self.sched.stream[:length].copy(), self.sched.stream_time[:length].copy()


# -- what a boot depends on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ram", [32, 35])
def test_a_boot_is_the_same_alone_in_a_batch_and_in_two_halves(ram):
    whole = boots(0, 40, ram)
    assert whole["boot"].tolist() == list(range(40))
    assert np.array_equal(np.concatenate([boots(0, 17, ram), boots(17, 23, ram)]), whole)
    for number in (0, 16, 39):
        assert boots(number, 1, ram)[0] == whole[number]


def test_boots_far_along_are_the_same_too():
    far = 2**40
    assert np.array_equal(boots(far, 4)[2:], boots(far + 2, 2))
    assert boots(far, 1)["time_us"] != boots(far % 2**32, 1)["time_us"]


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_change_nothing(workers):
    parts = Parallel(n_jobs=workers, backend="threading")(delayed(boots)(first, 10) for first in range(0, 60, 10))
    assert np.array_equal(np.concatenate(parts), boots(0, 60))


def test_compiled_boots_equal_plain_ones():
    modules = plain.batch, plain.boot, plain.sched
    arguments = recorded(), policy("mail-both"), NOISY
    expected = outcomes_of(*arguments, ram_mb=32, seed=SEED, first=1, count=3, modules=modules)
    assert np.array_equal(boots(1, 3, variant="mail-both"), expected)


def test_the_seed_and_the_number_change_the_boot():
    assert len(set(boots(0, 30)["time_us"].tolist())) > 25
    assert (boots(0, 10)["time_us"] != boots(0, 10, seed=SEED + 1)["time_us"]).any()
    whole = boots(0, 60)
    assert set(whole["recording"].tolist()) == set(whole["pre_init"].tolist()) == {0, 1}


def test_the_factor_of_a_boot_is_told_and_stretches_its_time():
    gap = 3000
    program = mix([make_program([*login(gap)])])
    table = np.linspace(1 << FACTOR_BITS, 3 << FACTOR_BITS, 4096).astype(np.int32)
    timing = Timing(np.full(4096, 1 << FACTOR_BITS, np.int32), table, 0)
    outcomes = boots(0, 40, 64, program=program, timing=timing)
    assert len(set(outcomes["boot_factor"].tolist())) > 35
    assert np.isin(outcomes["boot_factor"], table).all()
    counts = outcomes["time_us"] * 1000 / NS_PER_COUNT
    assert counts == pytest.approx(gap * (outcomes["boot_factor"] / (1 << FACTOR_BITS)), abs=2.5)


def test_the_time_of_a_boot_of_hours_has_room():
    ticks = 1_000_000
    [outcome] = boots(0, 1, 64, program=mix([make_program([(flat.OP_SLEEP, 0, 0, ticks), *login()])]))
    assert 0.99 < outcome["time_us"] / (ticks * 10_000) < 1.01


@pytest.mark.parametrize("variants", [HEAD, TAIL])
@pytest.mark.parametrize("ram", [31, 32])
def test_here_only_the_tail_policy_decides_whether_a_boot_fails(variants, ram):
    one, other = (boots(0, 100, ram, variant) for variant in variants)
    for field in ("boot", "recording", "pre_init", "failed", "failure_class", "order", "process", "time_us"):
        assert np.array_equal(one[field], other[field])


def test_the_tail_policy_matters():
    head, tail = (boots(0, 200, 32, variant)["failed"].mean() for variant in ("maple-naive", "tail-free"))
    assert head > tail + 0.1


def test_the_order_of_requests_depends_neither_on_the_ram_nor_on_the_variant():
    benches = [Bench(32, "maple-naive"), Bench(64, "maple-naive"), Bench(32, "linux-6.1.y")]
    for number in range(5):
        streams = []
        for bench in benches:
            bench.run(number)
            streams.append(bench.stream())
        # A boot that fails asks for nothing more.
        shortest = min(len(what) for what, _ in streams)
        for what, when in streams:
            assert np.array_equal(what[:shortest], streams[0][0][:shortest])
            assert np.array_equal(when[:shortest], streams[0][1][:shortest])


@pytest.mark.parametrize("ram", [31, 32, 64])
@pytest.mark.parametrize("variant", ["maple-naive", "linux-6.1.y"])
def test_short_cuts_leave_outcomes_and_memory_as_they_are(ram, variant):
    """Shared pre-init phases, requests put in order a stretch at a time, boots in another order: bit by bit."""
    whole = boots(0, 30, ram, variant)
    quick, plain = Bench(ram, variant), Bench(ram, variant)
    for number in range(30):
        outcome = plain.run_plainly(number)
        assert outcome == quick.run(number) == whole[number]
        one, other = quick.boot.memory, plain.boot.memory
        for arrays in zip((*one.zone[:8], *one.maple), (*other.zone[:8], *other.maple), strict=True):
            assert np.array_equal(*arrays)
        assert np.array_equal(one.slub.scalar, other.slub.scalar)
        assert np.array_equal(one.slub.slab, other.slub.slab)
        what, when = quick.stream()
        assert np.array_equal(what, plain.stream()[0][: len(what)])
        assert np.array_equal(when, plain.stream()[1][: len(when)])


# -- the machine after a boot ----------------------------------------------------------------------------------


def pages_in_use(bench, phase):
    """By the user phase's blocks, mappings and object caches, and by what the pre-init phase has kept."""
    boot, program = bench.boot, bench.program
    nommu = boot.memory.nommu
    blocks = boot.handle[boot.handle[:, 0] >= 0]
    used = int((1 << blocks[:, 1]).sum())
    for vma in nommu.mm[:, 0].tolist():
        while vma >= 0:
            top = nommu.region[nommu.vma[vma, VMA_REGION], REGION_TOP]
            used += int(top - nommu.vma[vma, VMA_START]) // 8192
            vma = int(nommu.vma[vma, VMA_NEXT])
    used += int(boot.memory.slub.scalar[:, PAGES].sum() + boot.tasks[TASK_SLAB_PAGES])
    first, end, _ = program.pre_init_range[phase].tolist()
    orders = {}
    for kind, a, b, c in program.pre_init[first:end].tolist():
        if kind == flat.PRE_PAGE_ALLOC:
            orders[a] = b
            used += 1 << b
        elif kind == flat.PRE_PAGE_FREE:
            used -= 1 << orders[a]
        elif kind == flat.PRE_PAGE_FREE_PART:
            used -= c
    return used


@pytest.mark.parametrize("variant", ["pre-maple", "maple-naive", "mail-both", "linux-6.1.y", "linux-6.6"])
@pytest.mark.parametrize("ram", [32, 64])
def test_every_page_is_free_or_in_use_after_a_boot(variant, ram):
    bench = Bench(ram, variant)
    booted = 0
    for number in range(12):
        outcome = bench.run(number)
        zone = bench.boot.memory.zone
        check_zone(zone)
        check_slub(bench.boot.memory.slub)
        check_nommu(bench.boot.memory)
        free = nr_free_pages(zone)
        assert outcome["free_pages"] == free
        assert outcome["largest_free_order"] == largest_free_order(zone)
        if not outcome["failed"]:
            booted += 1
            assert free + pages_in_use(bench, outcome["pre_init"]) == zone.scalar[MANAGED_PAGES]
    assert booted > 0


@pytest.mark.parametrize("variant", ["maple-naive", "linux-6.1.y"])
def test_nothing_runs_out_of_rows_and_no_block_is_freed_before_it_is_taken(variant):
    bench = Bench(64, variant)
    for number in range(200):
        assert not bench.run(number)["failed"]
        assert not (bench.boot.handle[:, 0] == FREED_EARLY).any()
        assert not bench.boot.memory.slub.scalar[:, ROW_FAILURES].any()
        assert bench.boot.memory.maple.scalar[NODE_SHORTAGE] == 0
        # With more slabs than that the kernel would give empty ones back.
        assert (bench.boot.tasks[TASK_STRUCT_ROOM:] <= np.array([8, 12, 13]) * 5).all()


# -- tasks -----------------------------------------------------------------------------------------------------

FORKS = 120
GFP_STACK = 0x400DC0


def nursery(alive=0, stack_order=0, **changes):
    """A program of nothing but forks, after a pre-init phase that leaves so many tasks, and its plain machine."""
    forks = [(flat.OP_COPY_PROCESS, 0, 0, n, stack_order, GFP_STACK) for n in range(FORKS)]
    program = make_program([*forks, *login()])
    program.pre_init = np.array([(flat.PRE_TASKS, alive, 0, 0)], np.int32)
    arrays = mix([program])
    boot = plain.boot.make_boot(arrays, machine(32, thread_size_order=stack_order, **changes), policy("maple-naive"))
    plain.boot.reset_boot(boot)
    assert plain.boot.run_pre_init(boot, arrays, 0)
    return arrays, boot


def pages_taken(boot, handle):
    zone, slabs = boot.memory.zone, int(boot.tasks[TASK_SLAB_PAGES])
    before = nr_free_pages(zone)
    assert plain.boot.copy_process(boot, handle, GFP_STACK)
    assert boot.handle[handle, 0] >= 0
    assert boot.handle[handle, 1] == zone.machine.thread_size_order
    taken = before - nr_free_pages(zone)
    assert boot.tasks[TASK_SLAB_PAGES] - slabs == taken - (1 << zone.machine.thread_size_order)
    return taken


def place(arrays, boot, stream):
    """Place these rows of a stream, whatever the scheduler would make of the program."""
    sched = make_sched(arrays, boot.memory.zone.machine)
    sched.stream[: len(stream)] = stream
    sched.clock[STREAM_LENGTH] = len(stream)
    return plain.boot.place_boot(boot, arrays, sched, 0, 0)


@pytest.mark.parametrize("alive", [0, 1, 15, 16, 24, 26])
def test_a_fork_takes_a_slab_of_each_cache_exactly_when_all_its_objects_are_in_use(alive):
    _, boot = nursery(alive)
    for n in range(FORKS):
        used = alive + n
        assert pages_taken(boot, n) == 1 + (used % 8 == 0) + 2 * (used % 12 == 0) + (used % 13 == 0)
    check_zone(boot.memory.zone)


@pytest.mark.parametrize("alive", [0, 10])
def test_kernel_stacks_and_task_slabs_of_other_sizes_take_their_pages(alive):
    """Stacks of two pages; slabs of 4, 1 and 2 pages for 21, 5 and 9 tasks."""
    slabs = {"task_structs": 21, "task_struct_order": 2, "sighands": 5, "sighand_order": 0}
    _, boot = nursery(alive, stack_order=1, **slabs, signals=9, signal_order=1)
    for n in range(FORKS):
        used = alive + n
        assert pages_taken(boot, n) == 2 + 4 * (used % 21 == 0) + (used % 5 == 0) + 2 * (used % 9 == 0)
    check_zone(boot.memory.zone)


def test_a_freed_task_makes_room_for_one_more():
    arrays, boot = nursery(7)
    free = []
    # The first fork uses up the room for 8 tasks: the second takes a task_struct's page, unless a task was freed.
    for stream in ([0, 1], [0, STREAM_TASK_FREE, 1], [0, STREAM_TASK_FREE, 1, 2]):
        assert place(arrays, boot, stream)
        free.append(nr_free_pages(boot.memory.zone))
    assert np.diff(free).tolist() == [1, -2]
    assert boot.tasks.tolist() == [9, 1, 16, 12, 13]


def test_the_tasks_of_a_boot_are_not_those_of_the_boot_before():
    arrays, boot = nursery(3)
    for _ in range(2):
        assert place(arrays, boot, list(range(20)))
        assert boot.tasks.tolist() == [23, 5, 24, 24, 26]


class Pages:
    """Stands between a plain machine and its pages: notes requests (order, gfp), refuses those with some numbers."""

    def __init__(self, monkeypatch, refused=()):
        self.requests, self.refused, self.alloc_pages = [], refused, plain.boot.alloc_pages
        monkeypatch.setattr(plain.boot, "alloc_pages", self.request)

    def request(self, zone, gfp, order):
        self.requests.append((order, gfp))
        return -1 if len(self.requests) - 1 in self.refused else self.alloc_pages(zone, gfp, order)


def test_a_fork_asks_for_task_struct_stack_signal_handlers_and_signals_in_this_order(monkeypatch):
    arrays, boot = nursery()
    pages = Pages(monkeypatch)
    assert place(arrays, boot, [0])
    assert pages.requests == [(0, GFP_KERNEL), (0, GFP_STACK), (1, GFP_KERNEL), (0, GFP_KERNEL)]


def test_without_two_pages_in_a_row_the_slab_of_signal_handlers_is_one_page(monkeypatch):
    arrays, boot = nursery()
    pages = Pages(monkeypatch, refused=[2])
    assert place(arrays, boot, list(range(7)))
    assert pages.requests[2:4] == [(1, GFP_KERNEL), (0, GFP_KERNEL)]
    assert boot.tasks.tolist() == [
        7,
        5,
        8,
        6 + 12,
        13,
    ]  # six in the single page, so that the seventh fork needs another


@pytest.mark.parametrize("refused", [{0, 1}, {1}, {2, 3}, {3, 4}], ids=["task", "stack", "handlers", "signals"])
def test_a_fork_that_gets_no_page_fails_the_boot_as_another_page(refused, monkeypatch):
    arrays, boot = nursery()
    Pages(monkeypatch, refused)
    assert not place(arrays, boot, [STREAM_RCU_QS, 0, 1])
    assert boot.result.tolist() == [FAILED_OTHER_PAGE, 0, 1, flat.RIGHT, -1]


def test_forks_fill_a_machine_until_one_of_them_fails():
    _, boot = nursery()
    left = 80  # of the pages the pre-init phase takes all others
    taken = nr_free_pages(boot.memory.zone) - left
    program = make_program([(flat.OP_COPY_PROCESS, 0, 1000, n, 0, GFP_STACK) for n in range(FORKS)] + login())
    pages = [(flat.PRE_PAGE_ALLOC, n, 0, GFP_KERNEL) for n in range(taken)]
    program.pre_init = np.array([*pages, (flat.PRE_TASKS, 0, 0, 0)], np.int32)
    program.pre_init_handles = taken
    [outcome] = boots(0, 1, program=mix([program]))
    assert (outcome["failed"], outcome["failure_class"], outcome["order"]) == (1, FAILED_OTHER_PAGE, 0)
    assert (outcome["process"], outcome["free_pages"], outcome["largest_free_order"]) == (1, 0, -1)


# -- failures --------------------------------------------------------------------------------------------------


def test_a_boot_fails_at_its_first_failing_request_and_says_where():
    bench = Bench(32, "maple-naive")
    program = bench.program
    failures = 0
    for number in range(40):
        outcome = bench.run(number)
        stream, times = bench.stream()
        if not outcome["failed"]:
            assert (outcome["failure_class"], outcome["order"], outcome["process"]) == (0, -1, -1)
            assert program.op[stream[-1], flat.KIND] == flat.OP_LOGIN
            assert outcome["time_us"] == int(times[-1]) * NS_PER_COUNT // 1000
            continue
        failures += 1
        position = int(bench.boot.result[RESULT_POSITION])
        row = int(stream[position])
        first, end = program.recording[outcome["recording"], [flat.RECORDING_LANE, flat.RECORDING_LANE_END]]
        [lane] = [
            lane for lane in program.lane[first:end].tolist() if lane[flat.LANE_FIRST] <= row < lane[flat.LANE_END]
        ]
        assert outcome["process"] == lane[flat.LANE_PID] > 0
        assert program.op[row, flat.KIND] == flat.OP_EXEC
        assert outcome["failure_class"] == FAILED_MAPPING
        assert outcome["order"] == 7 > outcome["largest_free_order"]
        assert outcome["free_pages"] > 128
        assert outcome["time_us"] == int(times[position]) * NS_PER_COUNT // 1000
    assert failures > 10


def test_a_page_that_the_workload_asks_for_itself_can_fail_too():
    greedy = [(flat.OP_PAGE_ALLOC, 0, 1000, 100 + n, 10, 0) for n in range(8)]
    program = mix([make_program([page(50), *greedy, *login()])])
    [outcome] = boots(3, 1, program=program)
    assert outcome["failed"] == 1
    assert outcome["failure_class"] == FAILED_OTHER_PAGE
    assert outcome["order"] == 10
    assert outcome["process"] == 1
    assert outcome["time_us"] > 0


def test_a_machine_that_is_too_small_fails_before_any_process():
    program = make_program([page(1), *login()])
    program.pre_init = np.array([(flat.PRE_PAGE_ALLOC, n, 10, 0) for n in range(3)], np.int32)
    program.pre_init_handles = 3
    [small] = boots(0, 1, ram=24, program=mix([program]))
    assert (small["failed"], small["failure_class"], small["order"]) == (1, FAILED_OTHER_PAGE, 10)
    assert (small["process"], small["time_us"]) == (PID_KERNEL, 0)
    [large] = boots(0, 1, ram=64, program=mix([program]))
    assert not large["failed"]
    assert small["boot_factor"] == large["boot_factor"] > 0  # drawn before any page is taken


@pytest.mark.parametrize("ram", [0, 7, 1000])
def test_a_ram_size_whose_initial_state_is_not_known_is_refused(ram):
    with pytest.raises(UserError, match="out of range"):
        boots(0, 1, ram=ram)


def test_a_program_that_waits_for_ever_is_refused():
    program = mix([make_program([(flat.OP_WAIT, 0, 0, 1, 1), *login()])])
    with pytest.raises(WrongProgramError) as caught:
        boots(5, 2, program=program)
    assert (caught.value.boot, caught.value.why, caught.value.row) == (5, flat.STUCK, -1)
