"""The order of a boot's requests: lanes on one CPU under CFS as this kernel runs it (kernel/sched/fair.c, Linux 6.1).

sched_clock() is the jiffies counter, so run time is seen in whole ticks only: the task that runs at the tick pays the
whole tick. There is no kernel preemption; a reschedule is honoured on the return to user mode and in cond_resched().
Kernel stacks of dead tasks come back through two RCU callbacks, run by ksoftirqd or by the tick's softirq.

The order depends on the recording, the random timing and nothing else, neither the variant nor the RAM size: it is
worked out first, as a stream of requests, and the pages are placed afterwards (kernels/boot/boot.py).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.program import (
    CALL_RCU,
    FLAGS,
    GAP,
    GAP_USER,
    KIND,
    LANE_END,
    LANE_FIRST,
    LAST_PAGE_OP,
    OP_DEAD,
    OP_EXEC_DELAY,
    OP_EXIT_NOTIFY,
    OP_FORK,
    OP_LOGIN,
    OP_NOP,
    OP_RELEASE_TASK,
    OP_SIGNAL,
    OP_SLEEP,
    OP_WAIT,
    REAPED_EARLY,
    RECORDING_EVENTS,
    RECORDING_LANE,
    RECORDING_LANE_END,
    RESCHED_AFTER,
    RIGHT,
    STUCK,
    TOO_LONG,
    A,
    B,
    Program,
)
from mcsim.kernels.jit.compile import inlined_kernel, kernel
from mcsim.kernels.jit.rng import (
    FACTOR_TABLE_BITS,
    PURPOSE_BOOT_FACTOR,
    PURPOSE_EXEC_DELAY,
    PURPOSE_GAP,
    PURPOSE_TICK_PHASE,
    philox4x32,
    philox4x32_blocks,
    random_below,
    scale,
)
from mcsim.kernels.linux.machine import Machine

# A boot may take so many ticks (28 hours), which is about a second of work: a recorded boot takes 500, and 8 million if
# the slowest factors that an experiment can ask for (2048 for a boot, 8 on average for its gaps) all come together.
MAX_TICKS = 10_000_000
# And so many steps along queues of lanes, which is another second: a recorded boot takes a thousand.
MAX_QUEUE_STEPS = 500_000_000

# Run times in microseconds, as CFS on one CPU has them.
SCHED_LATENCY = 6_000
MIN_GRANULARITY = 750
WAKEUP_GRANULARITY = 1_000
SLEEPER_CREDIT = SCHED_LATENCY // 2

# Values of Timing.exec_delay.
EXEC_DELAY_NONE = 0
EXEC_DELAY_DRAWN = 1  # the artificial noise of jitter 2
EXEC_DELAY_RECORDED = 2  # what the recording had, to run it once more

NOT_BORN = 0
RUNNABLE = 1
BLOCKED = 2
DEAD = 3

IDLE = -1
NEVER = np.int64(1) << np.int64(62)

# Rows of the stream: a row of `op`, or one of these; anything at or below STREAM_STACK_FREE is the stack of a lane.
STREAM_RCU_QS = -1
STREAM_RCU_RUN = -2
STREAM_TASK_FREE = -3  # the structures of a dead task go back to their caches
STREAM_STACK_FREE = -16

# Kinds of RCU callback that free something of a task, in the low bit of a queue entry; the lane stands above.
CALLBACK_TASK = 0
CALLBACK_STACK = 1

# Indices of `clock`.
NOW = 0
NEXT_TICK = 1
JIFFIES = 2
CURRENT = 3
NEED_RESCHED = 4
NR_QUEUED = 5
MIN_VRUNTIME = 6
STREAM_LENGTH = 7
RCU_DONE = 8  # callbacks that may run, of RCU_TAIL queued since the start of the boot
RCU_TAIL = 9
TASK_CALLBACKS_HEAD = 10
TASK_CALLBACKS_TAIL = 11
NR_SLEEPERS = 12
BOOT_FACTOR = 13
LOGIN = 14
KSOFTIRQD = 15
FIRST_LANE = 16
WRONG = 17  # why the boot cannot go on (kernels/boot/program.py), RIGHT if it can
WRONG_ROW = 18  # of `op`, -1 if no request is to blame
QUEUE_STEPS = 19
CLOCK_SIZE = 20

# Columns of `way`: what lies between one request of a lane and the next that does more than take time.
NEXT_EVENT = 0  # row of that request, this one included
CALLBACKS_BEFORE = 1  # requests with CALL_RCU before this row, counted from row 0
WAY_COLUMNS = 2

# Columns of `draws`: the requests of a recording as its random numbers are drawn, each lane from a multiple of
# REQUESTS_PER_BLOCK on.
DRAWS_FIRST = 0
DRAWS_END = 1
REQUESTS_PER_BLOCK = 8  # a block of words (kernels/jit/rng.py) has 16 bits for each of so many requests


class Timing(NamedTuple):
    """The random part of a boot's timing.

    gap_factor, boot_factor: int32[4096], equally likely factors in fixed point (kernels/jit/rng.py:FACTOR_BITS).
    exec_delay: one of EXEC_DELAY_*. first_tick: counts to the first tick, 0 draws them (1 to Machine.tick_counts).
    """

    gap_factor: NDArray[np.int32]
    boot_factor: NDArray[np.int32]
    exec_delay: int
    first_tick: int = 0


class Sched(NamedTuple):
    """Work space of one worker, reset for each boot. Lanes count from the recording's first; the last is ksoftirqd.

    clock: int64 scalars. lane columns: int64. stream: int32, requests in order; stream_time: int64, when (counts).
    way, draws, recorded_gap, block_*: what follows from the program, see `make_sched`.
    """

    clock: NDArray[np.int64]
    request: NDArray[np.int64]  # row of `op` to come
    gap: NDArray[np.int64]  # counts left before it
    draw: NDArray[np.int64]  # position in `elapsed` less row of `op`
    state: NDArray[np.int64]
    vruntime: NDArray[np.int64]
    wait_count: NDArray[np.int64]
    next_waiter: NDArray[np.int64]
    wake_tick: NDArray[np.int64]
    references: NDArray[np.int64]  # 2: not yet reaped and not yet switched away from for the last time
    queue: NDArray[np.int64]  # runnable lanes but the running one, the next to run last
    sleepers: NDArray[np.int64]
    event_count: NDArray[np.int64]
    event_waiter: NDArray[np.int64]  # first lane that waits, -1 none
    callback: NDArray[np.int64]  # (task callbacks, 2): how many were queued before it; kind and lane
    elapsed: NDArray[np.int64]  # CPU time before each request, all gaps of the recording up to its own added up
    word: NDArray[np.uint32]  # two requests each
    scratch: NDArray[np.uint64]
    way: NDArray[np.int32]  # (requests, WAY_COLUMNS)
    draws: NDArray[np.int64]  # (recordings, 2)
    recorded_gap: NDArray[np.int32]  # GAP of the request at each position
    lane_draw: NDArray[np.int64]  # of each lane of the program: the first position less LANE_FIRST
    block_lane: NDArray[np.int32]  # lane, counted from the recording's first, and number in the lane of each block
    block_number: NDArray[np.int32]
    stream: NDArray[np.int32]
    stream_time: NDArray[np.int64]
    machine: Machine


def make_sched(program: Program, machine: Machine) -> Sched:
    """Work space that is large enough for every recording of a program.

    A lane that only computes between two ticks need not be stepped through: `way` tells where its next event is, and
    `elapsed` what it takes to get there.
    """
    lanes = int((program.recording[:, RECORDING_LANE_END] - program.recording[:, RECORDING_LANE]).max()) + 1
    events = int(program.recording[:, RECORDING_EVENTS].max())
    first = program.lane[program.recording[:, RECORDING_LANE], LANE_FIRST]
    end = program.lane[program.recording[:, RECORDING_LANE_END] - 1, LANE_END]
    requests = int((end - first).max())
    # No request is made twice. Each queues at most one callback; a dead lane queues two, its task's and its stack's.
    callbacks = requests + 2 * lanes
    # Requests; a quiescent state and a run for each callback at most; the tasks and the stacks that come back.
    stream = requests + 2 * callbacks + 2 * lanes
    draws, recorded_gap, lane_draw, block_lane, block_number = lay_out_draws(program)
    most_draws = int((draws[:, DRAWS_END] - draws[:, DRAWS_FIRST]).max())

    def column() -> NDArray[np.int64]:
        return np.zeros(lanes, np.int64)

    return Sched(
        clock=np.zeros(CLOCK_SIZE, np.int64),
        request=column(),
        gap=column(),
        draw=column(),
        state=column(),
        vruntime=column(),
        wait_count=column(),
        next_waiter=column(),
        wake_tick=column(),
        references=column(),
        queue=column(),
        sleepers=column(),
        event_count=np.zeros(events, np.int64),
        event_waiter=np.zeros(events, np.int64),
        callback=np.zeros((2 * lanes, 2), np.int64),
        elapsed=np.zeros(most_draws + 1, np.int64),
        word=np.zeros(most_draws // 2, np.uint32),
        scratch=np.zeros(4, np.uint64),
        stream=np.zeros(stream, np.int32),
        stream_time=np.zeros(stream, np.int64),
        way=find_way(program),
        draws=draws,
        recorded_gap=recorded_gap,
        lane_draw=lane_draw,
        block_lane=block_lane,
        block_number=block_number,
        machine=machine,
    )


def find_way(program: Program) -> NDArray[np.int32]:
    """`Sched.way` of a program. The last request of a lane counts as an event, whatever it is."""
    rows = np.arange(len(program.op), dtype=np.int32)
    event = program.op[:, KIND] != OP_NOP
    event[program.lane[program.lane[:, LANE_END] > program.lane[:, LANE_FIRST], LANE_END] - 1] = True
    way = np.zeros((len(rows), WAY_COLUMNS), np.int32)
    way[:, NEXT_EVENT] = np.minimum.accumulate(np.where(event, rows, len(rows) - 1)[::-1])[::-1]
    way[1:, CALLBACKS_BEFORE] = np.cumsum(program.op[:-1, FLAGS] & CALL_RCU != 0)
    return way


def lay_out_draws(
    program: Program,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """`Sched.draws`, `.recorded_gap`, `.lane_draw`, `.block_lane`, `.block_number` of a program."""
    first, end = program.lane[:, LANE_FIRST].astype(np.int64), program.lane[:, LANE_END].astype(np.int64)
    blocks = -(-(end - first) // REQUESTS_PER_BLOCK)
    last_block = np.cumsum(blocks)
    start = REQUESTS_PER_BLOCK * (last_block - blocks)
    recorded_gap = np.zeros(REQUESTS_PER_BLOCK * int(last_block[-1]), np.int32)
    number = np.arange(int(last_block[-1])) - np.repeat(last_block - blocks, blocks)
    lane = np.repeat(np.arange(len(blocks)), blocks)
    draws = np.zeros((len(program.recording), 2), np.int64)
    for recording, row in enumerate(program.recording):
        lanes = slice(row[RECORDING_LANE], row[RECORDING_LANE_END])
        draws[recording] = start[lanes][0], REQUESTS_PER_BLOCK * last_block[lanes][-1]
        lane[start[lanes][0] // REQUESTS_PER_BLOCK : last_block[lanes][-1]] -= row[RECORDING_LANE]
    for each in range(len(first)):
        recorded_gap[start[each] : start[each] + end[each] - first[each]] = program.op[first[each] : end[each], GAP]
    return draws, recorded_gap, start - first, lane.astype(np.int32), number.astype(np.int32)


@inlined_kernel
def emit(sched: Sched, what: int) -> None:
    """Append to the stream."""
    clock = sched.clock
    n = clock[STREAM_LENGTH]
    sched.stream[n] = what
    sched.stream_time[n] = clock[NOW]
    clock[STREAM_LENGTH] = n + 1


@inlined_kernel
def update_min_vruntime(sched: Sched, with_current: bool) -> None:
    """update_min_vruntime(): never goes back."""
    clock = sched.clock
    lowest = NEVER
    if clock[NR_QUEUED] > 0:
        lowest = sched.vruntime[sched.queue[clock[NR_QUEUED] - 1]]
    if with_current and clock[CURRENT] != IDLE:
        lowest = min(lowest, sched.vruntime[clock[CURRENT]])
    if lowest != NEVER and lowest > clock[MIN_VRUNTIME]:
        clock[MIN_VRUNTIME] = lowest


@inlined_kernel
def count_steps(sched: Sched, steps: int) -> None:
    """So many lanes may be looked at now; too many are too long a boot."""
    clock = sched.clock
    clock[QUEUE_STEPS] += steps
    if clock[QUEUE_STEPS] > MAX_QUEUE_STEPS:
        clock[WRONG] = TOO_LONG


@inlined_kernel
def enqueue(sched: Sched, lane: int) -> None:
    """Make a lane runnable, behind those with the same vruntime."""
    clock = sched.clock
    queue = sched.queue
    position = clock[NR_QUEUED]
    clock[NR_QUEUED] = position + 1
    count_steps(sched, position)
    vruntime = sched.vruntime[lane]
    while position > 0 and sched.vruntime[queue[position - 1]] <= vruntime:
        queue[position] = queue[position - 1]
        position -= 1
    queue[position] = lane
    sched.state[lane] = RUNNABLE


@kernel
def try_to_wake_up(sched: Sched, lane: int) -> None:
    """place_entity() of a sleeper, then check_preempt_wakeup() against the running task."""
    clock = sched.clock
    floor = clock[MIN_VRUNTIME] - SLEEPER_CREDIT
    if sched.vruntime[lane] < floor:
        sched.vruntime[lane] = floor
    enqueue(sched, lane)
    current = clock[CURRENT]
    if current == IDLE or sched.vruntime[current] - sched.vruntime[lane] > WAKEUP_GRANULARITY:
        clock[NEED_RESCHED] = 1


@inlined_kernel
def wake_up_new_task(sched: Sched, parent: int, child: int) -> None:
    """task_fork_fair() and place_entity() of a new task: one slice behind."""
    clock = sched.clock
    running = clock[NR_QUEUED] + 2
    slice_ = max(MIN_GRANULARITY, SCHED_LATENCY // running)
    sched.vruntime[child] = max(sched.vruntime[parent], clock[MIN_VRUNTIME] + slice_)
    enqueue(sched, child)


@inlined_kernel
def call_rcu_of_task(sched: Sched, lane: int, kind: int) -> None:
    """Queue a callback that frees something of a task. Of all others it is enough to know how many there are."""
    clock = sched.clock
    row = clock[TASK_CALLBACKS_TAIL]
    sched.callback[row, 0] = clock[RCU_TAIL]
    sched.callback[row, 1] = (lane << 1) | kind
    clock[TASK_CALLBACKS_TAIL] = row + 1
    clock[RCU_TAIL] += 1


@inlined_kernel
def rcu_qs(sched: Sched) -> bool:
    """A quiescent state (kernel/rcu/tiny.c): all callbacks queued so far may run. True if there are any."""
    clock = sched.clock
    if clock[RCU_DONE] == clock[RCU_TAIL]:
        return False
    clock[RCU_DONE] = clock[RCU_TAIL]
    emit(sched, STREAM_RCU_QS)
    return True


@kernel
def rcu_process_callbacks(sched: Sched) -> int:
    """Run the callbacks that may run; each can queue the next of its chain. Returns the number of dead tasks met."""
    clock = sched.clock
    tasks = 0
    emit(sched, STREAM_RCU_RUN)
    while clock[TASK_CALLBACKS_HEAD] < clock[TASK_CALLBACKS_TAIL]:
        row = clock[TASK_CALLBACKS_HEAD]
        if sched.callback[row, 0] >= clock[RCU_DONE]:
            break
        clock[TASK_CALLBACKS_HEAD] = row + 1
        lane = sched.callback[row, 1] >> 1
        if sched.callback[row, 1] & 1 == CALLBACK_TASK:
            tasks += 1
            emit(sched, STREAM_TASK_FREE)
            call_rcu_of_task(sched, lane, CALLBACK_STACK)
        else:
            emit(sched, STREAM_STACK_FREE - lane)
    return tasks


@inlined_kernel
def put_task(sched: Sched, lane: int) -> None:
    """put_task_struct_rcu_user(): the second of reaping and last switch queues the stack's first callback."""
    sched.references[lane] -= 1
    if sched.references[lane] == 0:
        call_rcu_of_task(sched, lane, CALLBACK_TASK)


