"""The order of a boot's requests: lanes on one CPU under CFS as this kernel runs it (kernel/sched/fair.c, Linux 6.1).

sched_clock() is the jiffies counter, so run time is seen in whole ticks only: the task that runs at the tick pays the
whole tick. There is no kernel preemption; a reschedule is honoured on the return to user mode and in cond_resched().
Kernel stacks of dead tasks come back through two RCU callbacks, run by ksoftirqd or by the tick's softirq.

The order depends on the recording, the random timing and nothing else, neither the variant nor the RAM size: it is
worked out first, as a stream of requests, and the pages are placed afterwards (kernels/boot.py).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.compile import inlined_kernel, kernel
from kernels.program import (
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
    OP_RELEASE_TASK,
    OP_SIGNAL,
    OP_SLEEP,
    OP_WAIT,
    RECORDING_EVENTS,
    RECORDING_LANE,
    RECORDING_LANE_END,
    RESCHED_AFTER,
    A,
    B,
    Program,
)
from kernels.rng import (
    FACTOR_TABLE_BITS,
    PURPOSE_BOOT_FACTOR,
    PURPOSE_EXEC_DELAY,
    PURPOSE_GAP,
    PURPOSE_TICK_PHASE,
    philox4x32,
    random_below,
    scale,
)

COUNTS_PER_TICK = 13021  # timer counts of 768 ns in 10 ms

# Run times in microseconds, as CFS on one CPU has them.
TICK_RUNTIME = 10_000
SCHED_LATENCY = 6_000
MIN_GRANULARITY = 750
WAKEUP_GRANULARITY = 1_000
SLEEPER_CREDIT = SCHED_LATENCY // 2

# CPU time of ksoftirqd, in counts: least squares over 1,155 runs in recordings (20 + 2.5 a callback + 43 a task).
SOFTIRQ_COUNTS = 37
SOFTIRQ_COUNTS_TASK = 43

# What the artificial noise of the recorded boots did at each exec: a delay of 0..996 us, then for one in two a sleep
# of 0, 1 or 2 ticks; schedule_timeout(n) ends at the (n+1)-th tick.
EXEC_DELAY_COUNTS = 1297
EXEC_SLEEP_TICKS = 3

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

# Kinds of RCU callback, in the low bits of a queue entry; the lane stands above.
CALLBACK_OTHER = 0
CALLBACK_TASK = 1
CALLBACK_STACK = 2

# Indices of `clock`.
NOW = 0
NEXT_TICK = 1
JIFFIES = 2
CURRENT = 3
NEED_RESCHED = 4
NR_QUEUED = 5
MIN_VRUNTIME = 6
SEQUENCE = 7
STREAM_LENGTH = 8
RCU_HEAD = 9
RCU_DONE = 10
RCU_TAIL = 11
NR_SLEEPERS = 12
BOOT_FACTOR = 13
LOGIN = 14
KSOFTIRQD = 15
FIRST_LANE = 16
CLOCK_SIZE = 17


class Timing(NamedTuple):
    """The random part of a boot's timing.

    gap_factor, boot_factor: int32[4096], equally likely factors in fixed point (kernels/rng.py:FACTOR_BITS).
    exec_delay: one of EXEC_DELAY_*. first_tick: counts to the first tick, 0 draws them (1..COUNTS_PER_TICK).
    """

    gap_factor: NDArray[np.int32]
    boot_factor: NDArray[np.int32]
    exec_delay: int
    first_tick: int = 0


class Sched(NamedTuple):
    """Work space of one worker, reset for each boot. Lanes count from the recording's first; the last is ksoftirqd.

    clock: int64 scalars. lane columns: int64. stream: int32, requests in order; stream_time: int64, when (counts).
    """

    clock: NDArray[np.int64]
    request: NDArray[np.int64]  # row of `op` to come
    gap: NDArray[np.int64]  # counts left before it
    started: NDArray[np.int64]  # whether its gap was drawn
    state: NDArray[np.int64]
    vruntime: NDArray[np.int64]
    sequence: NDArray[np.int64]  # order of enqueueing, for ties
    wait_count: NDArray[np.int64]
    next_waiter: NDArray[np.int64]
    wake_tick: NDArray[np.int64]
    references: NDArray[np.int64]  # 2: not yet reaped and not yet switched away from for the last time
    queue: NDArray[np.int64]  # runnable lanes but the running one, in no order
    sleepers: NDArray[np.int64]
    event_count: NDArray[np.int64]
    event_waiter: NDArray[np.int64]  # first lane that waits, -1 none
    callback: NDArray[np.int64]
    word: NDArray[np.uint64]  # (lanes, 4): the block of random words a lane draws from
    scratch: NDArray[np.uint64]
    stream: NDArray[np.int32]
    stream_time: NDArray[np.int64]


def make_sched(program: Program) -> Sched:
    """Work space that is large enough for every recording of a program."""
    lanes = int((program.recording[:, RECORDING_LANE_END] - program.recording[:, RECORDING_LANE]).max()) + 1
    events = int(program.recording[:, RECORDING_EVENTS].max())
    first = program.lane[program.recording[:, RECORDING_LANE], LANE_FIRST]
    end = program.lane[program.recording[:, RECORDING_LANE_END] - 1, LANE_END]
    requests = int((end - first).max())
    # No request is made twice. Each queues at most one callback; a dead lane queues two, its task's and its stack's.
    callbacks = requests + 2 * lanes
    # Requests; a quiescent state and a run for each callback at most; the tasks and the stacks that come back.
    stream = requests + 2 * callbacks + 2 * lanes

    def column() -> NDArray[np.int64]:
        return np.zeros(lanes, np.int64)

    return Sched(
        clock=np.zeros(CLOCK_SIZE, np.int64),
        request=column(),
        gap=column(),
        started=column(),
        state=column(),
        vruntime=column(),
        sequence=column(),
        wait_count=column(),
        next_waiter=column(),
        wake_tick=column(),
        references=column(),
        queue=column(),
        sleepers=column(),
        event_count=np.zeros(events, np.int64),
        event_waiter=np.zeros(events, np.int64),
        callback=np.zeros(callbacks, np.int64),
        word=np.zeros((lanes, 4), np.uint64),
        scratch=np.zeros(4, np.uint64),
        stream=np.zeros(stream, np.int32),
        stream_time=np.zeros(stream, np.int64),
    )


@inlined_kernel
def emit(sched: Sched, what: int) -> None:
    """Append to the stream."""
    clock = sched.clock
    n = clock[STREAM_LENGTH]
    sched.stream[n] = what
    sched.stream_time[n] = clock[NOW]
    clock[STREAM_LENGTH] = n + 1


@inlined_kernel
def leftmost(sched: Sched) -> int:
    """Position in the queue of the lane with the smallest vruntime, first come first on a tie; -1 if it is empty."""
    best = -1
    for i in range(sched.clock[NR_QUEUED]):
        if best < 0:
            best = i
            continue
        lane = sched.queue[i]
        other = sched.queue[best]
        if sched.vruntime[lane] < sched.vruntime[other] or (
            sched.vruntime[lane] == sched.vruntime[other] and sched.sequence[lane] < sched.sequence[other]
        ):
            best = i
    return best


@inlined_kernel
def update_min_vruntime(sched: Sched, with_current: bool) -> None:
    """update_min_vruntime(): never goes back."""
    clock = sched.clock
    position = leftmost(sched)
    lowest = NEVER
    if position >= 0:
        lowest = sched.vruntime[sched.queue[position]]
    if with_current and clock[CURRENT] != IDLE:
        lowest = min(lowest, sched.vruntime[clock[CURRENT]])
    if lowest != NEVER and lowest > clock[MIN_VRUNTIME]:
        clock[MIN_VRUNTIME] = lowest


@inlined_kernel
def enqueue(sched: Sched, lane: int) -> None:
    """Make a lane runnable, behind those with the same vruntime."""
    clock = sched.clock
    sched.queue[clock[NR_QUEUED]] = lane
    clock[NR_QUEUED] += 1
    sched.sequence[lane] = clock[SEQUENCE]
    clock[SEQUENCE] += 1
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
def call_rcu(sched: Sched, callback: int) -> None:
    """Queue a callback."""
    clock = sched.clock
    sched.callback[clock[RCU_TAIL]] = callback
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
    while clock[RCU_HEAD] < clock[RCU_DONE]:
        callback = sched.callback[clock[RCU_HEAD]]
        clock[RCU_HEAD] += 1
        lane = callback >> 2
        kind = callback & 3
        if kind == CALLBACK_TASK:
            tasks += 1
            emit(sched, STREAM_TASK_FREE)
            call_rcu(sched, (lane << 2) | CALLBACK_STACK)
        elif kind == CALLBACK_STACK:
            emit(sched, STREAM_STACK_FREE - lane)
    return tasks


@inlined_kernel
def put_task(sched: Sched, lane: int) -> None:
    """put_task_struct_rcu_user(): the second of reaping and last switch queues the stack's first callback."""
    sched.references[lane] -= 1
    if sched.references[lane] == 0:
        call_rcu(sched, (lane << 2) | CALLBACK_TASK)


