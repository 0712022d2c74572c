"""Workloads: what comes along, what `mcsim import` makes, what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.kernels.boot.sched import Timing
from mcsim.simulator.simulator import lognormal_factors
from mcsim.workload import load, shipped_workloads
from mcsim.workload.extract import extract
from mcsim.workload.program import RecordedProgram
from mcsim.workload.recording import read_recording
from tests.kernel_boots import outcomes_of
from tests.machines import BOARD, policy


def equal(one: RecordedProgram, other: RecordedProgram) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
    )


def test_the_shipped_sets_mix_at_least_ten_recordings_with_more_pre_init_phases() -> None:
    workload = load("C", BOARD)
    assert len(workload.user_phases) >= 10
    assert len(workload.programs) > len(workload.user_phases)
    assert {program.environment for program in workload.programs} == {"C"}
    assert {program.ram_mb for program in workload.user_phases} == {64}
    assert len({program.sha256 for program in workload.programs}) == len(workload.programs)
    assert len(load("N", BOARD).user_phases) == 6


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.npz")), ids=lambda path: path.stem)
def test_the_shipped_programs_are_what_the_extractor_makes_of_their_source(path: Path) -> None:
    made = extract(read_recording(path, BOARD))
    shipped = {program.sha256: program for program in load(made.environment, BOARD).programs}
    assert equal(made, shipped[made.sha256])


def test_an_imported_folder_boots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [str(path) for path in sorted(RECORDINGS.glob("*.npz"))]
    assert run_cli(["import", *sources, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(Path(source).stem in printed for source in sources)
    workload = load(tmp_path, BOARD)
    assert len(workload.user_phases) == len(sources)
    factors = lognormal_factors(0.15)
    policies = policy("linux-6.1.y")
    outcomes = outcomes_of(workload.arrays, policies, Timing(factors, factors, 0), ram_mb=64, seed=1, count=4)
    assert not outcomes["failed"].any()
    assert (outcomes["time_us"] > 1_000_000).all()


def test_pre_init_only_leaves_the_user_phase_out(tmp_path: Path) -> None:
    source = str(sorted(RECORDINGS.glob("*.npz"))[0])
    assert run_cli(["import", source, "--pre-init-only", "--out", str(tmp_path)]) == 0
    program = RecordedProgram.read(next(tmp_path.glob("*.npz")), BOARD)
    assert len(program.pre_init) > 500
    assert not program.has_lanes
    with pytest.raises(UserError, match="user phase"):
        load(tmp_path, BOARD)


def test_a_failing_process_has_a_name() -> None:
    workload = load("C", BOARD)
    assert workload.process_name(0, 1) == "init"
    assert workload.process_name(0, 0) == "kernel"


def test_the_digest_depends_on_the_programs(tmp_path: Path) -> None:
    assert load("C", BOARD).digest != load("N", BOARD).digest
    assert load("C", BOARD).digest == load(shipped_workloads()["C"], BOARD).digest


def test_an_unknown_workload_is_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="no such workload: 'D'") as caught:
        load("D", BOARD)
    assert "C, N" in str(caught.value)


def test_a_broken_import_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["import", str(tmp_path / "C_V0_64MB_j0_a.npz"), "--out", str(tmp_path)]) == 2
    assert "no such file" in capsys.readouterr().err