@kernel
def run_tick(sched: Sched, user: bool) -> None:
    """The timer interrupt: the running task pays the tick, sleepers wake, callbacks may run."""
    clock = sched.clock
    clock[NEXT_TICK] += sched.machine.tick_counts
    clock[JIFFIES] += 1
    if clock[JIFFIES] > MAX_TICKS:
        clock[WRONG] = TOO_LONG
    current = clock[CURRENT]
    if current != IDLE:
        sched.vruntime[current] += sched.machine.tick_us
        update_min_vruntime(sched, True)
        if clock[NR_QUEUED] > 0:
            clock[NEED_RESCHED] = 1
    if user:
        if rcu_qs(sched) and sched.state[clock[KSOFTIRQD]] == BLOCKED:
            rcu_process_callbacks(sched)
    elif clock[RCU_DONE] != clock[RCU_TAIL]:
        clock[NEED_RESCHED] = 1
    i = 0
    while i < clock[NR_SLEEPERS]:
        lane = sched.sleepers[i]
        if sched.wake_tick[lane] <= clock[JIFFIES]:
            # Keep the others in order: they were put to sleep in it.
            clock[NR_SLEEPERS] -= 1
            for j in range(i, clock[NR_SLEEPERS]):
                sched.sleepers[j] = sched.sleepers[j + 1]
            try_to_wake_up(sched, lane)
        else:
            i += 1