@kernel
def run_tick(sched: Sched, user: bool) -> None:
    """The timer interrupt: the running task pays the tick, sleepers wake, callbacks may run."""
    clock = sched.clock
    clock[NEXT_TICK] += COUNTS_PER_TICK
    clock[JIFFIES] += 1
    current = clock[CURRENT]
    if current != IDLE:
        sched.vruntime[current] += TICK_RUNTIME
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
    position = leftmost(sched)
    clock[NEED_RESCHED] = 0
    if position < 0:
        clock[CURRENT] = IDLE
    else:
        clock[CURRENT] = sched.queue[position]
        clock[NR_QUEUED] -= 1
        sched.queue[position] = sched.queue[clock[NR_QUEUED]]
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
    tasks = rcu_process_callbacks(sched)
    pass_time(sched, scale(SOFTIRQ_COUNTS + tasks * SOFTIRQ_COUNTS_TASK, clock[BOOT_FACTOR]))
    while rcu_qs(sched):
        rcu_process_callbacks(sched)
    schedule(sched, BLOCKED)


@inlined_kernel
def random_bits(sched: Sched, seed: Any, boot: Any, lane: int, k: int) -> int:
    """16 random bits of request k of a lane; eight requests share a block of words."""
    if k & 7 == 0:
        philox4x32(seed, boot, PURPOSE_GAP, lane, k >> 3, sched.word[lane])
    word = np.int64(sched.word[lane, (k >> 1) & 3])
    return int((word >> ((k & 1) * 16)) & 0xFFFF)


