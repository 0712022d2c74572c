"""From a recorded boot to a program: nothing that decides where pages go is lost, and nothing that is decided later."""

import dataclasses
import functools

import numpy as np
import pytest
from conftest import RECORDINGS

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.sched import EXEC_DELAY_RECORDED, STREAM_LENGTH, Timing, make_sched, run_boot
from mcsim.kernels.jit.rng import FACTOR_BITS
from mcsim.kernels.linux.machine import MAPLE_RCU_ON
from mcsim.workload.extract import NEVER, SIMULATED_SLABS, TASK_SLABS, extract
from mcsim.workload.program import READ_STEPS, RecordedProgram, mix, read_gaps
from mcsim.workload.recording import COLUMNS, Record, read_recording
from tests.machines import BOARD, machine, policy
from tests.plain_kernels import plain_kernels

plain = plain_kernels("boot.boot", "linux.maple_tree", "linux.nommu", "linux.page_alloc")

# What each recorded kernel had: V0 the maple tree in RCU mode without the fixes, M3 both patches of the mail.
POLICIES = {
    "N_V0_64MB_j0_a": policy("maple-naive", maple_rcu=MAPLE_RCU_ON),
    "C_M3_64MB_j2_c": policy("mail-both"),
}
PAGE = 8192
TASK_FREE = -1_000_000
PLACES = (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS, flat.OP_EXEC, flat.OP_MMAP)
ONE = np.full(4096, 1 << FACTOR_BITS, np.int32)


@functools.cache
def recorded(name):
    return read_recording(RECORDINGS / f"{name}.npz", BOARD)


@functools.cache
def extracted(name):
    return extract(recorded(name))


every_recording = pytest.mark.parametrize("name", list(POLICIES))


def rows_of(program, *kinds):
    return np.flatnonzero(np.isin(program.op[:, flat.KIND], kinds))


def recorded_order(program):
    """(record, op) of all page requests up to the login prompt; (record, -1 - lane) where a stack went back,
    (record, TASK_FREE) where a task did."""
    login = program.record[rows_of(program, flat.OP_LOGIN)[0]]
    order = [(int(program.record[row]), int(row)) for row in rows_of(program, *range(flat.LAST_PAGE_OP + 1))]
    order += [(int(record), -1 - int(lane)) for record, lane in program.stack_free]
    order += [(int(record), TASK_FREE) for record in program.task_free]
    return [each for each in sorted(order, key=lambda each: each[0]) if each[0] < login]


# -- nothing is lost -------------------------------------------------------------------------------------------


@every_recording
def test_in_recorded_order_every_page_is_where_the_recording_has_it(name):
    recording, program = recorded(name), extracted(name)
    arrays = mix([program])
    boot = plain.boot.make_boot(arrays, machine(recording.ram_mb), POLICIES[name])
    plain.boot.reset_boot(boot)
    assert plain.boot.run_pre_init(boot, arrays, 0)
    pages = regions = free_counts = 0
    for record, row in recorded_order(program):
        if row == TASK_FREE:
            boot.tasks[plain.boot.TASKS_ALIVE] -= 1
            continue
        if row < 0:
            plain.boot.give_block(boot, int(program.lane[-1 - row, flat.LANE_STACK]))
            continue
        assert plain.boot.place_request(boot, arrays, row)
        assert boot.memory.nommu.scalar[plain.nommu.FAILURES] == 0
        kind = program.op[row, flat.KIND]
        if kind in (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS):
            handle = program.op[row, flat.A]
            assert boot.handle[handle, 0] == recording.columns["pfn"][record] - recording.base_pfn
            pages += 1
            # The record says how many pages are free then; a new task may take more after its stack.
            if kind == flat.OP_PAGE_ALLOC and recording.columns["type"][record] == Record.ALLOC:
                assert plain.page_alloc.nr_free_pages(boot.memory.zone) == recording.columns["c"][record]
                free_counts += 1
        elif kind in (flat.OP_EXEC, flat.OP_MMAP):
            mapped = record + int(np.argmax(recording.columns["type"][record:] == Record.MMAP_E))
            address = int(recording.columns["pfn"][mapped]) * PAGE
            assert address in boot.memory.nommu.vma[:, plain.nommu.VMA_START]
            regions += 1
        # The recorded kernels have long run the callbacks of a mapping's nodes when they map again.
        pending = int(boot.memory.maple.scalar[plain.maple_tree.RCU_PENDING])
        plain.maple_tree.rcu_do_batch(boot.memory.maple, boot.memory.slub, boot.memory.zone, pending)
        plain.boot.work_off_boost(boot.memory.zone)
    assert pages >= 250
    assert regions >= 180
    assert free_counts >= 100