@kernel
def schedule(sched: Sched, state: int) -> None:
    """__schedule(): leave the running task in `state`, run the one with the smallest vruntime; may end in idle."""
    clock = sched.clock
    previous = clock[CURRENT]
    ksoftirqd = clock[KSOFTIRQD]
    if rcu_qs(sched) and sched.state[ksoftirqd] == BLOCKED and previous != ksoftirqd:
        try_to_wake_up(sched, ksoftirqd)
    if previous != IDLE:
        sched.state[previous] = state
        if state == RUNNABLE:
            enqueue(sched, previous)
        else:
            update_min_vruntime(sched, False)
    clock[NEED_RESCHED] = 0
    if clock[NR_QUEUED] == 0:
        clock[CURRENT] = IDLE
    else:
        clock[NR_QUEUED] -= 1
        clock[CURRENT] = sched.queue[clock[NR_QUEUED]]
    if state == DEAD:
        put_task(sched, previous)


@kernel
def pass_time(sched: Sched, counts: int) -> None:
    """CPU time in kernel mode that nothing can interrupt but the tick."""
    clock = sched.clock
    end = clock[NOW] + counts
    while clock[NEXT_TICK] <= end:
        clock[NOW] = clock[NEXT_TICK]
        run_tick(sched, False)
    clock[NOW] = max(end, clock[NOW])