@inlined_kernel
def start_request(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, lane: int) -> None:
    """Draw the CPU time before a lane's next request."""
    row = sched.request[lane]
    first = program.lane[sched.clock[FIRST_LANE] + lane, LANE_FIRST]
    bits = random_bits(sched, seed, boot, lane, row - first)
    gap = scale(np.int64(program.op[row, GAP]), np.int64(timing.gap_factor[bits >> (16 - FACTOR_TABLE_BITS)]))
    gap = scale(gap, sched.clock[BOOT_FACTOR])
    sched.gap[lane] = gap
    sched.started[lane] = 1


@kernel
def signal(sched: Sched, event: int, count: int) -> None:
    """Raise an event's count and wake the lanes that wait for no more than it."""
    sched.event_count[event] += count
    previous = -1
    lane = sched.event_waiter[event]
    while lane >= 0:
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
    delay = np.int64(sched.scratch[0]) * EXEC_DELAY_COUNTS >> 32
    sleep = np.int64(sched.scratch[1]) & 1
    ticks = np.int64(sched.scratch[2]) * EXEC_SLEEP_TICKS >> 32
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
    sched.request[lane] = row + 1
    sched.started[lane] = 0
    kind = program.op[row, KIND]
    flags = program.op[row, FLAGS]
    a = np.int64(program.op[row, A])
    b = np.int64(program.op[row, B])
    if flags & CALL_RCU:
        call_rcu(sched, CALLBACK_OTHER)
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
    """Let the running lane go on to the tick, to a reschedule or through its next request, whichever comes first."""
    clock = sched.clock
    if sched.started[lane] == 0:
        start_request(program, timing, sched, seed, boot, lane)
    flags = program.op[sched.request[lane], FLAGS]
    if clock[NEED_RESCHED] == 1 and flags & GAP_USER:
        schedule(sched, RUNNABLE)
        return
    if clock[NOW] + sched.gap[lane] >= clock[NEXT_TICK]:
        sched.gap[lane] -= clock[NEXT_TICK] - clock[NOW]
        clock[NOW] = clock[NEXT_TICK]
        run_tick(sched, flags & GAP_USER != 0)
        return
    clock[NOW] += sched.gap[lane]
    sched.gap[lane] = 0
    run_request(program, timing, sched, seed, boot, lane)


