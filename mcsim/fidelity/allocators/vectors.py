"""Files of vectors: one JSON object a line, plain, gzip or xz; and what a comparison with them found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError
from pydantic_core import from_json

from mcsim.errors import UserError
from mcsim.files import read_lines
from mcsim.model.section import Section, user_error

ABSENT = "(nothing)"  # stands for what one side does not have
SHOWN_TEXT = 40  # characters of a long text, from where it differs
MAX_LINE = 16 << 20  # bytes, unpacked: 8 times the longest there is
# Pages, or entries of trees, that all digests and dumps of a vector may look at: 64 times the most there is.
MAX_LOOKS = 1 << 31
VALID_FILE = "a file of vectors: one JSON object a line, plain, gzip or xz"


@dataclass(frozen=True)
class Mismatch:
    """One operation whose result differs.

    `operation` counts from 1; 0 is the state before all of them, -1 after. `request`: the operation as the vector has
    it. `expected` and `got`: what differs and only that, by name; of a large value where it differs first
    (`init.free.10.1[3]`).
    """

    sequence: str
    operation: int
    request: list[Any] | None
    expected: dict[str, Any]
    got: dict[str, Any]


@dataclass
class Conformity:
    """Counts of what was compared, and every difference."""

    sequences: int = 0
    operations: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def __iadd__(self, other: Conformity) -> Conformity:
        """Add the counts and differences of another comparison."""
        self.sequences += other.sequences
        self.operations += other.operations
        self.mismatches += other.mismatches
        return self

    @property
    def passed(self) -> bool:
        """True if something was compared and nothing differs."""
        return self.sequences > 0 and not self.mismatches


# What a vector holds

Answer = Annotated[Any, Field(description="what the real kernel code had")]  # not checked, but compared


class Vector(Section, extra="ignore"):
    """What vectors of both kinds have; keys that are not known are passed over."""

    id: str = Field(description="a text that names the sequence")
    digest_every: int = Field(ge=0, lt=2**31, description="a whole number from 0: every so many operations a digest")
    ops: list[Any] = Field(description='a list of operations, as in ["a", 0, 3, 1]')
    res: list[Any] = Field(description="a list with one result per operation")

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """The vector of these values. Raises UserError naming the key that is wrong and what is valid."""
        try:
            vector = cls.model_validate(values)
        except ValidationError as error:
            raise user_error(error, cls) from None
        if len(vector.res) != len(vector.ops):
            what = f"{len(vector.res)} results for {len(vector.ops)} operations"
            raise UserError(what, key="res", valid="one result per operation")
        return vector


@dataclass(frozen=True)
class Operand:
    """A whole number that an operation takes."""

    name: str
    low: int
    high: int


def check_operations(operations: Sequence[Any], operands: Mapping[str, Sequence[Operand]]) -> None:
    """Raise UserError for the first operation that is unknown or whose operands are not what `operands` says."""
    for number, operation in enumerate(operations, 1):
        code = operation[0] if type(operation) is list and operation else None
        wanted = operands.get(code) if type(code) is str else None
        if wanted is None:
            raise wrong_operation(number, operation, "unknown operation", ", ".join(operands))
        if len(operation) != 1 + len(wanted):
            form = json.dumps([code, *(each.name for each in wanted)])
            raise wrong_operation(number, operation, "has the wrong number of operands", form)
        for value, operand in zip(operation[1:], wanted, strict=True):
            if type(value) is not int or not operand.low <= value <= operand.high:
                what = f"{operand.name} {shown(value)} is not valid"
                raise wrong_operation(number, operation, what, f"a whole number from {operand.low} to {operand.high}")


def check_looks(looks: int, of_what: str) -> None:
    """Raise UserError if so many pages or entries are more than digests and dumps may look at."""
    if looks > MAX_LOOKS:
        what = f"digests and dumps would look at {looks} {of_what}"
        raise UserError(what, key="ops", valid=f"at most {MAX_LOOKS}: digests less often, or fewer operations")


def wrong_operation(number: int, operation: Any, what: str, valid: str) -> UserError:
    """The error of an operation that cannot be run."""
    return UserError(f"{shown(operation)}: {what}", key=f"operation {number}", valid=valid)


# Comparing


def differences(expected: dict[str, Any], got: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs of two sets of named values."""
    names = [name for name in {**expected, **got} if expected.get(name, ABSENT) != got.get(name, ABSENT)]
    found = [first_difference(expected.get(name, ABSENT), got.get(name, ABSENT), name) for name in names]
    return {path: value for path, value, _ in found}, {path: value for path, _, value in found}


def first_difference(expected: Any, got: Any, path: str) -> tuple[str, Any, Any]:
    """Where two unequal values differ first: the path to that place, and what is there."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            here, there = expected.get(key, ABSENT), got.get(key, ABSENT)
            if here != there:
                return first_difference(here, there, f"{path}.{key}")
    if isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            here = expected[index] if index < len(expected) else ABSENT
            there = got[index] if index < len(got) else ABSENT
            if here != there:
                return first_difference(here, there, f"{path}[{index}]")
    if isinstance(expected, str) and isinstance(got, str) and max(len(expected), len(got)) > SHOWN_TEXT:
        start = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), None)
        start = min(len(expected), len(got)) if start is None else start
        return f"{path}, character {start}", expected[start : start + SHOWN_TEXT], got[start : start + SHOWN_TEXT]
    return path, expected, got


def shown(value: Any, width: int = 60) -> str:
    """A value as JSON, cut to `width` characters."""
    text = value if value is ABSENT else json.dumps(value)
    return text if len(text) <= width else text[: width - 4] + " ..."


# Reading


def lines_of(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of every line that is not blank. Raises UserError for a file that cannot be read."""
    for number, line in read_lines(path, line_limit=MAX_LINE, valid=VALID_FILE):
        if line.strip():
            yield number, line


def parse(line: bytes | str) -> dict[str, Any]:
    """The JSON object of a line. Raises UserError if it is none."""
    try:
        values = from_json(line)
    except ValueError as error:
        raise UserError(f"not JSON: {error}", valid=VALID_FILE) from None
    if not isinstance(values, dict):
        raise UserError(f"{shown(values)} is no JSON object", valid=VALID_FILE)
    return values