@kernel
def run_ksoftirqd(sched: Sched) -> None:
    """All callbacks, chained ones too: handle_softirqs() passes a quiescent state after each round."""
    clock = sched.clock
    machine = sched.machine
    tasks = rcu_process_callbacks(sched)
    pass_time(sched, scale(machine.softirq_counts + tasks * machine.softirq_counts_task, clock[BOOT_FACTOR]))
    while rcu_qs(sched):
        rcu_process_callbacks(sched)
    schedule(sched, BLOCKED)


@inlined_kernel
def draw_words(sched: Sched, seed: Any, boot: Any, recording: int) -> None:
    """Draw the random words for all gaps of a recording."""
    block = sched.draws[recording, DRAWS_FIRST] // REQUESTS_PER_BLOCK
    end = sched.draws[recording, DRAWS_END] // REQUESTS_PER_BLOCK
    lane, number = sched.block_lane[block:end], sched.block_number[block:end]
    philox4x32_blocks(seed, boot, PURPOSE_GAP, lane, number, sched.word)


@inlined_kernel
def set_gaps(timing: Timing, sched: Sched, recording: int) -> None:
    """The CPU time before each request of a recording, scaled by its own factor and by the boot's."""
    first = sched.draws[recording, DRAWS_FIRST]
    count = sched.draws[recording, DRAWS_END] - first
    boot_factor = sched.clock[BOOT_FACTOR]
    elapsed = np.int64(0)
    for i in range(0, count, 2):
        word = np.int64(sched.word[i >> 1])
        for half in range(2):
            quantile = (word >> (16 * half + 16 - FACTOR_TABLE_BITS)) & ((1 << FACTOR_TABLE_BITS) - 1)
            gap = scale(np.int64(sched.recorded_gap[first + i + half]), np.int64(timing.gap_factor[quantile]))
            elapsed += scale(gap, boot_factor)
            sched.elapsed[i + half] = elapsed
    sched.elapsed[count] = elapsed
    for lane in range(sched.clock[KSOFTIRQD]):
        draw = sched.request[lane] + sched.draw[lane]
        sched.gap[lane] = sched.elapsed[draw] - (sched.elapsed[draw - 1] if draw > 0 else 0)


