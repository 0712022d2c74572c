"""Where the decisions about an input come from: the same mutations under a counter, Hypothesis and atheris."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Below(Protocol):
    """A whole number from 0 to limit - 1."""

    def __call__(self, limit: int, /) -> int: ...


class Choices:
    """Decisions, all made of one kind: a whole number below a limit."""

    def __init__(self, below: Below) -> None:
        self.below = below

    @classmethod
    def counted(cls, seed: int, target: str, number: int) -> Choices:
        """Those of input `number` of a target: a function of these three alone."""
        key = [seed & (2**64 - 1), int.from_bytes(target.encode()[:8].ljust(8), "big")]
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))
        return cls(lambda limit: int(generator.integers(limit)))

    @classmethod
    def drawn(cls, data: Any) -> Choices:
        """Those of Hypothesis: `data` is what `strategies.data()` gives."""
        from hypothesis import strategies

        return cls(lambda limit: int(data.draw(strategies.integers(0, limit - 1))))

    @classmethod
    def covering(cls, content: bytes) -> Choices:
        """Those of atheris, which looks for bytes that reach new code."""
        import atheris

        provider = atheris.FuzzedDataProvider(content)
        return cls(lambda limit: int(provider.ConsumeIntInRange(0, limit - 1)))

    def chance(self, percent: int) -> bool:
        """True so often."""
        return self.below(100) < percent

    def pick(self, values: Sequence[T]) -> T:
        """One of these."""
        return values[self.below(len(values))]

    def times(self) -> int:
        """How many mutations: mostly one, seldom many."""
        return self.pick((1, 1, 1, 1, 2, 2, 3, 5))
