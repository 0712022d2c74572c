"""Many boots of one machine under one variant, in work space of the caller."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.boot import (
    RESULT_CLASS,
    RESULT_ORDER,
    RESULT_POSITION,
    RESULT_ROW,
    RESULT_WRONG,
    Boot,
    begin_boot,
    place_entry,
    restore_init,
    save_init,
    wrong,
)
from mcsim.kernels.boot.program import LANE_FIRST, LANE_PID, RECORDING_LANE, RECORDING_LANE_END, RIGHT, Program
from mcsim.kernels.boot.sched import (
    BOOT_FACTOR,
    LOGIN,
    STREAM_LENGTH,
    WRONG_ROW,
    Sched,
    Timing,
    reset_sched,
    run_step,
)
from mcsim.kernels.boot.sched import WRONG as WHY_WRONG
from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.jit.rng import PURPOSE_PRE_INIT, PURPOSE_RECORDING, random_below
from mcsim.kernels.linux.page_alloc import largest_free_order, nr_free_pages

PID_KERNEL = 0  # whose request failed, where no process had made it
SLICE_SECONDS = 0.25  # for so long about, Python waits for the kernels: then it can see to a Ctrl-C
STRETCH = 64  # requests that are put in order at a time, at least

# How a boot ends.
BOOTED = 0
FAILED = 1
WRONG = 2  # not at all: Boot.result says why, see RESULT_WRONG

# One record a boot: its number; the recordings whose user phase and pre-init phase it runs; whether and why it failed
# (classes of boot.py), at which order, in which process of the recording, when (microseconds since the kernel
# started /init); free pages and largest free order at that moment or at the login prompt, -1 if no page is free; the
# factor of all its CPU gaps, in fixed point (kernels/jit/rng.py: FACTOR_BITS).
OUTCOME = np.dtype(
    [
        ("boot", np.int64),
        ("recording", np.int16),
        ("pre_init", np.int16),
        ("failed", np.int8),
        ("failure_class", np.int8),
        ("order", np.int8),
        ("process", np.int32),
        ("time_us", np.int64),
        ("free_pages", np.int32),
        ("largest_free_order", np.int8),
        ("boot_factor", np.int32),
    ]
)


class WrongProgramError(Exception):
    """Boot `boot` has no outcome, for the reason `why` (program.py), at row `row` of `op` (-1: at none)."""

    def __init__(self, boot: int, why: int, row: int) -> None:
        """For the Python face, which has words for it."""
        super().__init__(boot, why, row)
        self.boot, self.why, self.row = boot, why, row


@kernel
def lane_of(program: Program, recording: int, row: int) -> int:
    """The lane (absolute row) that a request belongs to: lanes lie in order, so the last that begins at or before."""
    low = np.int64(program.recording[recording, RECORDING_LANE])
    high = np.int64(program.recording[recording, RECORDING_LANE_END]) - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if program.lane[middle, LANE_FIRST] <= row:
            low = middle
        else:
            high = middle - 1
    return int(low)


@kernel
def run_and_place(
    program: Program, timing: Timing, sched: Sched, boot: Boot, seed: Any, number: int, recording: int
) -> int:
    """The user phase of boot `number` on memory as the kernel starts /init: BOOTED, FAILED or WRONG.

    Requests are put in order a stretch at a time, because after a failure nobody asks for the rest.
    """
    reset_sched(program, timing, sched, seed, number, recording)
    clock = sched.clock
    position = 0
    while clock[LOGIN] == 0:
        while clock[LOGIN] == 0 and clock[STREAM_LENGTH] < position + STRETCH:
            if not run_step(program, timing, sched, seed, number):
                wrong(boot, clock[WHY_WRONG], clock[WRONG_ROW])
                return WRONG
        end = clock[STREAM_LENGTH]
        while position < end:
            if not place_entry(boot, program, sched, recording, position):
                return FAILED if boot.result[RESULT_WRONG] == RIGHT else WRONG
            position += 1
    return BOOTED


@kernel
def write_outcome(
    program: Program, sched: Sched, boot: Boot, number: int, recording: int, failed: bool, outcome: Any
) -> None:
    """Complete the record of a boot (one element, OUTCOME) that has ended."""
    outcome["boot"] = number
    outcome["failed"] = 1 if failed else 0
    outcome["failure_class"] = boot.result[RESULT_CLASS]
    outcome["order"] = boot.result[RESULT_ORDER] if failed else -1
    outcome["process"] = -1
    position = sched.clock[STREAM_LENGTH] - 1
    if failed:
        position = boot.result[RESULT_POSITION]
        outcome["process"] = PID_KERNEL
        if position >= 0 and sched.stream[position] >= 0:
            lane = lane_of(program, recording, np.int64(sched.stream[position]))
            outcome["process"] = program.lane[lane, LANE_PID]
    outcome["time_us"] = 0
    if position >= 0:
        outcome["time_us"] = np.int64(sched.stream_time[position]) * boot.memory.zone.machine.timer_ns // 1000
    outcome["free_pages"] = nr_free_pages(boot.memory.zone)
    outcome["largest_free_order"] = largest_free_order(boot.memory.zone)
    outcome["boot_factor"] = sched.clock[BOOT_FACTOR]


@kernel
def recording_of(program: Program, seed: Any, number: Any, words: Any) -> int:
    """The recording whose user phase boot `number` runs."""
    return int(random_below(seed, number, PURPOSE_RECORDING, 0, 0, program.recording.shape[0], words))


@kernel
def pre_init_of(program: Program, seed: Any, number: Any, words: Any) -> int:
    """The pre-init phase that boot `number` runs."""
    return int(random_below(seed, number, PURPOSE_PRE_INIT, 0, 0, program.pre_init_range.shape[0], words))


@kernel
def draw_recordings(program: Program, sched: Sched, seed: Any, first: int, outcomes: Any) -> None:
    """Draw what boots from `first` on run, into their records."""
    for i in range(outcomes.shape[0]):
        outcomes[i]["recording"] = recording_of(program, seed, first + i, sched.scratch)
        outcomes[i]["pre_init"] = pre_init_of(program, seed, first + i, sched.scratch)


@kernel
def end_boot(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    ready: bool,
    seed: Any,
    number: int,
    outcome: Any,
) -> bool:
    """Run the user phase of boot `number`, if its pre-init phase got memory `ready`, and complete its record.

    outcome: one element, OUTCOME, with what the boot runs. False if it is WRONG.
    """
    recording = np.int64(outcome["recording"])
    result = FAILED
    if ready:
        result = run_and_place(program, timing, sched, boot, seed, number, recording)
    else:
        reset_sched(program, timing, sched, seed, number, recording)
    if result == WRONG or boot.result[RESULT_WRONG] != RIGHT:
        return False
    write_outcome(program, sched, boot, number, recording, result == FAILED, outcome)
    return True


@kernel
def simulate_boots(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    seed: Any,
    first: int,
    order: NDArray[np.int64],
    outcomes: Any,
) -> int:
    """Simulate boots first + i for each i of `order` and complete their records; the first i that is WRONG, or -1.

    Boots with the same pre-init phase one after another: it leaves the same memory behind for all of them.
    """
    prepared = np.int64(-1)
    ready = False
    for place in range(order.shape[0]):
        i = order[place]
        phase = np.int64(outcomes[i]["pre_init"])
        if phase != prepared:
            prepared = phase
            ready = begin_boot(boot, program, phase)
            save_init(boot)
        if ready:
            restore_init(boot)
        if not end_boot(program, timing, sched, boot, ready, seed, first + i, outcomes[i]):
            return int(i)
    return -1


def run_boots(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    seed: int,
    first: int,
    outcomes: NDArray[np.void],
) -> None:
    """Fill outcomes[i] (OUTCOME) for boot first + i of one machine under one policy.

    Boot k depends on nothing but program, timing, policy, seed, k and what `boot` was made for: not on what the work
    space (`sched`, `boot`) was used for before. The last of the boots can be looked at there afterwards. Lets go of the
    GIL. Raises WrongProgramError for a boot that has no outcome.
    """
    draw_recordings(program, sched, seed, first, outcomes)
    # Alike ones together: what they have in common is then in the processor's caches.
    order = np.lexsort((outcomes["recording"], outcomes["pre_init"]))
    for part in slices(len(order)):
        without = simulate_boots(program, timing, sched, boot, seed, first, order[part], outcomes)
        if without >= 0:
            raise WrongProgramError(first + without, int(boot.result[RESULT_WRONG]), int(boot.result[RESULT_ROW]))


def slices(count: int, most: int = 1 << 30) -> Iterator[slice]:
    """Parts of `count` boots, at most so many each: one, then as many as take SLICE_SECONDS. Of none, one part."""
    place, size = 0, 1
    while place < max(1, count):
        began = time.perf_counter()
        yield slice(place, min(place + size, count))
        seconds = max(time.perf_counter() - began, 1e-6)
        place += size
        size = max(1, min(8 * size, int(size * SLICE_SECONDS / seconds), most))