@kernel
def signal(sched: Sched, event: int, count: int) -> None:
    """Raise an event's count and wake the lanes that wait for no more than it."""
    sched.event_count[event] += count
    previous = -1
    lane = sched.event_waiter[event]
    while lane >= 0:
        count_steps(sched, 1)
        following = sched.next_waiter[lane]
        if sched.wait_count[lane] <= sched.event_count[event]:
            if previous < 0:
                sched.event_waiter[event] = following
            else:
                sched.next_waiter[previous] = following
            try_to_wake_up(sched, lane)
        else:
            previous = lane
        lane = following


@kernel
def sleep_ticks(sched: Sched, lane: int, ticks: int) -> None:
    """Sleep until the given number of ticks has come."""
    clock = sched.clock
    sched.wake_tick[lane] = clock[JIFFIES] + ticks
    sched.sleepers[clock[NR_SLEEPERS]] = lane
    clock[NR_SLEEPERS] += 1
    schedule(sched, BLOCKED)


@kernel
def exec_delay(sched: Sched, seed: Any, boot: Any, lane: int, k: int) -> None:
    """The artificial noise of jitter 2."""
    philox4x32(seed, boot, PURPOSE_EXEC_DELAY, lane, k, sched.scratch)
    delay = np.int64(sched.scratch[0]) * sched.machine.noise_delay_counts >> 32
    sleep = np.int64(sched.scratch[1]) & 1
    ticks = np.int64(sched.scratch[2]) * sched.machine.noise_sleep_ticks >> 32
    pass_time(sched, delay)
    if sleep == 1:
        sleep_ticks(sched, lane, ticks + 1)


