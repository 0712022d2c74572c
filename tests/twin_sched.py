"""A slow plain model of the scheduler: tasks are generators, run queues are heaps. Shares no code with the kernels.

Written from what is known of this machine: one CPU, CFS with a clock of whole ticks, no kernel preemption, tiny RCU.
Times are timer counts, run times microseconds.
"""

import heapq
from dataclasses import dataclass, field

from mcsim.kernels.boot import program as flat

LATENCY, GRANULARITY, WAKEUP_GRANULARITY = 6_000, 750, 1_000

READY, ASLEEP, GONE = "ready", "asleep", "gone"


def philox(counter, key):
    """Philox4x32-10 on Python's integers: words 0 and 2 are multiplied, the key grows each round."""
    x, y, z, w = counter
    for step in range(10):
        low = (key[0] + step * 0x9E3779B9) % 2**32
        high = (key[1] + step * 0xBB67AE85) % 2**32
        first, second = divmod(0xD2511F53 * x, 2**32), divmod(0xCD9E8D57 * z, 2**32)
        x, y, z, w = second[0] ^ y ^ low, second[1], first[0] ^ w ^ high, first[1]
    return x, y, z, w


def times_factor(gap, factor):
    """A factor has 20 bits behind the point; halves go up."""
    return (gap * factor + 2**19) // 2**20


@dataclass(eq=False)
class Task:
    """A lane, or ksoftirqd (number -1)."""

    number: int
    life: object = None
    vruntime: int = 0
    state: str = ASLEEP
    holds: int = 2  # who still needs the kernel stack: the parent, and the task itself


