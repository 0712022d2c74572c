"""The program of one recorded boot as it is kept in a file, and the mixture of many as the kernels read it."""

import io
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim import files
from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.model.board import Board
from mcsim.workload.check import MAX_REQUESTS, MAX_WORDS, check_program

FORMAT = 2
# Arrays by name, with their columns; 0: a plain list.
_ARRAYS = {
    "pre_init": flat.PRE_COLUMNS,
    "op": flat.OP_COLUMNS,
    "record": 0,
    "lane": flat.LANE_COLUMNS,
    "image": flat.IMAGE_COLUMNS,
    "stack_free": 2,
    "task_free": 0,
}
# Numbers by name, with the highest; the lowest is 0.
_NUMBERS = {
    "ram_mb": 1 << 20,
    "jitter": 2,
    "pre_init_handles": MAX_REQUESTS,
    "handles": MAX_REQUESTS,
    "events": MAX_REQUESTS,
    "mms": MAX_REQUESTS,
    "mappings": MAX_REQUESTS,
    "first_tick": 1 << 30,
}
_TEXTS = ("name", "environment", "variant", "sha256")
_MAX_BYTES = 128 << 20  # of all arrays
_VALID = "a program that `mcsim import` made"

# Exec reads the image in batches of 15 pages, cond_resched() before each: shares of the time from the mapping to the
# end of exec, measured at 253 switches in recordings (images of 800 KB). The rest relocates, and nothing can interrupt
# that. Other images are given as many batches.
READ_STEPS = (0.1, 0.1, 0.1, 0.1, 0.09, 0.09)


def read_gaps(counts: int) -> list[int]:
    """The time from an exec's mapping to its end as gaps: one before each chance to switch, and the rest."""
    steps = [round(share * counts) for share in READ_STEPS]
    return [*steps, counts - sum(steps)]


def _empty(columns: int) -> NDArray[np.int32]:
    return np.zeros((0, columns), np.int32)


@dataclass
class RecordedProgram:
    """One recorded boot, extracted.

    pre_init, op, lane, image: int32 rows as in boot/program.py, ranges relative to this program. record: int32, the
    index in the recording of each op. sha256: of the recording's file. Times are counts of the board's timer.
    For checks only: stack_free, int32 (n, 2), record and lane of each kernel stack that went back in the recording;
    task_free, int32, record of each dead task's last callback; first_tick, counts from the start of the user phase to
    the recorded clock's next tick.
    """

    name: str
    environment: str
    variant: str
    ram_mb: int
    jitter: int
    sha256: str
    pre_init: NDArray[np.int32]
    pre_init_handles: int
    op: NDArray[np.int32] = field(default_factory=lambda: _empty(flat.OP_COLUMNS))
    record: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    lane: NDArray[np.int32] = field(default_factory=lambda: _empty(flat.LANE_COLUMNS))
    image: NDArray[np.int32] = field(default_factory=lambda: _empty(flat.IMAGE_COLUMNS))
    stack_free: NDArray[np.int32] = field(default_factory=lambda: _empty(2))
    task_free: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    names: tuple[str, ...] = ()
    handles: int = 0
    events: int = 0
    mms: int = 0
    mappings: int = 0
    first_tick: int = 0

    @property
    def has_lanes(self) -> bool:
        """Whether the user phase is there too, not only the pre-init phase."""
        return len(self.lane) > 0

    def pre_init_only(self) -> "RecordedProgram":
        """The same without its user phase."""
        kept = ("name", "environment", "variant", "ram_mb", "jitter", "sha256", "pre_init", "pre_init_handles")
        return RecordedProgram(**{name: getattr(self, name) for name in kept})

    def save(self, path: Path, board: Board) -> None:
        """Write the program to a compressed NumPy archive. Raises UserError for one that cannot be run on the board."""
        try:
            check_program(self, board)
        except UserError as error:
            raise UserError(f"no program that can be run: {error}", file=self.name) from None
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        # Columns compress better than rows.
        packed: dict[str, Any] = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
        archive = io.BytesIO()
        np.savez_compressed(archive, facts=np.frombuffer(text.encode(), np.uint8), **packed)
        with files.written(path):
            files.write_atomically(path, archive.getvalue())

    @classmethod
    def read(cls, path: Path, board: Board) -> "RecordedProgram":
        """Read what save() wrote. Raises UserError for any other file, and for one that cannot be run on the board."""
        arrays = files.read_arrays(path, limit=_MAX_BYTES, valid=_VALID)
        try:
            facts = _read_facts(arrays.pop("facts", None), path)
            for name in arrays.keys() ^ _ARRAYS.keys():
                what = "is missing" if name in _ARRAYS else "is no array of a program"
                raise UserError(what, key=name[:MAX_WORDS], valid=", ".join(_ARRAYS))
            rows: dict[str, Any] = {name: _rows(arrays[name], name) for name in _ARRAYS}
            program = cls(**facts, **rows)
            check_program(program, board)
        except UserError as error:
            raise error.at(file=path) from None
        return program