@every_recording
def test_every_page_request_of_the_user_phase_is_a_request_of_a_lane_or_decided_later(name):
    """Regions, object caches of the mappings and leftovers are simulated; the rest are requests."""
    recording, program = recorded(name), extracted(name)
    requested = {int(program.record[row]) for row in rows_of(program, flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS)}
    simulated = {"alloc_pages_exact"}
    types = recording.columns["type"]
    start = max(i for i in np.flatnonzero(types == Record.FREE) if recording.symbol("a", i) == "free_reserved_area")
    others = [
        int(i)
        for i in np.flatnonzero(types == Record.ALLOC)
        if i > start and int(i) not in requested and recording.symbol("b", i) not in simulated
    ]
    pids = set(program.lane[:, flat.LANE_PID].tolist())
    for i in others:
        slab = types[i + 1] == Record.SLAB and recording.text(i + 2) in SIMULATED_SLABS + TASK_SLABS
        assert slab or recording.columns["pid"][i] not in pids
    assert len(others) < 12


# -- the program is well-formed --------------------------------------------------------------------------------


@every_recording
def test_every_lane_ends_dead_or_waits_for_ever(name):
    program = extracted(name)
    assert program.lane[0, flat.LANE_FIRST] == 0
    assert program.lane[-1, flat.LANE_END] == len(program.op)
    assert np.array_equal(program.lane[1:, flat.LANE_FIRST], program.lane[:-1, flat.LANE_END])
    for first, end, *_ in program.lane.tolist():
        last = program.op[end - 1]
        assert last[flat.KIND] == flat.OP_DEAD or (last[flat.KIND], last[flat.A]) == (flat.OP_WAIT, NEVER)
        assert not np.any(program.op[first : end - 1, flat.KIND] == flat.OP_DEAD)


@every_recording
def test_every_block_is_taken_once_and_given_back_at_most_once(name):
    program = extracted(name)
    taken = program.op[rows_of(program, flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS), flat.A].tolist()
    given = program.op[rows_of(program, flat.OP_PAGE_FREE), flat.A].tolist()
    stacks = [stack for stack in program.lane[:, flat.LANE_STACK].tolist() if stack >= 0]
    assert sorted(taken) == list(range(program.handles))
    assert len(set(given + stacks)) == len(given + stacks)
    assert set(given + stacks) <= set(taken)
    assert len(stacks) == len(program.lane) - 1  # pid 1 had its own before
    pre = program.pre_init[program.pre_init[:, flat.PRE_KIND] == flat.PRE_PAGE_ALLOC, flat.PRE_A]
    assert sorted(pre.tolist()) == list(range(program.pre_init_handles))


@every_recording
def test_every_process_is_forked_once_and_reaped_at_most_once_by_its_parent_or_pid_1(name):
    program = extracted(name)
    lane_of = np.searchsorted(program.lane[:, flat.LANE_FIRST], np.arange(len(program.op)), side="right") - 1
    forks = {int(program.op[row, flat.A]): int(row) for row in rows_of(program, flat.OP_FORK)}
    assert sorted(forks) == list(range(1, len(program.lane)))
    releases = {int(program.op[row, flat.A]): int(row) for row in rows_of(program, flat.OP_RELEASE_TASK)}
    assert len(releases) == len(rows_of(program, flat.OP_RELEASE_TASK)) > 50
    for child, row in releases.items():
        assert program.record[forks[child]] < program.record[row]
        assert lane_of[row] in (lane_of[forks[child]], 0)


