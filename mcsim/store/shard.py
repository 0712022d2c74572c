"""`--shard I/N`: one of N parts of a run, for the arrays of batch systems; together the parts are the whole run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcsim.errors import UserError
from mcsim.model.experiment import Task

BLOCK = 1000  # boots; fixed, so that a later run with more boots deals out the earlier ones as before
SHARD_SYNTAX = "I/N, the parts counted from 1: 1/16 to 16/16"


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `of` parts."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard written `I/N`."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"{text!r} is not a part of a run", key="--shard", valid=SHARD_SYNTAX)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.number}/{self.of}"

    def whole_sizes(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks of every N-th RAM size: where cells end by rules, those of one size must stay together."""
        order = sorted({task.ram for task in tasks})
        return [task for task in tasks if order.index(task.ram) % self.of == self.number - 1]

    def blocks(self, place: int, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of boots `first` to `last` that this shard simulates, for the task at that place of the list.

        Blocks of boots are dealt out like cards, each task from the next player on.
        """
        if self.of == 1:
            yield first, last
            return
        for block in range(first // BLOCK, last // BLOCK + 1):
            if (block + place) % self.of == self.number - 1:
                yield max(first, block * BLOCK), min(last, (block + 1) * BLOCK - 1)
