"""A population of boots that mcsim/studies/rare.py moves towards failure; the kernels do it (boot/splitting.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mcsim.simulator import simulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.model.experiment import Task

SLICE = 32  # boots from one word to the user to the next, at most
FIRST_BOOT = 1 << 40  # beyond the numbers of boots that `mcsim run` simulates
BOOTS_SHIFT = 28  # numbers for each recording in each repetition: more than a chain uses (mcsim/studies/rare.py: SIZES)
MAX_REPETITIONS = 10_000

# What is drawn anew in one move, as chances: pre-init phase, clock, each block of requests. Any choice gives an
# unbiased estimate. Few blocks are taken often and change little, many seldom and much; the early boot, a tenth of the
# blocks, decides. Chains whose moves change less end with one boot and its copies (docs/statistics.md, Rare events).
MOVES = (
    (0.5, 0.0, 1 / 32),
    (0.0, 0.2, 1 / 32),
    (0.0, 0.0, 1 / 16),
    (0.0, 0.0, 1 / 8),
)
ROUNDS = 2  # of these moves at each level
MOVES_A_LEVEL = ROUNDS * len(MOVES)


class Population:
    """So many boots of one recording of a task, and how dangerous each is.

    All random numbers follow from `repetition` and `recording`.
    """

    def __init__(
        self,
        task: Task,
        source: str,
        size: int,
        repetition: int,
        recording: int,
        order: int,
        tell: Callable[[int], None],
    ) -> None:
        """`tell` is told of boots that have been simulated; `order` is that of the blocks that may run out."""
        import numpy as np

        from mcsim.kernels.boot.splitting import RECORDING, block_offsets

        self._simulator = simulator.Simulator(task, simulator.load_workload(source, task.board))
        program = self._simulator.program
        offset = block_offsets(program)
        self._how = (task.seed, offset, order)
        self._seed = task.seed
        self._first = FIRST_BOOT + ((repetition * len(program.recording) + recording) << BOOTS_SHIFT)
        self._tell = tell
        self._proposal = np.zeros(int(offset[-1]), np.int64)
        self._particles = np.zeros((size, int(offset[-1])), np.int64)
        self._particles[:, RECORDING] = recording
        self.dangers: NDArray[np.float64] = np.zeros(size)
        self.boots = 0

    def start(self) -> None:
        """Plain boots."""
        self._offer((1.0, 1.0, 1.0), -1.0)

    def move(self, level: float) -> float:
        """Offer each boot all moves, under which it stays above `level`; the share that was taken."""
        taken = sum(self._offer(chances, level) for _ in range(ROUNDS) for chances in MOVES)
        return taken / (MOVES_A_LEVEL * len(self.dangers))

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Put boot chosen[i] in the place of boot i."""
        self._particles = self._particles[chosen]
        self.dangers = self.dangers[chosen]

    def below(self, limit: int, stage: int) -> int:
        """A random number in [0, limit)."""
        import numpy as np

        from mcsim.kernels.boot.splitting import PURPOSE_COPY
        from mcsim.kernels.jit.rng import random_below

        return random_below(self._seed, self._first, PURPOSE_COPY, stage, 0, limit, np.zeros(4, np.uint64))

    def _offer(self, chances: tuple[float, ...], level: float) -> int:
        from mcsim.kernels.boot.batch import slices
        from mcsim.kernels.boot.splitting import ALWAYS, Move, move_particles

        move = Move(*(round(ALWAYS * chance) for chance in chances))
        taken = 0
        for part in slices(len(self.dangers), SLICE):
            dangers = self.dangers[part]
            where = (self._first + self.boots, move, level, self._proposal, self._particles[part], dangers)
            accepted = move_particles(*self._simulator.cell, *self._how, *where)
            if accepted < 0:
                raise self._simulator.no_outcome(self._first + self.boots - 1 - accepted)
            taken += accepted
            self.boots += len(dangers)
            self._tell(len(dangers))
        return taken


def warm_up(task: Task, source: str, order: int) -> None:
    """Compile the kernels, or load them from the cache."""
    Population(task, source, 1, 0, 0, order, lambda boots: None).start()


def recordings_of(task: Task, source: str) -> int:
    """How many recordings the workload has; a boot draws each as likely as another."""
    return len(simulator.load_workload(source, task.board).arrays.recording)


def largest_order(task: Task, source: str) -> int:
    """The order of the largest block that a program image of the workload needs: what a boot runs out of first."""
    program = simulator.load_workload(source, task.board).arrays
    largest = max((max(simulator.image_mappings(program, each)) for each in range(len(program.image))), default=1)
    return (-(-max(1, largest) // task.board.machine.page_size) - 1).bit_length()
