"""The order of a boot's requests: equal to the plain model's, and what it must be on this machine."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import RECORDINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.sched import (
    EXEC_DELAY_DRAWN,
    EXEC_DELAY_RECORDED,
    JIFFIES,
    STREAM_LENGTH,
    STREAM_RCU_QS,
    STREAM_RCU_RUN,
    STREAM_STACK_FREE,
    STREAM_TASK_FREE,
    Timing,
    make_sched,
    run_boot,
)
from mcsim.kernels.jit.rng import FACTOR_BITS
from mcsim.simulator.simulator import lognormal_factors
from mcsim.workload.extract import extract
from mcsim.workload.program import RecordedProgram, mix, read_gaps
from mcsim.workload.recording import read_recording
from tests.machines import BOARD, machine
from tests.twin_sched import Machine

NAMES = ("N_V0_64MB_j0_a", "C_M3_64MB_j2_c")
SEED = np.uint64(20220601)
MACHINE = machine(64)
COUNTS_PER_TICK, TICK_RUNTIME = MACHINE.tick_counts, MACHINE.tick_us
ONE = np.full(4096, 1 << FACTOR_BITS, np.int32)
EXACT = Timing(ONE, ONE, 0)
NOISY = Timing(lognormal_factors(0.2), lognormal_factors(0.4), 0)
DELAYED = NOISY._replace(exec_delay=EXEC_DELAY_DRAWN)
AS_RECORDED = NOISY._replace(exec_delay=EXEC_DELAY_RECORDED, first_tick=4321)

USER, AFTER, RCU = flat.GAP_USER, flat.RESCHED_AFTER, flat.CALL_RCU
NEVER = 0


@pytest.fixture(scope="module")
def recorded():
    return [extract(read_recording(RECORDINGS / f"{name}.npz", BOARD)) for name in NAMES]


def stream_of(sched):
    """The stream in the twin's words."""
    length = int(sched.clock[STREAM_LENGTH])
    assert length <= len(sched.stream)
    words = {STREAM_RCU_QS: ("qs",), STREAM_RCU_RUN: ("run",), STREAM_TASK_FREE: ("task",)}
    named = []
    for what, when in zip(sched.stream[:length].tolist(), sched.stream_time[:length].tolist(), strict=True):
        other = words.get(what, ("stack", STREAM_STACK_FREE - what))
        named.append((("op", what) if what >= 0 else other, when))
    return named


def run(program, timing=EXACT, boot=0, recording=0, sched=None):
    """The stream of a boot; None if every lane waits."""
    sched = sched or make_sched(program, MACHINE)
    if not run_boot(program, timing, sched, SEED, np.uint64(boot), recording):
        return None
    return stream_of(sched)


def run_twin(program, timing=EXACT, boot=0, recording=0, facts=MACHINE):
    twin = Machine(program, facts, timing, int(SEED), boot, recording)
    return twin.stream if twin.run() else None


def first_tick(program, boot):
    return Machine(program, MACHINE, EXACT, int(SEED), boot, 0).next_tick


def make_program(*lanes, events=8):
    """A program of lanes [(kind, flags, gap, a, b, c), ...]; the stack of lane n is block n."""
    rows = [(*row, *[0] * (6 - len(row))) for lane in lanes for row in lane]
    ends = np.cumsum([len(lane) for lane in lanes]).tolist()
    return RecordedProgram(
        name="test",
        environment="T",
        variant="V0",
        ram_mb=64,
        jitter=0,
        sha256="",
        pre_init=np.zeros((0, flat.PRE_COLUMNS), np.int32),
        pre_init_handles=0,
        op=np.array(rows, np.int32),
        record=np.arange(len(rows), dtype=np.int32),
        lane=np.array(
            [(end - len(lane), end, n, n + 1) for n, (lane, end) in enumerate(zip(lanes, ends, strict=True))],
            np.int32,
        ),
        image=np.zeros((1, flat.IMAGE_COLUMNS), np.int32),
        handles=200,
        events=events,
        mms=len(lanes),
    )


def page(handle, gap=0, flags=0):
    return (flat.OP_PAGE_ALLOC, flags, gap, 100 + handle, 0, 0)


def login(gap=0):
    return [(flat.OP_LOGIN, 0, gap), (flat.OP_WAIT, 0, 0, NEVER, 1)]


def fork(child, gap=0):
    return (flat.OP_FORK, 0, gap, child)


def ending(event, between=0):
    """exit_notify() and the last switch."""
    return [(flat.OP_EXIT_NOTIFY, 0, 0, event), (flat.OP_DEAD, 0, between)]