@inlined_kernel
def wait_event(sched: Sched, lane: int, event: int, count: int) -> None:
    """Block the running lane unless the event's count has been reached."""
    if sched.event_count[event] >= count:
        return
    sched.wait_count[lane] = count
    sched.next_waiter[lane] = sched.event_waiter[event]
    sched.event_waiter[event] = lane
    schedule(sched, BLOCKED)


@inlined_kernel
def run_request(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, lane: int) -> None:
    """Do the running lane's request; its gap has passed."""
    clock = sched.clock
    row = sched.request[lane]
    draw = row + sched.draw[lane]
    sched.request[lane] = row + 1
    sched.gap[lane] = sched.elapsed[draw + 1] - sched.elapsed[draw]
    kind = program.op[row, KIND]
    flags = program.op[row, FLAGS]
    a = np.int64(program.op[row, A])
    b = np.int64(program.op[row, B])
    if flags & CALL_RCU:
        clock[RCU_TAIL] += 1
    if kind <= LAST_PAGE_OP:
        emit(sched, row)
    elif kind == OP_FORK:
        sched.references[a] = 2
        wake_up_new_task(sched, lane, a)
    elif kind == OP_WAIT:
        wait_event(sched, lane, a, b)
    elif kind == OP_SIGNAL:
        signal(sched, a, b)
    elif kind == OP_SLEEP:
        sleep_ticks(sched, lane, a)
    elif kind == OP_EXIT_NOTIFY:
        signal(sched, a, 1)
    elif kind == OP_RELEASE_TASK:
        if sched.state[a] == NOT_BORN:
            clock[WRONG] = REAPED_EARLY
            clock[WRONG_ROW] = row
        else:
            put_task(sched, a)
    elif kind == OP_DEAD:
        schedule(sched, DEAD)
    elif kind == OP_LOGIN:
        emit(sched, row)
        clock[LOGIN] = 1
    elif kind == OP_EXEC_DELAY and timing.exec_delay == EXEC_DELAY_DRAWN:
        exec_delay(sched, seed, boot, lane, row - program.lane[clock[FIRST_LANE] + lane, LANE_FIRST])
    elif kind == OP_EXEC_DELAY and timing.exec_delay == EXEC_DELAY_RECORDED:
        pass_time(sched, a)
        if b > 0:
            sleep_ticks(sched, lane, b)
    if flags & RESCHED_AFTER and clock[NEED_RESCHED] == 1 and clock[CURRENT] == lane:
        schedule(sched, RUNNABLE)


