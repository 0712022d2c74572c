"""Stored boots once more: equal, different, or not to be compared."""

from pathlib import Path

import polars as pl
import pytest
import stand_in
from conftest import small

import mcsim
from mcsim.cli import run_cli
from mcsim.fidelity.results import verify
from mcsim.model import experiment
from mcsim.run.progress import Silent
from mcsim.simulator import simulator
from mcsim.store.result import Result


@pytest.fixture(autouse=True)
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Result:
    stand_in.use_stand_in(monkeypatch, tmp_path)
    return mcsim.run(small(), out="here")


def change_one_boot(result: Result) -> None:
    """Boot 7 of the first cell gets another time; the checksum is that of the new values."""
    task = result.tasks[0]
    (first, path) = next((first, path) for first, last, path in result.store.chunks(task) if first <= 7 <= last)
    frame = pl.read_parquet(path)
    changed = frame.with_columns(time_us=pl.when(pl.col("boot") == 7).then(1).otherwise(pl.col("time_us")))
    assert first == changed["boot"][0]
    result.store.write_frame(task, changed)


def test_equal_boots_give_exit_code_0_and_the_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["check", "results", "here", "--sample", "50"]) == 0
    line, how_sure = capsys.readouterr().out.splitlines()
    assert line == f"50 of 50 boots equal, out of 400; SHA-256 {mcsim.load('here').store.content_hash()}"
    # 1 - C(396, 50) / C(400, 50) and 50 / 400
    assert "An edit of 4 of these boots (1 %) would have been found with probability 0.42" in how_sure
    assert "of a single one with 0.12;" in how_sure


def test_one_changed_boot_is_found_and_gives_exit_code_1(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    change_one_boot(result)
    assert run_cli(["check", "results", "here", "--sample", "400"]) == 1
    printed = capsys.readouterr().out
    assert "boot 7 of maple-naive at 31M: time_us 1 stored, 7000 now\n" in printed
    assert "399 of 400 boots equal" in printed


def test_the_sample_is_drawn_from_all_boots_alike_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, int]] = []

    def note(task: experiment.Task, source: str, first: int, count: int) -> object:
        drawn.append((task.id, first))
        return stand_in.simulate(task, source, first, count)

    monkeypatch.setattr(simulator, "simulate", note)
    store = mcsim.load("here").store
    samples = []
    for seed in (1, 1, 2):
        verify(store, 40, seed, None, Silent())
        samples.append(drawn[1:])  # the first one compiles the kernels
        drawn.clear()
    assert samples[0] == samples[1] != samples[2]
    assert len(set(samples[0])) == 40
    assert len({task for task, _ in samples[0]}) == 4


def test_other_kernels_are_said_and_compared_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulator, "kernel_hash", lambda: "f" * 64)
    assert run_cli(["check", "results", "here"]) == 0
    assert "stored by other kernels" in capsys.readouterr().err


def test_a_workload_file_that_was_moved_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(source: str, board: object) -> object:
        asked.append(source)
        return stand_in.WORKLOAD

    monkeypatch.setattr(simulator, "load_workload", note)
    assert run_cli(["check", "results", "here", "--workload", "/elsewhere/board"]) == 0
    assert asked == ["/elsewhere/board"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "is not a result folder"),
        (["here", "--sample", "0"], "--sample: 0 is not a number of boots"),
        (["here", "--seed", "-1"], "--seed"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_gives_exit_code_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["check", "results", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_another_workload_gives_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = type(stand_in.WORKLOAD)(**{**vars(stand_in.WORKLOAD), "digest": "cd" * 32})
    monkeypatch.setattr(simulator, "load_workload", lambda source, board: other)
    assert run_cli(["check", "results", "here"]) == 2
    assert "is not the one of the stored boots" in capsys.readouterr().err
