"""The timeline of a boot: free pages, largest free order, free blocks of the needed order, processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcsim.simulator.walk import Walk


@dataclass
class Timeline:
    """One entry for the start of /init and one after each event of the stream.

    order: the needed one. page_size: bytes. time_us: microseconds since the kernel started /init. The others: see
    `Moment` of mcsim/simulator/values.py.
    """

    order: int
    page_size: int
    time_us: list[int] = field(default_factory=list)
    free_pages: list[int] = field(default_factory=list)
    largest_order: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)

    def note(self, walk: Walk) -> None:
        """One more entry: memory as it stands now."""
        for name, value in walk.moment(self.order)._asdict().items():
            getattr(self, name).append(value)

    def in_steps(self, values: list[int], steps: int, highest: bool = False) -> list[int]:
        """The smallest (or highest) value in each of `steps` equal spans of time; one without events keeps the last."""
        times = np.array(self.time_us)
        end = max(1, int(times[-1]))
        step = np.minimum(times * steps // end, steps - 1)
        found: list[int] = []
        last = values[0]
        for number in range(steps):
            inside = [values[each] for each in np.flatnonzero(step == number)]
            inside.append(last)  # it lasts into this span
            found.append(max(inside) if highest else min(inside))
            last = inside[-2] if len(inside) > 1 else last
        return found
