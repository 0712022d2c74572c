"""Boots that are moved step by step towards failure: what `mcsim rare` is built on (mcsim/studies/rare.py).

A boot is a *particle* here: its recording, and for each other coordinate the number of the boot from which that one
takes its random numbers. These are the pre-init phase, the clock (phase of the tick and factor of the whole boot) and
each block of eight requests of each lane. A particle that has the same number everywhere is that boot of
kernels/boot/batch.py, if that draws the same recording. A random number is a function of (seed, boot, purpose, lane,
request); so a part of a boot can be drawn anew, by numbers that nothing else has used, while the rest stays as it is.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.batch import pre_init_of
from mcsim.kernels.boot.boot import RESULT_WRONG, Boot, begin_boot, place_entry, wrong
from mcsim.kernels.boot.program import (
    KIND,
    LANE_END,
    LANE_FIRST,
    OP_EXEC,
    RECORDING_LANE,
    RECORDING_LANE_END,
    RIGHT,
    Program,
)
from mcsim.kernels.boot.sched import (
    CURRENT,
    DRAWS_END,
    DRAWS_FIRST,
    FIRST_LANE,
    IDLE,
    KSOFTIRQD,
    LOGIN,
    NEXT_EVENT,
    REQUESTS_PER_BLOCK,
    STREAM_LENGTH,
    WRONG_ROW,
    Sched,
    Timing,
    run_step,
    set_gaps,
    start_init,
)
from mcsim.kernels.boot.sched import WRONG as WHY_WRONG
from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.jit.rng import PURPOSE_GAP, philox4x32
from mcsim.kernels.linux.page_alloc import Zone

# Purposes of random numbers, beside those of kernels/jit/rng.py.
PURPOSE_MOVE = 32  # which coordinates a move draws anew; k = eight coordinates
PURPOSE_COPY = 33  # which particles are copied once more than the others; entity = stage

# Coordinates of a particle; from FIRST_BLOCK on the blocks of requests.
RECORDING = 0  # the recording itself; it never changes
PRE_INIT = 1
CLOCK = 2
FIRST_BLOCK = 3

ALWAYS = 1 << 16  # a chance of one

# Danger of a boot: the sum over its execs, each of which asks for a block, of 8^-(free blocks). An exec with one free
# block less counts as eight. What was free some requests ago counts, too, less each time: an exec soon after a shortage
# would have failed a little earlier. Where no exec comes near, a shortage is no danger.
BITS_A_BLOCK = 3
MEMORY = 0.9  # from one request to the next
FAILED = math.inf
WRONG = -1.0  # none, for the boot has no outcome: Boot.result says why, see RESULT_WRONG


class Move(NamedTuple):
    """How likely a move draws a coordinate anew, in 65536ths (ALWAYS: surely)."""

    pre_init: int
    clock: int
    block: int


def block_offsets(program: Program) -> NDArray[np.int64]:
    """int64[lanes + 1]: the coordinate of the first block of each lane, the same for all recordings; then their end."""
    blocks: list[int] = []
    for recording in program.recording:
        lanes = program.lane[recording[RECORDING_LANE] : recording[RECORDING_LANE_END]]
        sizes = -(-(lanes[:, LANE_END] - lanes[:, LANE_FIRST]) // REQUESTS_PER_BLOCK)
        blocks += [0] * (len(sizes) - len(blocks))
        blocks[: len(sizes)] = np.maximum(blocks[: len(sizes)], sizes).tolist()
    return FIRST_BLOCK + np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)


@kernel
def free_blocks(zone: Zone, order: int) -> int:
    """Free blocks of `order`; a larger one counts as all that it can be cut into."""
    blocks = 0
    for larger in range(order, zone.machine.max_order):
        blocks += zone.nr_free[larger] << (larger - order)
    return int(blocks)


@kernel
def draw_words_of_particle(sched: Sched, seed: Any, offset: Any, particle: Any, recording: int) -> None:
    """draw_words() of a particle: each block from the boot that the particle names for it."""
    first = sched.draws[recording, DRAWS_FIRST] // REQUESTS_PER_BLOCK
    for block in range(first, sched.draws[recording, DRAWS_END] // REQUESTS_PER_BLOCK):
        lane = np.int64(sched.block_lane[block])
        k = np.int64(sched.block_number[block])
        philox4x32(seed, particle[offset[lane] + k], PURPOSE_GAP, lane, k, sched.scratch)
        for i in range(4):
            sched.word[4 * (block - first) + i] = np.uint32(sched.scratch[i])


@kernel
def run_particle(program: Program, timing: Timing, sched: Sched, seed: Any, offset: Any, particle: Any) -> int:
    """run_boot() of a particle. Returns its recording, -1 if it never reaches the prompt."""
    recording: Any = np.int64(particle[RECORDING])
    start_init(program, timing, sched, seed, particle[CLOCK], recording)
    draw_words_of_particle(sched, seed, offset, particle, recording)
    set_gaps(timing, sched, recording)
    clock = sched.clock
    while clock[LOGIN] == 0:
        lane = clock[CURRENT]
        number = np.int64(0)
        if lane != IDLE and lane != clock[KSOFTIRQD]:
            # All that a step draws is an artificial delay, for the event to come of the running lane.
            event = np.int64(sched.way[sched.request[lane], NEXT_EVENT])
            k = event - program.lane[clock[FIRST_LANE] + lane, LANE_FIRST]
            number = particle[offset[lane] + k // REQUESTS_PER_BLOCK]
        if not run_step(program, timing, sched, seed, number):
            return -1
    return int(recording)


@kernel
def danger_of(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    seed: Any,
    offset: Any,
    order: int,
    particle: Any,
) -> float:
    """How close a particle comes to an exec without a free block of `order`; FAILED if it fails.

    Sums and products in a fixed order: the same on every machine. WRONG if it has no outcome.
    """
    recording = run_particle(program, timing, sched, seed, offset, particle)
    if recording < 0:
        wrong(boot, sched.clock[WHY_WRONG], sched.clock[WRONG_ROW])
        return WRONG
    if not begin_boot(boot, program, pre_init_of(program, seed, particle[PRE_INIT], sched.scratch)):
        return FAILED if boot.result[RESULT_WRONG] == RIGHT else WRONG
    danger = 0.0
    shortage = 0.0
    for position in range(sched.clock[STREAM_LENGTH]):
        shortage = max(shortage * MEMORY, math.ldexp(1.0, -BITS_A_BLOCK * free_blocks(boot.memory.zone, order)))
        what = np.int64(sched.stream[position])
        if what >= 0 and program.op[what, KIND] == OP_EXEC:
            danger += shortage
        if not place_entry(boot, program, sched, recording, position):
            return FAILED if boot.result[RESULT_WRONG] == RIGHT else WRONG
    return danger


@kernel
def propose(particle: Any, proposal: Any, seed: Any, number: int, move: Move, words: Any) -> None:
    """A copy of the particle, some coordinates of which take their random numbers from boot `number` from now on."""
    for i in range(particle.shape[0]):
        if i & 7 == 0:
            philox4x32(seed, number, PURPOSE_MOVE, 0, i >> 3, words)
        bits = (np.int64(words[(i >> 1) & 3]) >> ((i & 1) * 16)) & 0xFFFF
        chance = move.block
        if i == RECORDING:
            chance = 0
        elif i == PRE_INIT:
            chance = move.pre_init
        elif i == CLOCK:
            chance = move.clock
        proposal[i] = number if bits < chance else particle[i]


@kernel
def move_particles(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    seed: Any,
    offset: Any,
    order: int,
    first: int,
    move: Move,
    level: float,
    proposal: Any,
    particles: Any,
    dangers: Any,
) -> int:
    """Offer particle i a move with the numbers of boot `first` + i; it is taken if the danger is still above `level`.

    particles: int64 (n, coordinates). dangers: float64[n], of them. proposal: int64[coordinates], work space. With a
    move of all coordinates and a level below 0, particle i becomes a plain boot of its recording. Returns how many were
    taken, -1 - i if particle i is WRONG.
    """
    taken = 0
    for i in range(particles.shape[0]):
        propose(particles[i], proposal, seed, first + i, move, sched.scratch)
        danger = danger_of(program, timing, sched, boot, seed, offset, order, proposal)
        if danger == WRONG:
            return -1 - i
        if danger > level:
            for coordinate in range(proposal.shape[0]):
                particles[i, coordinate] = proposal[coordinate]
            dangers[i] = danger
            taken += 1
    return taken