@dataclass
class Machine:
    """One boot. `stream` holds ("op", row), ("qs",), ("run",), ("task",) and ("stack", lane), each with its time.

    `facts` has the clock, the cost of ksoftirqd and the noise of an exec, as kernels/linux/machine.py names them.
    """

    program: object
    facts: object
    timing: object
    seed: int
    boot: int
    recording: int
    now: int = 0
    jiffies: int = 0
    need_resched: bool = False
    min_vruntime: int = 0
    login: bool = False
    stream: list = field(default_factory=list)
    ready_queue: list = field(default_factory=list)
    arrivals: int = 0
    sleepers: list = field(default_factory=list)  # (tick, task) in the order of going to sleep
    counts: dict = field(default_factory=dict)
    waiters: dict = field(default_factory=dict)
    waiting_callbacks: list = field(default_factory=list)
    ready_callbacks: list = field(default_factory=list)

    def __post_init__(self):
        first, end = (int(self.program.recording[self.recording, column]) for column in (0, 1))
        self.lanes = [[int(value) for value in row] for row in self.program.lane[first:end]]
        self.tasks = [Task(number) for number in range(len(self.lanes))]
        for task in self.tasks:
            task.life = self.live(task)
        self.ksoftirqd = Task(-1)
        self.ksoftirqd.life = self.live_ksoftirqd()
        self.current = self.tasks[0]
        self.current.state = READY
        self.next_tick = self.timing.first_tick or 1 + self.below(4, self.facts.tick_counts)
        self.boot_factor = int(self.timing.boot_factor[self.below(3, 4096)])

    # -- random numbers ----------------------------------------------------------------------------------------

    def words(self, purpose, entity, k):
        counter = (self.boot % 2**32, self.boot // 2**32 + purpose * 2**16, entity, k)
        return philox(counter, (self.seed % 2**32, self.seed // 2**32))

    def below(self, purpose, limit):
        return self.words(purpose, 0, 0)[0] * limit // 2**32

    def draw_gap(self, task, k, gap):
        """Eight requests share four words, 16 bits each, the lower half first; the upper 12 are the quantile."""
        word = self.words(5, task.number, k // 8)[k % 8 // 2]
        bits = word // 2**16 if k % 2 else word % 2**16
        return times_factor(times_factor(gap, int(self.timing.gap_factor[bits // 16])), self.boot_factor)

    # -- tasks ---------------------------------------------------------------------------------------------------

    def live(self, task):
        """What a lane does; it yields its new state where it lets go of the CPU."""
        first, end, *_ = self.lanes[task.number]
        for k, row in enumerate(range(first, end)):
            kind, flags, gap, a, b, _ = (int(value) for value in self.program.op[row])
            user = bool(flags & flat.GAP_USER)
            left = self.draw_gap(task, k, gap)
            while True:
                if self.need_resched and user:
                    yield READY
                elif self.now + left >= self.next_tick:
                    left -= self.next_tick - self.now
                    self.now = self.next_tick
                    self.tick(user)
                else:
                    break
            self.now += left
            if flags & flat.CALL_RCU:
                self.waiting_callbacks.append(("other", None))
            slept = yield from self.request(task, kind, a, b, row, k)
            if flags & flat.RESCHED_AFTER and self.need_resched and not slept:
                yield READY

    def request(self, task, kind, a, b, row, k):
        """One request. Returns whether the task slept in it."""
        if kind <= flat.LAST_PAGE_OP:
            self.emit("op", row)
        elif kind == flat.OP_FORK:
            self.fork(task, self.tasks[a])
        elif kind == flat.OP_WAIT:
            if self.counts.get(a, 0) < b:
                self.waiters.setdefault(a, []).insert(0, (b, task))
                yield ASLEEP
                return True
        elif kind == flat.OP_SIGNAL:
            self.signal(a, b)
        elif kind == flat.OP_SLEEP:
            self.sleepers.append((self.jiffies + a, task))
            yield ASLEEP
            return True
        elif kind == flat.OP_EXIT_NOTIFY:
            self.signal(a, 1)
        elif kind == flat.OP_RELEASE_TASK:
            self.let_go(self.tasks[a])
        elif kind == flat.OP_DEAD:
            yield GONE
        elif kind == flat.OP_LOGIN:
            self.emit("op", row)
            self.login = True
            yield READY
        elif kind == flat.OP_EXEC_DELAY and self.timing.exec_delay == 2:
            self.spend(a)
            if b:
                self.sleepers.append((self.jiffies + b, task))
                yield ASLEEP
                return True
        elif kind == flat.OP_EXEC_DELAY and self.timing.exec_delay == 1:
            spin, coin, ticks, _ = self.words(6, task.number, k)
            self.spend(spin * self.facts.noise_delay_counts // 2**32)
            if coin % 2:
                self.sleepers.append((self.jiffies + ticks * self.facts.noise_sleep_ticks // 2**32 + 1, task))
                yield ASLEEP
                return True
        return False

    def live_ksoftirqd(self):
        while True:
            tasks = self.run_callbacks()
            counts = self.facts.softirq_counts + self.facts.softirq_counts_task * tasks
            self.spend(times_factor(counts, self.boot_factor))
            while self.quiescent():
                self.run_callbacks()
            yield ASLEEP

    def spend(self, counts):
        """CPU time in the kernel."""
        end = self.now + counts
        while self.next_tick <= end:
            self.now = self.next_tick
            self.tick(False)
        self.now = end

    # -- events --------------------------------------------------------------------------------------------------

    def emit(self, *what):
        self.stream.append((what, self.now))

    def signal(self, event, count):
        self.counts[event] = self.counts.get(event, 0) + count
        waiters = self.waiters.pop(event, [])
        self.waiters[event] = [(need, task) for need, task in waiters if need > self.counts[event]]
        for need, task in waiters:
            if need <= self.counts[event]:
                self.wake(task)

    def tick(self, user):
        self.next_tick += self.facts.tick_counts
        self.jiffies += 1
        if self.current is not None:
            self.current.vruntime += self.facts.tick_us
            self.raise_min_vruntime(self.current)
            if self.ready_queue:
                self.need_resched = True
        if not user:
            self.need_resched |= bool(self.waiting_callbacks)
        elif self.quiescent() and self.ksoftirqd.state is ASLEEP:
            self.run_callbacks()
        due = [task for tick, task in self.sleepers if tick <= self.jiffies]
        self.sleepers = [(tick, task) for tick, task in self.sleepers if tick > self.jiffies]
        for task in due:
            self.wake(task)

    # -- RCU -----------------------------------------------------------------------------------------------------

    def quiescent(self):
        if not self.waiting_callbacks:
            return False
        self.ready_callbacks += self.waiting_callbacks
        self.waiting_callbacks = []
        self.emit("qs")
        return True

    def run_callbacks(self):
        self.emit("run")
        callbacks, self.ready_callbacks = self.ready_callbacks, []
        for kind, task in callbacks:
            if kind == "task":
                self.emit("task")
                self.waiting_callbacks.append(("stack", task))
            elif kind == "stack":
                self.emit("stack", task.number)
        return sum(kind == "task" for kind, _ in callbacks)

    def let_go(self, task):
        task.holds -= 1
        if task.holds == 0:
            self.waiting_callbacks.append(("task", task))

    # -- CFS -----------------------------------------------------------------------------------------------------

    def enqueue(self, task):
        task.state = READY
        heapq.heappush(self.ready_queue, (task.vruntime, self.arrivals, task))
        self.arrivals += 1

    def raise_min_vruntime(self, running):
        candidates = [entry[0] for entry in self.ready_queue[:1]]
        if running is not None:
            candidates.append(running.vruntime)
        if candidates:
            self.min_vruntime = max(self.min_vruntime, min(candidates))

    def wake(self, task):
        task.vruntime = max(task.vruntime, self.min_vruntime - LATENCY // 2)
        self.enqueue(task)
        if self.current is None or self.current.vruntime - task.vruntime > WAKEUP_GRANULARITY:
            self.need_resched = True

    def fork(self, parent, child):
        runnable = len(self.ready_queue) + 2
        behind = self.min_vruntime + max(GRANULARITY, LATENCY // runnable)
        child.vruntime = max(parent.vruntime, behind)
        self.enqueue(child)

    def switch(self, state):
        previous = self.current
        if self.quiescent() and self.ksoftirqd.state is ASLEEP and previous is not self.ksoftirqd:
            self.wake(self.ksoftirqd)
        if previous is not None:
            previous.state = state
            if state is READY:
                self.enqueue(previous)
            else:
                self.raise_min_vruntime(None)
        self.need_resched = False
        self.current = heapq.heappop(self.ready_queue)[2] if self.ready_queue else None
        if state is GONE:
            self.let_go(previous)

    def run(self):
        """Up to the login prompt. False if everything waits for ever."""
        while not self.login:
            if self.current is not None:
                state = next(self.current.life)
                if not self.login:
                    self.switch(state)
            elif self.ready_queue:
                self.switch(READY)
            elif self.sleepers:
                self.now = self.next_tick
                self.tick(True)
            else:
                return False
        return True