def pages_in(program, stream):
    """[(block, time)] of the stream's page requests, blocks as given to page()."""
    rows = program.op[[what[1] for what, _ in stream if what[0] == "op"]]
    times = [when for what, when in stream if what[0] == "op"]
    return [
        (int(row[flat.A]) - 100, when)
        for row, when in zip(rows, times, strict=True)
        if row[flat.KIND] == flat.OP_PAGE_ALLOC
    ]


# -- against the plain model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "timing", [EXACT, NOISY, DELAYED, AS_RECORDED], ids=["exact", "noisy", "delayed", "as recorded"]
)
def test_recorded_boots_run_as_in_the_twin(recorded, timing):
    program = mix(recorded)
    sched = make_sched(program, MACHINE)
    for boot in (*range(8), 2**32 + 3):
        for recording in range(len(recorded)):
            got = run(program, timing, boot, recording, sched)
            assert got == run_twin(program, timing, boot, recording)
            assert got[-1][0] == ("op", program_login(program, recording))


@pytest.mark.parametrize("timing", [NOISY, DELAYED], ids=["noisy", "delayed"])
def test_boots_run_as_in_the_twin_on_another_clock(recorded, timing):
    """4 ms a tick of 1 us counts, dear callbacks, long noise."""
    facts = machine(64, timer_ns=1000, tick_counts=4000, tick_us=4000, softirq_counts=300, softirq_counts_task=200)
    facts = facts._replace(noise_delay_counts=9000, noise_sleep_ticks=12)
    program = mix(recorded)
    sched = make_sched(program, facts)
    for boot in range(3):
        got = run(program, timing, boot, 1, sched)
        assert got == run_twin(program, timing, boot, 1, facts)
        assert [what for what, _ in got] != [what for what, _ in run(program, timing, boot, 1)]


def program_login(program, recording):
    first = program.lane[program.recording[recording, flat.RECORDING_LANE], flat.LANE_FIRST]
    end = program.lane[program.recording[recording, flat.RECORDING_LANE_END] - 1, flat.LANE_END]
    return first + int(np.flatnonzero(program.op[first:end, flat.KIND] == flat.OP_LOGIN)[0])


GAPS = st.one_of(st.integers(0, 400), st.integers(0, 3 * COUNTS_PER_TICK), st.sampled_from([0, COUNTS_PER_TICK]))
FLAGS = st.tuples(st.sampled_from([0, USER]), st.sampled_from([0, AFTER]), st.sampled_from([0, 0, RCU])).map(sum)
SHARED_EVENTS = 3  # events 1..3; then two events of each lane: released from vfork, zombie


@st.composite
def bodies(draw, mm):
    """Requests of a lane that concern nobody else, but for waiting on shared events."""
    kinds = st.sampled_from(
        [flat.OP_PAGE_ALLOC, flat.OP_EXEC, flat.OP_NOP, flat.OP_SLEEP, flat.OP_SIGNAL, flat.OP_WAIT, flat.OP_EXEC_DELAY]
    )
    rows = []
    for kind in draw(st.lists(kinds, max_size=8)):
        a, b = mm, 0
        if kind == flat.OP_PAGE_ALLOC:
            a = 100
        elif kind == flat.OP_SLEEP:
            a = draw(st.integers(1, 3))
        elif kind == flat.OP_EXEC_DELAY:
            a, b = draw(GAPS), draw(st.integers(0, 3))
        elif kind in (flat.OP_SIGNAL, flat.OP_WAIT):
            a, b = draw(st.integers(1, SHARED_EVENTS)), draw(st.integers(1, 2))
        rows.append((kind, draw(FLAGS), draw(GAPS), a, b))
    return rows


