"""A workload: programs of many recorded boots, or one written by hand, as one mixture that the kernels draw from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kernels.program import LANE_PID, Program
from mcsim.errors import UserError, did_you_mean
from mcsim.workload.program import RecordedProgram, mix


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

    def describe(self) -> str:
        """One line for reports."""
        return (
            f"{self.name}: {len(self.user_phases)} recorded boots, pre-init phases of {len(self.programs)}, "
            f"digest {self.digest[:16]}"
        )


def recordings_folder() -> Path:
    """Where the shipped sets of extracted programs lie."""
    from mcsim.model.experiment import experiments_folder

    return experiments_folder() / "recordings"


def shipped_workloads() -> dict[str, Path]:
    """The shipped sets of extracted programs by name."""
    folder = recordings_folder()
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}


def load(source: str | Path) -> Workload:
    """A workload: a shipped set by name, a folder of extracted programs, one such file (.npz), or one by hand (.toml).

    Raises UserError if there is no such thing or nothing in it that boots.
    """
    shipped = shipped_workloads()
    path = shipped.get(str(source), Path(source))
    if path.is_dir():
        programs = [RecordedProgram.read(file) for file in sorted(path.rglob("*.npz"))]
    elif path.suffix == ".toml" and path.is_file():
        from mcsim.workload.handmade import read_workload

        programs = [read_workload(path)]
    elif path.is_file():
        programs = [RecordedProgram.read(path)]
    else:
        raise UserError(
            f"no such workload: {str(source)!r}{did_you_mean(str(source), shipped)}",
            valid=f"a shipped set ({', '.join(shipped) or 'none'}), a folder, or a file (.npz, .toml)",
        )
    if not any(program.has_lanes for program in programs):
        raise UserError("no program in it has a user phase", file=path, valid="recordings with scheduler records")
    arrays = mix(programs)
    return Workload(path.stem, tuple(programs), arrays, _digest(arrays))


def _digest(arrays: Program) -> str:
    digest = hashlib.sha256()
    for name, array in zip(arrays._fields, arrays, strict=True):
        digest.update(f"{name}:{array.shape};".encode() + array.astype("<i4", copy=False).tobytes())
    return digest.hexdigest()