@inlined_kernel
def run_lane(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, lane: int) -> None:
    """Let the running lane go on to the tick, to a reschedule or through its next event, whichever comes first."""
    clock = sched.clock
    row = sched.request[lane]
    event = row
    if clock[NEED_RESCHED] == 0:
        event = np.int64(sched.way[row, NEXT_EVENT])
    elif program.op[row, FLAGS] & GAP_USER:
        schedule(sched, RUNNABLE)
        return
    start = clock[NOW] + sched.gap[lane] - sched.elapsed[row + sched.draw[lane]]
    end = start + sched.elapsed[event + sched.draw[lane]]
    if end >= clock[NEXT_TICK]:
        run_to_tick(program, sched, lane, event, start)
        return
    clock[NOW] = end
    clock[RCU_TAIL] += np.int64(sched.way[event, CALLBACKS_BEFORE]) - np.int64(sched.way[row, CALLBACKS_BEFORE])
    sched.request[lane] = event
    run_request(program, timing, sched, seed, boot, lane)


@inlined_kernel
def run_to_tick(program: Program, sched: Sched, lane: int, event: int, start: int) -> None:
    """Let the running lane go on to the tick, which comes before `event`: `elapsed` counts from `start`."""
    clock = sched.clock
    row = sched.request[lane]
    low = row
    while low < event:
        middle = (low + event) >> 1
        if start + sched.elapsed[middle + sched.draw[lane]] >= clock[NEXT_TICK]:
            event = middle
        else:
            low = middle + 1
    clock[RCU_TAIL] += np.int64(sched.way[low, CALLBACKS_BEFORE]) - np.int64(sched.way[row, CALLBACKS_BEFORE])
    sched.request[lane] = low
    sched.gap[lane] = start + sched.elapsed[low + sched.draw[lane]] - clock[NEXT_TICK]
    clock[NOW] = clock[NEXT_TICK]
    run_tick(sched, program.op[low, FLAGS] & GAP_USER != 0)