@st.composite
def programs(draw):
    """Well-formed programs: a tree of processes, forked with or without vfork, reaped or not."""
    count = draw(st.integers(1, 6))
    parents = [None, *(draw(st.integers(0, child - 1)) for child in range(1, count))]
    vforks = [draw(st.booleans()) for _ in range(count)]
    lanes = []
    for lane in range(count):
        rows = list(draw(bodies(lane)))
        if vforks[lane]:
            rows.append((flat.OP_SIGNAL, draw(FLAGS), draw(GAPS), released(lane), 1))
            rows += draw(bodies(lane))
        for child in [child for child in range(count) if parents[child] == lane]:
            rows.append((flat.OP_PAGE_ALLOC, draw(FLAGS), draw(GAPS), child, 0, 0))
            rows.append((flat.OP_FORK, draw(FLAGS), draw(GAPS), child))
            if vforks[child]:
                rows.append((flat.OP_WAIT, draw(FLAGS), draw(GAPS), released(child), 1))
            rows += draw(bodies(lane))
            if draw(st.booleans()):
                rows.append((flat.OP_WAIT, draw(FLAGS), draw(GAPS), zombie(child), 1))
                rows.append((flat.OP_RELEASE_TASK, draw(FLAGS), draw(GAPS), child))
                rows += draw(bodies(lane))
        if lane == 0:
            rows += [(flat.OP_LOGIN, 0, draw(GAPS)), (flat.OP_WAIT, 0, 0, NEVER, 1)]
        elif draw(st.integers(0, 3)):
            rows.append((flat.OP_EXIT_NOTIFY, draw(FLAGS), draw(GAPS), zombie(lane)))
            rows.append((flat.OP_DEAD, draw(FLAGS), draw(GAPS)))
        else:
            rows.append((flat.OP_WAIT, 0, 0, NEVER, 1))
        lanes.append(rows)
    return make_program(*lanes, events=1 + SHARED_EVENTS + 2 * count)


def released(lane):
    return 1 + SHARED_EVENTS + 2 * lane


def zombie(lane):
    return 2 + SHARED_EVENTS + 2 * lane


@settings(max_examples=400, deadline=None, derandomize=True)
@given(programs(), programs(), st.sampled_from([EXACT, NOISY, DELAYED, AS_RECORDED]), st.integers(0, 2**40))
def test_any_program_runs_as_in_the_twin(one, other, timing, boot):
    program = mix([one, other])
    for recording in range(2):
        assert run(program, timing, boot, recording) == run_twin(program, timing, boot, recording)


# -- what a boot depends on ------------------------------------------------------------------------------------


def test_a_boot_does_not_depend_on_the_boots_before_it(recorded):
    program = mix(recorded)
    used = make_sched(program, MACHINE)
    for boot, recording in ((5, 1), (0, 0), (7, 0), (5, 1), (2, 1)):
        assert run(program, NOISY, boot, recording, used) == run(program, NOISY, boot, recording)


def test_boots_differ(recorded):
    program = mix(recorded)
    assert len({tuple(run(program, NOISY, boot)) for boot in range(10)}) == 10
    orders = {tuple(what for what, _ in run(program, NOISY, boot)) for boot in range(10)}
    assert len(orders) == 10


@pytest.mark.parametrize("timing", [NOISY, DELAYED], ids=["noisy", "delayed"])
def test_a_boot_does_not_depend_on_the_other_recordings_of_the_mixture(recorded, timing):
    alone, mixed = mix(recorded[1:]), mix(recorded)
    shift = len(recorded[0].op)
    for boot in range(3):
        moved = [
            (("op", what[1] + shift) if what[0] == "op" else what, when) for what, when in run(alone, timing, boot)
        ]
        assert run(mixed, timing, boot, 1) == moved


def test_a_recorded_delay_is_what_it_was_whatever_the_noise():
    counts, long, ticks = 500, COUNTS_PER_TICK + 700, 2
    delays = [
        (flat.OP_EXEC_DELAY, 0, 0, counts, 0),
        page(1),
        (flat.OP_EXEC_DELAY, 0, 0, counts, ticks),
        page(2),
        (flat.OP_EXEC_DELAY, 0, 0, long, 0),
        page(3),
    ]
    program = mix([make_program([*delays, *login()])])
    woken = AS_RECORDED.first_tick + (ticks - 1) * COUNTS_PER_TICK
    for boot in range(5):
        assert pages_in(program, run(program, AS_RECORDED, boot)) == [(1, counts), (2, woken), (3, woken + long)]
        assert pages_in(program, run(program, NOISY, boot)) == [(1, 0), (2, 0), (3, 0)]


def test_the_first_tick_comes_when_it_is_said_to_come_or_anywhere_in_a_tick():
    spin = [page(1, 500, USER)] * 60
    program = mix([make_program([fork(1), *spin, *login()], [page(2, 0, USER), *ending(2)])])

    def turn(timing, boot):
        return dict(pages_in(program, run(program, timing, boot)))[2]

    for tick in (1, 4321, COUNTS_PER_TICK):
        assert {turn(EXACT._replace(first_tick=tick), boot) for boot in range(5)} == {tick}
    drawn = [turn(EXACT, boot) for boot in range(200)]
    assert 1 <= min(drawn) < COUNTS_PER_TICK // 20
    assert COUNTS_PER_TICK * 19 // 20 < max(drawn) <= COUNTS_PER_TICK


