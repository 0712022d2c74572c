"""What must hold: one list, and what a figure is held against."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from mcsim.fidelity.speed.figure import Figure


@dataclass(frozen=True)
class Target:
    """Of the figures whose names match `names` (* and ? as in a shell): their ratio, or their value.

    At least `low`, at most `high`.
    """

    names: str
    of_ratio: bool
    low: float = 0.0
    high: float = float("inf")

    def met(self, figure: Figure) -> bool:
        """Whether the figure's median is inside. Raises ValueError for the ratio of a figure that has no other side."""
        if self.of_ratio and not figure.other:
            raise ValueError(f"{figure.name} has nothing to be compared with")
        return self.low <= (figure.ratio if self.of_ratio else figure.value) <= self.high


TARGETS = (
    Target("buddy-single", of_ratio=True, low=0.95),
    Target("buddy-mixed", of_ratio=True, low=0.95),
    Target("buddy-exact", of_ratio=True, low=0.95),
    Target("maple-*", of_ratio=True, low=0.95),
    Target("replay", of_ratio=True, low=0.95),
    Target("boots-maple-naive-32M", of_ratio=False, low=8500),  # boots a second, on one core
    Target("workers", of_ratio=True, low=1.8),  # two beside one
    Target("memory", of_ratio=True, low=0.98),  # after the second chunk, by that after the last: flat
    Target("start-cli", of_ratio=False, high=0.3),  # seconds, as those that follow
    Target("start-warm", of_ratio=False, high=2.0),
    Target("start-cold", of_ratio=False, high=45.0),
)


def target_of(name: str) -> Target | None:
    """The target for the figure of that name, if there is one."""
    return next((each for each in TARGETS if fnmatchcase(name, each.names)), None)


def verdict(figure: Figure) -> bool | None:
    """Whether the figure meets its target. None: it has none, or its other side could not be measured."""
    target = target_of(figure.name)
    if target is None or (target.of_ratio and not figure.other):
        return None
    return target.met(figure)
