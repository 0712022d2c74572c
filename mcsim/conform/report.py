"""What a comparison with kernel-made vectors found."""

from dataclasses import dataclass, field
from typing import Any


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
