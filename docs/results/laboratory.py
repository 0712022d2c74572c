"""Single boots of the shipped experiment, on machines of our own making: what `mcsim run` does not ask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot import batch
from mcsim.kernels.boot.boot import RESULT_POSITION, Boot, make_boot, place_boot
from mcsim.kernels.boot.sched import STREAM_LENGTH, make_sched, run_boot
from mcsim.kernels.linux.machine import Machine
from mcsim.model.experiment import load
from mcsim.simulator.machine import machine_of, policy_of
from mcsim.simulator.simulator import kernel_timing, load_workload


class Laboratory:
    """The workload, timing, board, variants and seed of a shipped experiment."""

    def __init__(self, name: str = "mail-2022") -> None:
        """Load what `mcsim run NAME` runs."""
        experiment = load(name)
        self.program: Any = load_workload(experiment.workload, experiment.board).arrays
        self.timing = kernel_timing(experiment.timing)
        self.policies = {each.name: policy_of(each.policies) for each in experiment.variants}
        self.seed = experiment.seed
        self.board = experiment.board
        self.sched = make_sched(self.program, self.machine(experiment.ram[0] >> 20))

    def machine(self, ram_mb: int) -> Machine:
        """The board with so many megabytes."""
        return machine_of(self.board, ram_mb << 20)

    def boot(self, machine: Machine, variant: str) -> Boot:
        """Memory for boots of a machine under a variant."""
        return make_boot(self.program, machine, self.policies[variant])

    def outcomes(self, boot: Boot, boots: int) -> NDArray[np.void]:
        """Outcomes (mcsim.kernels.boot.batch.OUTCOME) of boots 0 to `boots` - 1."""
        outcomes = np.zeros(boots, batch.OUTCOME)
        batch.run_boots(self.program, self.timing, self.sched, boot, self.seed, 0, outcomes)
        return outcomes

    def place(self, boot: Boot, outcome: Any, length: int | None = None) -> int:
        """Simulate the boot of an outcome again, or its first `length` requests; the number of requests placed.

        `boot` is left as it is then.
        """
        recording, phase = int(outcome["recording"]), int(outcome["pre_init"])
        run_boot(self.program, self.timing, self.sched, self.seed, int(outcome["boot"]), recording)
        if length is not None:
            self.sched.clock[STREAM_LENGTH] = length
        booted = place_boot(boot, self.program, self.sched, recording, phase)
        return int(self.sched.clock[STREAM_LENGTH] if booted else boot.result[RESULT_POSITION])
