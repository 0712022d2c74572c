"""What a check of boots found, and whether stored outcomes are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mcsim.errors import InvariantViolatedError
from mcsim.model.experiment import Task
from mcsim.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Checked:
    """What was checked.

    checks: so many times every invariant was checked, after each request of processes, RCU and pre-init phases. bounds:
    whether every index was checked, too. equal: boots whose outcomes are also stored, and the same. outcomes: by task
    id, of all boots checked, ascending.
    """

    boots: int
    cells: int
    checks: int
    invariants: int
    bounds: bool
    equal: int = 0
    outcomes: dict[str, NDArray[np.void]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """One line."""
        indices = "every index" if self.bounds else "no index (Numba was imported without NUMBA_BOUNDSCHECK=1)"
        return (
            f"checked: {self.boots:,} boots in {self.cells:,} cells; {self.invariants} invariants after every request, "
            f"{self.checks:,} times; {indices}; {self.equal:,} stored outcomes are the same"
        )


def compare(checked: Checked, tasks: Sequence[Task], store: Store) -> Checked:
    """`checked` with the number of boots whose stored outcomes are the same; InvariantViolatedError if any is not."""
    equal = 0
    for task in tasks:
        if task.id not in checked.outcomes:
            continue
        stored = {row["boot"]: row for row in store.read(task).iter_rows(named=True)}
        for outcome in checked.outcomes[task.id]:
            row = stored.get(int(outcome["boot"]))
            if row is None:  # a rule has ended the cell before
                continue
            for name in outcome.dtype.names:
                if row[name] != outcome[name]:
                    words = f"{name} is {row[name]} as stored and {outcome[name]} as checked"
                    raise InvariantViolatedError(f"boot {row['boot']} of {task.label}: {words}")
            equal += 1
    return replace(checked, equal=equal)
