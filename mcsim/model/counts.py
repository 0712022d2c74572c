"""Failure counts of real boots: the file, its checks, and the cells that can be predicted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcsim.errors import UserError, did_you_mean
from mcsim.files import read_text
from mcsim.model.board import Board
from mcsim.model.experiment import recorded_board
from mcsim.model.recorded_kernels import recorded_variants, tail_of

COLUMNS = ("env", "variant", "ram_mb", "jitter", "boots", "failures", "use")
JITTERS = (0, 2)
MAX_COUNT = 100_000  # boots of a cell: all outcomes are enumerated
CALIBRATION = "calibration"  # the only value of `use` with a meaning; all others are for checking


@dataclass(frozen=True, order=True)
class Place:
    """What is simulated for a cell: one kernel on one machine at one noise setting."""

    environment: str
    variant: str
    ram_mb: int
    jitter: int

    @property
    def tail(self) -> str:
        """The tail policy of the variant, OLD or NEW."""
        return tail_of(self.variant)


@dataclass(frozen=True)
class Cell:
    """A row of a counts file: `failures` of `boots` real boots failed."""

    place: Place
    boots: int
    failures: int
    use: str

    @property
    def calibration(self) -> bool:
        """Whether the model may be fitted to this cell."""
        return self.use == CALIBRATION


@dataclass(frozen=True)
class Counts:
    """The cells of a file that can be predicted; `dropped`: environment without a workload -> (cells, boots)."""

    cells: tuple[Cell, ...]
    dropped: Mapping[str, tuple[int, int]]


def open_counts_file() -> Path:
    """The counts that come with mcsim."""
    from mcsim.model.shipped import shipped_folder

    return shipped_folder() / "counts" / "real-boots.csv"


def read_counts(path: str | Path, environments: Iterable[str], variants: Iterable[str] = ()) -> Counts:
    """Read a counts file (CSV with COLUMNS, in any order; others are ignored).

    A kernel is one of the recorded ones, or one of `variants`.

    Rows of other environments than `environments`, which have no workload, are dropped. Raises UserError with file,
    line and column for anything else that cannot be used.
    """
    known, kernels = sorted(environments), [*recorded_variants(), *variants]
    cells: list[Cell] = []
    lines: dict[Place, int] = {}
    dropped: dict[str, tuple[int, int]] = {}
    for line, row in _rows(Path(path)):
        where = f"{path}:{line}"
        try:
            environment = _text(row, "env")
            boots, failures = _whole(row, "boots", 1), _whole(row, "failures", 0)
            if failures > boots:
                raise UserError(f"{failures} failures of {boots} boots", key="failures", valid=f"0 to {boots}")
            if environment not in known:
                cell_count, boot_count = dropped.get(environment, (0, 0))
                dropped[environment] = (cell_count + 1, boot_count + boots)
                continue
            place = Place(environment, _variant(row, kernels), _ram_mb(row, recorded_board(environment)), _jitter(row))
            use = _text(row, "use")
            if place in lines:
                raise UserError(f"the same cell as in line {lines[place]}", valid="one line a cell")
            lines[place] = line
            cells.append(Cell(place, boots, failures, use))
        except UserError as error:
            raise error.at(file=where) from None
    if not cells:
        what = (
            f"no cell of an environment with a workload (only {', '.join(dropped)})" if dropped else "no counts in it"
        )
        raise UserError(what, file=path, key="env", valid=", ".join(known))
    return Counts(tuple(cells), dropped)


def _rows(path: Path) -> list[tuple[int, Mapping[str, str | None]]]:
    """Lines of the file that are not empty, as (line number, values by column)."""
    valid = ",".join(COLUMNS)
    text = read_text(path, valid="a counts file (CSV)")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, restkey="")
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        if not header:
            raise UserError("is empty", file=path, valid=f"a line of column names ({valid}), then a line a cell")
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise UserError(f"missing column: {', '.join(missing)}", file=f"{path}:1", valid=valid)
        twice = [name for name in COLUMNS if header.count(name) > 1]
        if twice:
            raise UserError(f"more than one column: {', '.join(twice)}", file=f"{path}:1", valid=valid)
        reader.fieldnames = header
        rows: list[tuple[int, Mapping[str, str | None]]] = []
        for row in reader:
            if "" in row:
                raise UserError("more values than columns", file=f"{path}:{reader.line_num}", valid=valid)
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"not a counts file: {error}", file=path, valid=f"CSV with the columns {valid}") from None
    return rows


def _text(row: Mapping[str, str | None], column: str) -> str:
    value = (row[column] or "").strip()
    if not value or not value.isprintable():
        valid = {"use": "calibration or check", "env": "the name of an environment"}.get(column)
        raise UserError("is missing" if not value else f"{value!r} is not one word", key=column, valid=valid)
    return value


def _whole(row: Mapping[str, str | None], column: str, least: int) -> int:
    value = (row[column] or "").strip()
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= MAX_COUNT):
        valid = f"a whole number from {least} to {MAX_COUNT}"
        raise UserError(f"{value!r} is not a number of boots", key=column, valid=valid)
    return int(value)


def _variant(row: Mapping[str, str | None], known: Sequence[str]) -> str:
    value = _text(row, "variant")
    if value not in known:
        hint = did_you_mean(value, known)
        raise UserError(f"{value!r} is not a recorded kernel{hint}", key="variant", valid=", ".join(known))
    return value


def _ram_mb(row: Mapping[str, str | None], board: Board) -> int:
    value = (row["ram_mb"] or "").strip()
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) << 20 in board.all_ram()):
        what = f"{value!r} MB of RAM: the state after boot is not known"
        raise UserError(what, key="ram_mb", valid=board.sizes())
    return int(value)


def _jitter(row: Mapping[str, str | None]) -> int:
    value = (row["jitter"] or "").strip()
    if value not in map(str, JITTERS):
        raise UserError(f"{value!r} is not a noise setting", key="jitter", valid="0 or 2")
    return int(value)
