"""The program of one recorded boot as it is kept in a file, and the mixture of many as the kernels read it."""

import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import program as flat
from mcsim.errors import UserError

FORMAT = 2
_ARRAYS = ("pre_init", "op", "record", "lane", "image", "stack_free", "task_free")

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

    pre_init, op, lane, image: int32 rows as in kernels/program.py, ranges relative to this program. record: int32, the
    index in the recording of each op. sha256: of the recording's file. Times are timer counts of 768 ns.
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

    def save(self, path: Path) -> None:
        """Write the program to a compressed NumPy archive."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        # Columns compress better than rows.
        packed: dict[str, Any] = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
        np.savez_compressed(path, facts=np.frombuffer(text.encode(), np.uint8), **packed)

    @classmethod
    def read(cls, path: Path) -> "RecordedProgram":
        """Read what save() wrote. Raises UserError for any other file."""
        try:
            with np.load(path) as archive:
                facts = json.loads(archive["facts"].tobytes())
                if facts.pop("format", None) != FORMAT:
                    raise UserError("an extracted program of another format", file=path, valid=f"format {FORMAT}")
                arrays: dict[str, Any] = {name: np.ascontiguousarray(archive[name].T) for name in _ARRAYS}
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(f"not an extracted program: {error}", file=path) from None
        facts["names"] = tuple(facts["names"])
        return cls(**facts, **arrays)


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
