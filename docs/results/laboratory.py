"""Single boots of the shipped experiment, on machines of our own making: what `mcsim run` does not ask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot import batch
from mcsim.kernels.boot.boot import RESULT_POSITION, Boot, place_boot
from mcsim.kernels.boot.sched import STREAM_LENGTH, make_sched, run_boot
from mcsim.kernels.linux.page_alloc import ZONE_END_PFN, Zone, make_zone
from mcsim.model.experiment import load
from mcsim.simulator.simulator import kernel_timing, load_workload, make_memory


class Laboratory:
    """The workload, timing, variants and seed of a shipped experiment."""

    def __init__(self, name: str = "mail-2022") -> None:
        """Load what `mcsim run NAME` runs."""
        experiment = load(name)
        self.program: Any = load_workload(experiment.workload).arrays
        self.timing = kernel_timing(experiment.timing)
        self.policies = {each.name: each.policies.for_kernels() for each in experiment.variants}
        self.seed = experiment.seed
        self.machine = experiment.machine
        self.sched = make_sched(self.program)

    def boot(self, ram_mb: int, fresh_zone: Zone | None = None) -> Boot:
        """Memory for boots of a RAM size, or of a zone as it is after the hand-over."""
        boot = make_memory(self.program, self.machine, ram_mb << 20)
        if fresh_zone is None:
            return boot
        pages = int(fresh_zone.scalar[ZONE_END_PFN])
        return boot._replace(zone=make_zone(0, pages), fresh_zone=fresh_zone, init_zone=make_zone(0, pages))

    def outcomes(self, boot: Boot, variant: str, boots: int) -> NDArray[np.void]:
        """Outcomes (mcsim.kernels.boot.batch.OUTCOME) of boots 0 to `boots` - 1."""
        outcomes = np.zeros(boots, batch.OUTCOME)
        policy = self.policies[variant]
        batch.run_boots(self.program, self.timing, policy, self.sched, boot, self.seed, 0, outcomes)
        return outcomes

    def place(self, boot: Boot, variant: str, outcome: Any, length: int | None = None) -> int:
        """Simulate the boot of an outcome again, or its first `length` requests; the number of requests placed.

        `boot` is left as it is then.
        """
        recording, phase = int(outcome["recording"]), int(outcome["pre_init"])
        run_boot(self.program, self.timing, self.sched, self.seed, int(outcome["boot"]), recording)
        if length is not None:
            self.sched.clock[STREAM_LENGTH] = length
        booted = place_boot(boot, self.program, self.policies[variant], self.sched, recording, phase)
        return int(self.sched.clock[STREAM_LENGTH] if booted else boot.result[RESULT_POSITION])
