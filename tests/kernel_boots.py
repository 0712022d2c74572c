"""Boots of a program that no task holds, in work space of their own."""

from types import ModuleType

import numpy as np
from mcsim.kernels.linux.policy import Policy

from mcsim.kernels.boot import batch, boot, sched
from mcsim.kernels.boot.program import Program
from mcsim.kernels.boot.sched import Timing
from mcsim.kernels.linux.maple_tree import LAYOUT_32, LAYOUT_64


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
) -> np.ndarray:
    """Outcomes of boots `first` to `first` + `count` - 1; `modules` are the kernels, compiled or plain."""
    batches, boots, scheds = modules
    outcomes = np.zeros(count, batches.OUTCOME)
    memory = boots.make_boot(program, ram_mb, LAYOUT_64 if bits == 64 else LAYOUT_32)
    batches.run_boots(program, timing, policy, scheds.make_sched(program), memory, seed, first, outcomes)
    return outcomes