def test_no_stream_outgrows_its_room():
    """Nearly every request queues a callback, and every lane but the first dies."""
    lanes = 30
    children = [(flat.OP_NOP, AFTER | RCU, 0)] * 2
    first = [fork(child) for child in range(1, lanes)]
    first += [(flat.OP_SLEEP, RCU, 0, 1)] * lanes
    for child in range(1, lanes):
        first += [(flat.OP_WAIT, RCU, 0, child, 1), (flat.OP_RELEASE_TASK, RCU, 0, child)]
    first += [(flat.OP_SLEEP, RCU, 0, 1)] * lanes
    bodies_ = [[*children, *ending(child)] for child in range(1, lanes)]
    program = mix([make_program([*first, *login()], *bodies_, events=lanes)])
    stream = run(program)
    assert sum(what[0] == "stack" for what, _ in stream) == sum(what == ("task",) for what, _ in stream) == lanes - 1
    assert len(stream) <= len(make_sched(program, MACHINE).stream)


def test_the_artificial_delay_makes_boots_longer(recorded):
    program = mix(recorded)
    execs = int((recorded[0].op[:, flat.KIND] == flat.OP_EXEC_DELAY).sum())
    assert execs > 50
    for boot in range(4):
        longer = run(program, DELAYED, boot)[-1][1] - run(program, NOISY, boot)[-1][1]
        assert longer > 200 * execs


def test_a_program_whose_lanes_all_wait_is_noticed():
    assert run(mix([make_program([(flat.OP_WAIT, 0, 10, 1, 1), *login()])])) is None


# -- what the order must be ------------------------------------------------------------------------------------


def test_a_vfork_parent_waits_until_its_child_lets_it_go():
    parent = [fork(1), (flat.OP_WAIT, 0, 0, 1, 1), page(1), (flat.OP_WAIT, 0, 0, 2, 1), *login()]
    child = [page(2, 3 * COUNTS_PER_TICK, USER), (flat.OP_SIGNAL, 0, 0, 1, 1), page(3), *ending(2)]
    program = mix([make_program(parent, child)])
    for boot in range(50):
        # The child is not preempted in the kernel: it goes on although its parent is awake.
        assert [block for block, _ in pages_in(program, run(program, NOISY, boot))] == [2, 3, 1]


def test_a_child_is_reaped_only_when_it_is_a_zombie():
    parent = [fork(1), (flat.OP_WAIT, 0, 0, 2, 1), page(1), *login()]
    child = [page(2, 40_000, USER), *ending(2)]
    program = mix([make_program(parent, child)])
    for boot in range(50):
        assert [block for block, _ in pages_in(program, run(program, NOISY, boot))] == [2, 1]


def test_a_signal_that_comes_before_its_wait_is_kept():
    parent = [(flat.OP_SIGNAL, 0, 0, 1, 3), (flat.OP_WAIT, 0, 0, 1, 2), (flat.OP_WAIT, 0, 0, 1, 3), page(1), *login()]
    program = mix([make_program(parent)])
    assert pages_in(program, run(program)) == [(1, 0)]


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_a_sleep_ends_at_its_tick(ticks):
    program = mix([make_program([(flat.OP_SLEEP, 0, 0, ticks), page(1), *login()])])
    for boot in range(20):
        expected = first_tick(program, boot) + (ticks - 1) * COUNTS_PER_TICK
        assert pages_in(program, run(program, EXACT, boot)) == [(1, expected)]


def test_a_stack_comes_back_after_reaping_and_last_switch_and_two_callbacks():
    """Pages mark the moments: 1 right before the child is reaped, 2 right before its last switch."""
    busy = [(flat.OP_NOP, USER | AFTER, 3000)] * 200
    parent = [fork(1), (flat.OP_WAIT, 0, 0, 2, 1), page(1), (flat.OP_RELEASE_TASK, 0, 0, 1), *busy, *login()]
    for between in (0, 30_000):  # counts in user mode between exit_notify() and the last switch
        child = [
            (flat.OP_EXIT_NOTIFY, 0, 100, 2),
            page(2, between, USER if between else 0),
            (flat.OP_DEAD, 0, 0),
        ]
        program = mix([make_program(parent, child)])
        orders = set()
        for boot in range(30):
            stream = run(program, NOISY, boot)
            order = [block for block, _ in pages_in(program, stream)]
            orders.add(tuple(order))
            what = [each for each, _ in stream]
            assert what.count(("stack", 1)) == 1
            rows = [at for at, each in enumerate(what) if each[0] == "op" and each != what[-1]]
            later = what[max(rows) + 1 : what.index(("stack", 1))]
            assert later.count(("qs",)) == 2
            assert later.count(("run",)) == 2
        assert orders == ({(2, 1)} if between == 0 else {(1, 2)})


