"""What a comparison with kernel-made vectors found."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcsim.errors import UserError


@dataclass(frozen=True)
class Mismatch:
    """One answer that differs. `operation` counts from 1; 0 is the state before all of them, -1 after."""

    sequence: str
    operation: int
    expected: Any
    got: Any


@dataclass
class Conformity:
    """Counts of what was compared, and every difference."""

    sequences: int = 0
    operations: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def __iadd__(self, other: "Conformity") -> "Conformity":
        """Add the counts and differences of another comparison."""
        self.sequences += other.sequences
        self.operations += other.operations
        self.mismatches += other.mismatches
        return self

    @property
    def passed(self) -> bool:
        """True if something was compared and nothing differs."""
        return self.sequences > 0 and not self.mismatches


def check_line(line: str, kind: str, check_vector: Callable[[Any], Conformity]) -> Conformity:
    """Compare one line of a vector file. Raises UserError if it is no vector of this kind."""
    try:
        return check_vector(json.loads(line))
    except (json.JSONDecodeError, KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(f"not a {kind} vector: {error!r}") from error


def check_lines(path: str | Path, check_line: Callable[[str], Conformity]) -> Conformity:
    """Compare every line of a vector file (`.gz` or plain). Raises UserError naming the file and the line."""
    path = Path(path)
    found = Conformity()
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    found += check_line(line)
                except UserError as error:
                    raise error.at(file=f"{path}:{number}") from error
    except OSError as error:
        raise UserError(error.strerror or str(error), file=path) from error
    return found