@every_recording
def test_every_wait_for_an_event_can_end(name):
    program = extracted(name)
    signalled = np.zeros(program.events, np.int64)
    for row in rows_of(program, flat.OP_SIGNAL):
        signalled[program.op[row, flat.A]] += program.op[row, flat.B]
    for row in rows_of(program, flat.OP_EXIT_NOTIFY):
        signalled[program.op[row, flat.A]] += 1
    assert signalled[NEVER] == 0
    for row in rows_of(program, flat.OP_WAIT):
        event, count = int(program.op[row, flat.A]), int(program.op[row, flat.B])
        assert event == NEVER or signalled[event] >= count


@every_recording
def test_every_address_space_is_used_from_its_exec_to_its_exit(name):
    program = extracted(name)
    for mm in range(program.mms):
        rows = [
            int(row)
            for row in rows_of(program, flat.OP_EXEC, flat.OP_MMAP, flat.OP_EXIT_MMAP)
            if program.op[row, flat.A] == mm
        ]
        rows.sort(key=lambda row: program.record[row])  # a vfork child maps into its parent's
        kinds = program.op[rows, flat.KIND].tolist()
        assert kinds[0] == flat.OP_EXEC
        assert flat.OP_EXIT_MMAP not in kinds[:-1]
        assert flat.OP_EXEC not in kinds[1:]


@every_recording
def test_gaps_are_short_and_not_negative(name):
    gaps = extracted(name).op[:, flat.GAP]
    assert gaps.min() >= 0
    assert gaps.sum() * 768e-9 < 4.5  # all CPU time of a boot, seconds


def test_one_artificial_delay_an_exec_is_marked_and_the_recorded_one_cut_out():
    for name in POLICIES:
        program = extracted(name)
        delays = program.op[rows_of(program, flat.OP_EXEC_DELAY)]
        # The kernel's own start of /init is marked too or not; nothing hangs on it.
        assert abs(len(delays) - len(rows_of(program, flat.OP_EXEC))) <= 2
        if recorded(name).jitter:
            assert delays[:, flat.GAP].max() < 260  # 0.2 ms; the delay is up to 1 ms
        assert (program.op[rows_of(program, flat.OP_SLEEP), flat.A] > 0).all()


@every_recording
def test_the_prompt_comes_from_a_lane_that_is_named(name):
    program = extracted(name)
    login = rows_of(program, flat.OP_LOGIN)
    lane = int(np.searchsorted(program.lane[:, flat.LANE_FIRST], login[0], side="right")) - 1
    assert "getty" in program.names[lane] or "login" in program.names[lane]
    assert len(program.names) == len(program.lane)


