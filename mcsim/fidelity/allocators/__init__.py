"""Conformity: our allocators against vectors that were made by running the real kernel code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mcsim.errors import UserError
from mcsim.fidelity.allocators.buddy import BuddyVector, check_buddy
from mcsim.fidelity.allocators.maple import MapleVector, check_maple
from mcsim.fidelity.allocators.vectors import VALID_FILE, Conformity, Mismatch, Vector, lines_of, parse

__all__ = ["Conformity", "Mismatch", "VectorFile", "check_file", "check_line", "check_lines", "look_into"]


class Kind(NamedTuple):
    """A kind of vectors: the key that only its headers have, what such a vector holds, and how it is checked."""

    name: str
    key: str
    vector: type[Vector]
    check: Callable[[Any], Conformity]


KINDS = (Kind("maple", "layout", MapleVector, check_maple), Kind("buddy", "config", BuddyVector, check_buddy))


class VectorFile(NamedTuple):
    """A file that was read through: how many sequences it has, and the kind of the first."""

    path: Path
    sequences: int
    kind: str


def look_into(path: str | Path) -> VectorFile:
    """Read a file through, without running anything. Raises UserError if it is no file of vectors."""
    first: tuple[int, bytes] | None = None
    sequences = 0
    for first_or_later in lines_of(path):
        first = first or first_or_later
        sequences += 1
    if first is None:
        raise UserError("holds no sequence", file=path, valid=VALID_FILE)
    number, line = first
    with located(path, number):
        return VectorFile(Path(path), sequences, kind_of(parse(line)).name)


def check_file(path: str | Path) -> Conformity:
    """Run all vectors of a file, of either kind, and compare. Raises UserError naming the file and the line."""
    found = Conformity()
    for one in check_lines(path):
        found += one
    return found


def check_lines(path: str | Path) -> Iterator[Conformity]:
    """Run one vector of a file after the other. Raises UserError naming the file and the line."""
    for number, line in lines_of(path):
        with located(path, number):
            found = check_line(line)
        yield found


def check_line(line: bytes | str) -> Conformity:
    """Run one vector, a line of a file, and compare. Raises UserError if it is none or cannot be run."""
    values = parse(line)
    kind = kind_of(values)
    try:
        return kind.check(kind.vector.read(values))
    except MemoryError:
        raise UserError("the vector does not fit into memory") from None


@contextmanager
def located(path: str | Path, number: int) -> Iterator[None]:
    """Around work on one line: an error that leaves it names file and line."""
    try:
        yield
    except UserError as error:
        raise error.at(file=f"{path}:{number}") from None


def kind_of(values: dict[str, Any]) -> Kind:
    """The kind of a vector, whatever its file is called. Raises UserError if it is none."""
    for kind in KINDS:
        if kind.key in values:
            return kind
    valid = " or ".join(f"{kind.key!r} ({kind.name})" for kind in KINDS)
    raise UserError("no vector", valid=f"an object with the key {valid}")