@kernel
def reset_sched(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, recording: int) -> None:
    """The state in which the kernel starts /init: only pid 1 runs."""
    clock = sched.clock
    clock[:] = 0
    first = np.int64(program.recording[recording, RECORDING_LANE])
    lanes = np.int64(program.recording[recording, RECORDING_LANE_END]) - first
    clock[FIRST_LANE] = first
    clock[KSOFTIRQD] = lanes
    clock[CURRENT] = 0
    for lane in range(lanes):
        sched.request[lane] = program.lane[first + lane, LANE_FIRST]
        sched.started[lane] = 0
        sched.state[lane] = NOT_BORN
        sched.vruntime[lane] = 0
    sched.state[0] = RUNNABLE
    sched.references[0] = 2
    sched.state[lanes] = BLOCKED
    sched.vruntime[lanes] = 0
    sched.event_count[:] = 0
    sched.event_waiter[:] = -1
    clock[NEXT_TICK] = timing.first_tick
    if timing.first_tick == 0:
        clock[NEXT_TICK] = 1 + random_below(seed, boot, PURPOSE_TICK_PHASE, 0, 0, COUNTS_PER_TICK, sched.scratch)
    quantile = random_below(seed, boot, PURPOSE_BOOT_FACTOR, 0, 0, 1 << FACTOR_TABLE_BITS, sched.scratch)
    clock[BOOT_FACTOR] = timing.boot_factor[quantile]


@inlined_kernel
def run_step(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any) -> bool:
    """Let whatever is on the CPU go on by one step. False if every lane waits: then the program itself is wrong."""
    clock = sched.clock
    current = clock[CURRENT]
    if current == IDLE:
        if clock[NR_QUEUED] > 0:
            schedule(sched, RUNNABLE)
        elif clock[NR_SLEEPERS] == 0:
            return False
        else:
            clock[NOW] = clock[NEXT_TICK]
            run_tick(sched, True)
    elif current == clock[KSOFTIRQD]:
        run_ksoftirqd(sched)
    else:
        run_lane(program, timing, sched, seed, boot, current)
    return True


@kernel
def run_boot(program: Program, timing: Timing, sched: Sched, seed: Any, boot: Any, recording: int) -> bool:
    """Fill the stream with the requests of one boot in order, up to the login prompt.

    False if the prompt is never reached because every lane waits.
    """
    reset_sched(program, timing, sched, seed, boot, recording)
    while sched.clock[LOGIN] == 0:
        if not run_step(program, timing, sched, seed, boot):
            return False
    return True