@every_recording
def test_the_pre_init_phase_ends_with_the_tasks_that_are_alive(name):
    recording, program = recorded(name), extracted(name)
    types, pids = recording.columns["type"], recording.columns["pid"]
    cut = max(i for i in np.flatnonzero(types == Record.FREE) if recording.symbol("a", i) == "free_reserved_area")
    alive = {int(recording.columns["pfn"][i]) for i in np.flatnonzero(types[:cut] == Record.FORK)}
    alive -= {int(pids[i]) for i in np.flatnonzero(types[:cut] == Record.EXIT)}
    [row] = np.flatnonzero(program.pre_init[:, flat.PRE_KIND] == flat.PRE_TASKS)
    assert row == len(program.pre_init) - 1
    assert program.pre_init[row, flat.PRE_A] == len(alive)
    assert 1 in alive
    # So many slabs hold them, and so many were taken.
    slabs = [recording.text(i + 2) for i in np.flatnonzero(types[:cut] == Record.ALLOC) if types[i + 1] == Record.SLAB]
    for cache, objects in zip(TASK_SLABS, (8, 12, 13), strict=True):
        assert slabs.count(cache) == -(-len(alive) // objects)


@every_recording
def test_the_first_tick_is_where_the_recorded_clock_has_it(name):
    recording, program = recorded(name), extracted(name)
    types = recording.columns["type"]
    cut = max(i for i in np.flatnonzero(types == Record.FREE) if recording.symbol("a", i) == "free_reserved_area")
    assert 1 <= program.first_tick <= BOARD.clock.timer_counts_per_tick
    assert (recording.time[cut] + program.first_tick) % BOARD.clock.timer_counts_per_tick == 0


def test_the_time_of_reading_an_image_is_cut_into_gaps_that_are_all_of_it():
    for counts in [*range(300), 13_000, 2**31 - 1]:
        gaps = read_gaps(counts)
        assert sum(gaps) == counts
        assert min(gaps) >= 0
        assert len(gaps) == len(READ_STEPS) + 1
    assert read_gaps(1000) == [100, 100, 100, 100, 90, 90, 420]


@every_recording
def test_every_exec_can_be_preempted_while_it_reads_its_image(name):
    program, steps = extracted(name), len(READ_STEPS)
    found = 0
    for row in rows_of(program, flat.OP_PAGE_FREE):
        before = program.op[row - steps : row]
        if (before[:, flat.KIND] == flat.OP_NOP).all() and (before[:, flat.FLAGS] & flat.RESCHED_AFTER).all():
            gaps = [*before[:, flat.GAP].tolist(), int(program.op[row, flat.GAP])]
            assert gaps == read_gaps(sum(gaps))
            found += 1
    assert found == len(rows_of(program, flat.OP_EXEC)) > 60


# -- the simulated order is near the recorded one --------------------------------------------------------------


def pairs_out_of_order(values):
    values = np.asarray(values)
    return sum(int((values[:i] > value).sum()) for i, value in enumerate(values)) / (
        len(values) * (len(values) - 1) / 2
    )


def live_sets(events):
    """Address spaces alive at the moment each one gets its region."""
    alive, sets = set(), {}
    for kind, mm in events:
        if kind == flat.OP_EXEC:
            sets[mm] = frozenset(alive)
            alive.add(mm)
        elif kind == flat.OP_EXIT_MMAP:
            alive.discard(mm)
    return sets


@every_recording
def test_run_once_more_without_noise_the_order_is_near_the_recorded_one(name):
    """The recorded phase of the clock and the recorded artificial delays. A tick elsewhere changes some live sets."""
    program = extracted(name)
    arrays = mix([program])
    sched = make_sched(arrays, machine(64))
    wanted = live_sets(program.op[row, [flat.KIND, flat.A]].tolist() for _, row in recorded_order(program) if row >= 0)
    timing = Timing(ONE, ONE, EXEC_DELAY_RECORDED, program.first_tick)
    assert run_boot(arrays, timing, sched, np.uint64(1), np.uint64(0), 0)
    stream = sched.stream[: sched.clock[STREAM_LENGTH]]
    rows = stream[stream >= 0]
    places = rows[np.isin(program.op[rows, flat.KIND], PLACES)]
    assert pairs_out_of_order(program.record[places]) < 0.0005
    got = live_sets(program.op[rows][:, [flat.KIND, flat.A]].tolist())
    assert sum(got.get(mm) == alive for mm, alive in wanted.items()) >= 0.94 * len(wanted) > 60


# -- files -----------------------------------------------------------------------------------------------------


@every_recording
def test_a_program_is_read_as_it_was_saved(name, tmp_path):
    program = extracted(name)
    program.save(tmp_path / "program.npz", BOARD)
    again = RecordedProgram.read(tmp_path / "program.npz", BOARD)
    for field in dataclasses.fields(RecordedProgram):
        one, other = getattr(program, field.name), getattr(again, field.name)
        assert np.array_equal(one, other)
        assert type(one) is type(other)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype == np.int32
            assert other.flags.c_contiguous
    assert (tmp_path / "program.npz").stat().st_size < 40_000


@every_recording
def test_extraction_is_the_same_every_time(name):
    program, again = extracted(name), extract(read_recording(RECORDINGS / f"{name}.npz", BOARD))
    assert np.array_equal(program.op, again.op)
    assert np.array_equal(program.pre_init, again.pre_init)
    assert program.sha256 == again.sha256


def test_a_recording_without_scheduler_records_gives_its_pre_init_phase():
    recording = recorded("N_V0_64MB_j0_a")
    kept = recording.columns["type"] < Record.SWITCH
    bare = dataclasses.replace(
        recording,
        columns={name: column[kept] for name, column in recording.columns.items()},
        time=recording.time[kept],
    )
    program = extract(bare)
    assert not program.has_lanes
    assert np.array_equal(program.pre_init, extracted("N_V0_64MB_j0_a").pre_init)


def test_a_recording_that_ends_too_early_is_refused():
    recording = recorded("N_V0_64MB_j0_a")
    short = dataclasses.replace(
        recording,
        columns={name: column[:1000] for name, column in recording.columns.items()},
        time=recording.time[:1000],
    )
    with pytest.raises(UserError, match="ends before"):
        extract(short)


def refusal(path, symbols=None):
    with pytest.raises(UserError) as caught:
        read_recording(path, BOARD, symbols)
    assert caught.value.file is not None
    return str(caught.value)


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    good = RECORDINGS / "N_V0_64MB_j0_a.npz"
    assert "no such file" in refusal(tmp_path / good.name)
    message = refusal(tmp_path / "boot.npz")
    assert "'boot'" in message
    assert "valid: ENVIRONMENT_VARIANT_RAMMB_jJITTER_LETTER.npz" in message
    (tmp_path / good.name).write_bytes(b"type,order\n1,2\n")
    assert "not a NumPy archive (.npz), or damaged" in refusal(tmp_path / good.name)
    (tmp_path / good.name).write_bytes(good.read_bytes()[:5000])
    assert "not a NumPy archive (.npz), or damaged" in refusal(tmp_path / good.name)
    (tmp_path / good.name).write_bytes(b"")
    assert "not a NumPy archive (.npz), or damaged" in refusal(tmp_path / good.name)
    with (tmp_path / good.name).open("wb") as file:
        np.save(file, np.zeros(3))
    assert "not a NumPy archive (.npz), or damaged" in refusal(tmp_path / good.name)


def test_a_recording_with_a_column_missing_is_refused(tmp_path):
    path = tmp_path / "N_V0_64MB_j0_a.npz"
    np.savez(path, **{column: np.zeros(3, np.int64) for column in COLUMNS if column != "pit"})
    message = refusal(path)
    assert "columns are missing: pit, header" in message


def test_a_recording_without_its_symbols_is_refused(tmp_path):
    path = tmp_path / "N_V0_64MB_j0_a.npz"
    path.write_bytes((RECORDINGS / path.name).read_bytes())
    message = refusal(path)
    assert "symbols_N.csv" in message
    assert "no such file" in message
    (tmp_path / "symbols_N.csv").write_text("address,name\n1,a\n")
    assert "not a symbol table" in refusal(path)
    recording = read_recording(path, BOARD, RECORDINGS / "symbols_N.csv")
    assert recording.symbols == recorded("N_V0_64MB_j0_a").symbols


@every_recording
def test_the_time_of_a_recording_never_goes_back(name):
    time = recorded(name).time
    assert (np.diff(time) >= 0).all()
    assert 1.5 < (time[-1] - time[0]) * 768e-9 < 20


def test_a_program_of_another_format_is_refused_as_such(tmp_path):
    path = tmp_path / "program.npz"
    np.savez(path, facts=np.frombuffer(b'{"format": 1}', np.uint8))
    with pytest.raises(UserError, match="of another format"):
        RecordedProgram.read(path, BOARD)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off", None])
def test_a_file_that_is_no_program_is_refused(content, tmp_path):
    path = tmp_path / "program.npz"
    if content is None:
        np.savez(path, op=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"not an extracted program|not a NumPy archive"):
        RecordedProgram.read(path, BOARD)
