"""Boots of a program that no task holds, in work space of their own."""

from types import ModuleType
from typing import Any

import numpy as np

from mcsim.kernels.boot import batch, boot, sched
from mcsim.kernels.boot.program import Program
from mcsim.kernels.boot.sched import Timing
from mcsim.kernels.linux.machine import Policy
from tests.machines import machine


def outcomes_of(
    program: Program,
    policy: Policy,
    timing: Timing,
    *,
    ram_mb: int,
    seed: int,
    first: int = 0,
    count: int = 1,
    bits: int = 32,
    modules: tuple[ModuleType, ModuleType, ModuleType] = (batch, boot, sched),
    **changes: Any,
) -> np.ndarray:
    """Outcomes of boots `first` to `first` + `count` - 1; `modules` are the kernels, compiled or plain.

    `changes`: facts of the shipped board that are others.
    """
    batches, boots, scheds = modules
    outcomes = np.zeros(count, batches.OUTCOME)
    board = machine(ram_mb, pointer_bits=bits, **changes)
    memory, lanes = boots.make_boot(program, board, policy), scheds.make_sched(program, board)
    batches.run_boots(program, timing, lanes, memory, seed, first, outcomes)
    return outcomes
