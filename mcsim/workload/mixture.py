"""A workload: programs of many recorded boots, or one written by hand, as one mixture that the kernels draw from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcsim import files
from mcsim.errors import UserError, did_you_mean
from mcsim.kernels.boot.program import LANE_FIRST, LANE_PID, Program
from mcsim.model.board import Board
from mcsim.model.shipped import shipped_folder
from mcsim.workload.program import RecordedProgram, mix

MAX_PROGRAMS = 10_000
MAX_REQUESTS = 10_000_000  # of all programs together


@dataclass(frozen=True)
class Workload:
    """What boots. Each boot draws one of `user_phases` and, apart from it, the pre-init phase of one of `programs`.

    arrays: the same as the kernels read it. digest: SHA-256 (hexadecimal) of these arrays.
    """

    name: str
    programs: tuple[RecordedProgram, ...]
    arrays: Program
    digest: str

    @property
    def user_phases(self) -> tuple[RecordedProgram, ...]:
        """The programs with lanes, in the order of the kernels' recording numbers."""
        return tuple(program for program in self.programs if program.has_lanes)

    def process_name(self, recording: int, pid: int) -> str:
        """What a process of a recording last ran; 'kernel' for pid 0."""
        program = self.user_phases[recording]
        for lane, name in zip(program.lane, program.names, strict=True):
            if lane[LANE_PID] == pid:
                return name
        return "kernel"

    def place(self, row: int) -> str:
        """Where a row of `arrays.op` comes from: `C_V0_64MB_j0_a, op, request 17 (sh)`."""
        lane = int(np.searchsorted(self.arrays.lane[:, LANE_FIRST], row, side="right")) - 1
        for program in self.user_phases:
            if row < len(program.op):
                return f"{program.name}, op, request {row} ({program.names[lane]})"
            row -= len(program.op)
            lane -= len(program.lane)
        raise IndexError(row)

    def describe(self) -> str:
        """One line for reports."""
        return (
            f"{self.name}: {len(self.user_phases)} recorded boots, pre-init phases of {len(self.programs)}, "
            f"digest {self.digest[:16]}"
        )


def recordings_folder() -> Path:
    """Where the shipped sets of extracted programs lie."""
    return shipped_folder() / "recordings"


def shipped_workloads() -> dict[str, Path]:
    """The shipped sets of extracted programs by name."""
    folder = recordings_folder()
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}


def load(source: str | Path, board: Board) -> Workload:
    """A workload: a shipped set by name, a folder of extracted programs, one such file (.npz), or one by hand (.toml).

    Raises UserError if there is no such thing, nothing in it that boots, or what cannot be on this board.
    """
    shipped = shipped_workloads()
    path = shipped.get(str(source), Path(source))
    if files.is_folder(path):
        programs = _read_folder(path, board)
    elif path.suffix == ".toml" and files.is_file(path):
        from mcsim.workload.handmade import read_workload

        programs = [read_workload(path, board)]
    elif files.is_file(path):
        programs = [RecordedProgram.read(path, board)]
    else:
        raise UserError(
            f"no such workload: {str(source)!r}{did_you_mean(str(source), shipped)}",
            valid=f"a shipped set ({', '.join(shipped) or 'none'}), a folder, or a file (.npz, .toml)",
        )
    if not any(program.has_lanes for program in programs):
        raise UserError("no program in it has a user phase", file=path, valid="recordings with scheduler records")
    arrays = mix(programs)
    return Workload(path.stem, tuple(programs), arrays, _digest(arrays))


def _read_folder(path: Path, board: Board) -> list[RecordedProgram]:
    programs: list[RecordedProgram] = []
    requests = 0
    for file in sorted(path.rglob("*.npz")):
        programs.append(RecordedProgram.read(file, board))
        requests += len(programs[-1].op) + len(programs[-1].pre_init)
        if len(programs) > MAX_PROGRAMS or requests > MAX_REQUESTS:
            valid = f"at most {MAX_PROGRAMS} programs with {MAX_REQUESTS} requests together"
            raise UserError("holds more than can be simulated", file=path, valid=valid)
    return programs


def _digest(arrays: Program) -> str:
    digest = hashlib.sha256()
    for name, array in zip(arrays._fields, arrays, strict=True):
        digest.update(f"{name}:{array.shape};".encode() + array.astype("<i4", copy=False).tobytes())
    return digest.hexdigest()