def test_a_stack_stays_while_its_child_is_not_reaped():
    busy = [(flat.OP_NOP, USER | AFTER | RCU, 3000)] * 50
    program = mix([make_program([fork(1), *busy, *login()], [*ending(2)])])
    for boot in range(10):
        what = [each for each, _ in run(program, NOISY, boot)]
        assert ("run",) in what
        assert ("stack", 1) not in what


def test_the_task_that_runs_at_the_tick_pays_all_of_it():
    """Two tasks that only compute take turns, a tick each; run time moves in whole ticks."""
    step = 1000
    spin = [page(1, step, USER)] * 120
    other = [page(2, step, USER)] * 200
    program = mix([make_program([fork(1), *spin, *login()], [*other, *ending(2)])])
    sched = make_sched(program, MACHINE)
    for boot in range(5):
        pages = pages_in(program, run(program, EXACT, boot, sched=sched))
        turns = [b[1] for a, b in pairwise(pages) if a[0] != b[0]]
        assert len(turns) > 10
        assert all(abs(b - a - COUNTS_PER_TICK) <= step for a, b in pairwise(turns))
        slice_of_new_task = 3000  # six milliseconds over two tasks
        paid = int(sched.vruntime[0] + sched.vruntime[1]) - slice_of_new_task
        assert paid == TICK_RUNTIME * int(sched.clock[JIFFIES])
        assert sched.vruntime[0] % TICK_RUNTIME == 0


def test_a_task_that_sleeps_over_every_tick_pays_nothing():
    """It is on the CPU for nearly all the time between ticks, unseen."""
    steps = [row for _ in range(30) for row in ((flat.OP_NOP, USER, 11_000), (flat.OP_SLEEP, 0, 0, 1))]
    program = mix([make_program([(flat.OP_SLEEP, 0, 0, 1), *steps, *login()])])
    sched = make_sched(program, MACHINE)
    assert run(program, EXACT, sched=sched) is not None
    assert sched.clock[JIFFIES] == 31
    assert sched.vruntime[0] == 0


@pytest.mark.parametrize("flags", [0, AFTER, USER])
def test_a_reschedule_is_honoured_in_user_mode_and_after_a_request_only(flags):
    """Lane 0 computes for twenty ticks. In kernel mode the other lane gets no turn before it is through."""
    spin = [page(1, 1000, flags)] * 260
    program = mix([make_program([fork(1), *spin, *login()], [page(2, 100, USER), *ending(2)])])
    for boot in range(5):
        stream = run(program, EXACT, boot)
        blocks = [block for block, _ in pages_in(program, stream)]
        assert (2 in blocks) == (flags != 0)
        if flags:
            # At the first tick, to the request where it is honoured after that.
            turn = dict(pages_in(program, stream))[2] - first_tick(program, boot)
            assert turn == 100 if flags == USER else 100 <= turn <= 100 + 1000


def test_exec_can_be_preempted_between_the_batches_of_its_file_but_not_while_it_relocates():
    *steps, relocating = read_gaps(13_000)
    batches = [(flat.OP_NOP, AFTER, gap) for gap in steps]
    program = mix([make_program([fork(1), *batches, page(1, relocating), *login()], [page(2), *ending(2)])])
    seen = set()
    for boot in range(60):
        tick = first_tick(program, boot)
        blocks = [block for block, _ in pages_in(program, run(program, EXACT, boot))]
        assert (blocks[0] == 2) == (tick < sum(steps))
        seen.add(blocks[0])
    assert seen == {1, 2}


def test_a_woken_sleeper_gets_at_most_half_a_latency_of_credit():
    """Lane 1 sleeps while lane 0 pays many ticks; it wakes three milliseconds before the others, no more."""
    spin = [page(1, 1000, USER)] * 300
    sleeper = [(flat.OP_SLEEP, 0, 0, 15), page(2, 0, USER), (flat.OP_WAIT, 0, 0, NEVER, 1)]
    program = mix([make_program([fork(1), *spin, *login()], sleeper)])
    sched = make_sched(program, MACHINE)
    assert run(program, EXACT, sched=sched) is not None
    assert (int(sched.vruntime[0]) - int(sched.vruntime[1])) % TICK_RUNTIME == 3000


def test_other_callbacks_wake_ksoftirqd_too(recorded):
    program = mix(recorded)
    stream = [what for what, _ in run(program, NOISY, 1)]
    assert stream.count(("run",)) > 2 * sum(what[0] == "stack" for what in stream) > 50