def _rows(array: NDArray[Any], name: str) -> NDArray[np.int32]:
    """An array of a file, which has columns for rows, as the kernels read it. UserError for any other."""
    columns = _ARRAYS[name]
    if array.dtype != np.dtype("<i4"):
        # The digest and the kernels would read different numbers.
        raise UserError(f"has numbers of the type {array.dtype.str}", key=name, valid="<i4 (int32)")
    if array.ndim != (2 if columns else 1) or (columns and array.shape[0] != columns):
        raise UserError(f"has the shape {array.shape}", key=name, valid=f"({columns}, n)" if columns else "(n)")
    return np.ascontiguousarray(array.T)


def _read_facts(array: NDArray[Any] | None, path: Path) -> dict[str, Any]:
    """What a program is beside its arrays."""
    if array is None or array.dtype != np.uint8 or array.ndim != 1:
        raise UserError("not an extracted program: it has no facts", valid=_VALID)
    facts = files.parse_json(array.tobytes(), path, valid=_VALID)
    if not isinstance(facts, dict):
        raise UserError("is not a table", key="facts", valid=_VALID)
    if facts.pop("format", None) != FORMAT:
        raise UserError("an extracted program of another format", valid=f"format {FORMAT}")
    known = {*_NUMBERS, *_TEXTS, "names"}
    for name in sorted(facts.keys() ^ known):
        what = "is missing" if name in known else "is no fact of a program"
        raise UserError(what, key=f"facts.{files.printable(name[:MAX_WORDS])}", valid=", ".join(sorted(known)))
    for name, most in _NUMBERS.items():
        value = facts[name]
        if type(value) is not int or not 0 <= value <= most:
            raise UserError("is no such number", key=f"facts.{name}", valid=f"a whole number from 0 to {most}")
    names = facts["names"]
    if not isinstance(names, list) or not all(map(_is_word, names)):
        raise UserError("is no list of names", key="facts.names", valid=f"texts of at most {MAX_WORDS} characters")
    for name in _TEXTS:
        if not _is_word(facts[name]):
            raise UserError("is no such text", key=f"facts.{name}", valid=f"a text of at most {MAX_WORDS} characters")
    return {**facts, "names": tuple(names)}


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_WORDS and value.isprintable()


def mix(programs: list[RecordedProgram]) -> flat.Program:
    """One flat program of many recorded ones: user phases of those that have lanes, pre-init phases of all."""
    ops, lanes, images, recordings, phases, ranges = [], [], [], [], [], []
    op_count = lane_count = image_count = phase_rows = 0
    for program in programs:
        phases.append(program.pre_init)
        ranges.append((phase_rows, phase_rows + len(program.pre_init), program.pre_init_handles))
        phase_rows += len(program.pre_init)
        if not program.has_lanes:
            continue
        op = program.op.copy()
        op[op[:, flat.KIND] == flat.OP_EXEC, flat.B] += image_count
        lane = program.lane.copy()
        lane[:, [flat.LANE_FIRST, flat.LANE_END]] += op_count
        row = (lane_count, lane_count + len(lane), program.handles, program.events, program.mms, program.mappings)
        recordings.append(row)
        ops.append(op)
        lanes.append(lane)
        images.append(program.image)
        op_count += len(op)
        lane_count += len(lane)
        image_count += len(program.image)
    return flat.Program(
        op=np.concatenate(ops),
        lane=np.concatenate(lanes),
        image=np.concatenate(images),
        recording=np.array(recordings, np.int32).reshape(-1, flat.RECORDING_COLUMNS),
        pre_init=np.concatenate(phases),
        pre_init_range=np.array(ranges, np.int32).reshape(-1, 3),
    )