@kernel
def start_init(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, recording: int) -> None:
    """The state in which the kernel starts /init: only pid 1 runs. The clock and the factor of the boot are drawn."""
    clock = sched.clock
    clock[:] = 0
    clock[WRONG_ROW] = -1
    first = np.int64(program.recording[recording, RECORDING_LANE])
    lanes = np.int64(program.recording[recording, RECORDING_LANE_END]) - first
    clock[FIRST_LANE] = first
    clock[KSOFTIRQD] = lanes
    clock[CURRENT] = 0
    for lane in range(lanes):
        sched.request[lane] = program.lane[first + lane, LANE_FIRST]
        sched.draw[lane] = sched.lane_draw[first + lane] - sched.draws[recording, DRAWS_FIRST]
        sched.state[lane] = NOT_BORN
        sched.vruntime[lane] = 0
        sched.references[lane] = 0
    sched.state[0] = RUNNABLE
    sched.references[0] = 2
    sched.state[lanes] = BLOCKED
    sched.vruntime[lanes] = 0
    sched.event_count[:] = 0
    sched.event_waiter[:] = -1
    clock[NEXT_TICK] = timing.first_tick
    if timing.first_tick == 0:
        counts = sched.machine.tick_counts
        clock[NEXT_TICK] = 1 + random_below(seed, boot, PURPOSE_TICK_PHASE, 0, 0, counts, sched.scratch)
    quantile = random_below(seed, boot, PURPOSE_BOOT_FACTOR, 0, 0, 1 << FACTOR_TABLE_BITS, sched.scratch)
    clock[BOOT_FACTOR] = timing.boot_factor[quantile]


@kernel
def reset_sched(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, recording: int) -> None:
    """The state in which the kernel starts /init, and how long everything in this boot will take."""
    start_init(program, timing, sched, seed, boot, recording)
    draw_words(sched, seed, boot, recording)
    set_gaps(timing, sched, recording)


@inlined_kernel
def run_step(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any) -> bool:
    """Let whatever is on the CPU go on by one step. False if the boot cannot go on: `clock` says why (WRONG)."""
    clock = sched.clock
    current = clock[CURRENT]
    if current == IDLE:
        if clock[NR_QUEUED] > 0:
            schedule(sched, RUNNABLE)
        elif clock[NR_SLEEPERS] == 0:
            clock[WRONG] = STUCK
        else:
            clock[NOW] = clock[NEXT_TICK]
            run_tick(sched, True)
    elif current == clock[KSOFTIRQD]:
        run_ksoftirqd(sched)
    else:
        run_lane(program, timing, sched, seed, boot, current)
    return bool(clock[WRONG] == RIGHT)


@kernel
def run_boot(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, recording: int) -> bool:
    """Fill the stream with the requests of one boot in order, up to the login prompt.

    False if the prompt is never reached: `clock` says why (WRONG).
    """
    reset_sched(program, timing, sched, seed, boot, recording)
    while sched.clock[LOGIN] == 0:
        if not run_step(program, timing, sched, seed, boot):
            return False
    return True
