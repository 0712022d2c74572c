"""The command line: exit codes, messages on the right stream, help that teaches."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stand_in

from mcsim.cli import run_cli

SMALL = """
[experiment]
variants = ["maple-naive", "tail-free"]
ram = "32M"
boots = 30
[workload]
recordings = "C"
"""


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)


def test_run_prints_the_table_and_says_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "small.toml"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^maple-naive +32M +30 ", printed.out, re.M)
    assert "results/small/p_oom.png" in printed.err
    assert "results/small/report.html" in printed.err
    assert "60 of 60 boots" in printed.err


def test_report_prints_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["run", "small.toml", "--out", "here"])
    first = capsys.readouterr().out
    assert run_cli(["report", "here"]) == 0
    assert capsys.readouterr().out == first


def test_one_boot_alone_is_printed_and_not_stored(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["run", "small.toml", "--variant", "maple-naive", "--ram", "32M", "--boot", "17"]
    assert run_cli(options) == 0
    line = capsys.readouterr().out
    assert line.startswith("boot 17 of maple-naive at 32M ")
    assert line.count("\n") == 1
    assert run_cli([*options, "-v"]) == 0
    details = capsys.readouterr().out
    assert "exact_tail = head" in details
    assert "largest_free_order" in details
    assert not (tmp_path / "results").exists()


def test_a_failed_boot_is_told_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "chance", lambda text: 0.5 if "32" in text or text.startswith("3355") else 0.0)
    run_cli(["run", "small.toml", "--variant", "maple-naive", "--boot", "3"])
    assert (
        "failed: contiguous mapping of order 7 for process 43 (run-parts) 0.003 s after the first exec, "
        "600 pages free, largest free order 6" in capsys.readouterr().out
    )


def test_list_names_experiments_variants_and_their_commits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list"]) == 0
    printed = capsys.readouterr().out
    for word in ("mail-2022", "maple-naive", "linux-6.6", "df48a5f7a3bb", "b5df09226450"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nope"], "no such experiment: 'nope'"),
        (["run", "small.toml", "--boots", "0"], "--boots: 0 is out of range"),
        (["run", "small.toml", "--boots", "x"], "'x' is not a valid integer"),
        (["run", "small.toml", "--variant", "maple"], "--variant: 'maple' is not a variant"),
        (["run", "small.toml", "--ram", "33M"], "--ram: 33M is not a RAM size"),
        (["run", "small.toml", "--seed", "-1"], "--seed: -1 is out of range"),
        (["run", "small.toml", "--boot", "-1"], "--boot: -1 is out of range"),
        (["run", "small.toml", "--workers", "0"], "--workers: 0 is not"),
        (["run", "small.toml", "--backend", "gpu"], "'gpu' is not one of"),
        (["run", "small.toml", "--out", "small.toml"], "small.toml: exists and is not a result folder"),
        (["run", "small.toml", "--out", "/proc/x"], "/proc/x: cannot be written"),
        (["run"], "Missing argument 'EXPERIMENT'"),
        (["rum"], "No such command 'rum'"),
        (["report", "."], "is not a result folder"),
        (["report", "nowhere"], "is not a result folder"),
        (["run", "small.toml", "--set", "timing.gap_sigma=-1"], "--set timing.gap_sigma=-1: timing.gap_sigma: "),
        (["run", "small.toml", "--shard", "0/3"], "--shard: '0/3' is not a part of a run"),
        (["run", "small.toml", "--backend", "dask"], "--backend dask, --scheduler: go together"),
        (["new", "small"], "small.toml: exists"),
        (["new", "a b"], "experiment.name: 'a b' cannot name a folder"),
        (["new", "/proc/x"], "/proc/x.toml: cannot be written"),
        (["merge"], "Missing argument 'RESULT...'"),
        ([], "Usage: mcsim"),
    ],
)
def test_bad_input_is_one_message_on_stderr_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert not printed.out
    assert "Traceback" not in printed.err


def test_a_new_experiment_runs_at_once_and_has_its_schema_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_cli(["new", "my-board"]) == 0
    assert "next: mcsim run my-board.toml" in capsys.readouterr().out
    assert run_cli(["schema"]) == 0
    assert (tmp_path / "mcsim.schema.json").read_text() == capsys.readouterr().out
    assert (tmp_path / "my-board.toml").read_text().startswith("#:schema mcsim.schema.json\n")
    assert run_cli(["run", "my-board.toml", "--boots", "20"]) == 0
    assert "my-fix" in capsys.readouterr().out


def test_a_level_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["run", "small.toml"])
    capsys.readouterr()
    assert run_cli(["report", "results/small", "--level", "95"]) == 2
    assert "a number between 0 and 1" in capsys.readouterr().err


def test_another_experiment_in_the_folder_is_refused_with_both_sides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_cli(["run", "small.toml"])
    assert run_cli(["run", "small.toml", "--seed", "5"]) == 2
    errors = capsys.readouterr().err
    assert "experiment.seed: 0 there, 5 here" in errors
    assert "--out" in errors


@pytest.mark.parametrize(
    "command", [[], ["run"], ["report"], ["list"], ["conform"], ["merge"], ["verify"], ["new"], ["schema"]]
)
def test_help_fits_a_terminal_and_shows_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([*command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert command == ["list"] or any(line.strip().startswith("mcsim ") for line in lines)


def test_python_m_mcsim_works_anywhere_and_starts_quickly(tmp_path: Path) -> None:
    times = []
    for _ in range(5):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "mcsim", "--version"], cwd=tmp_path, capture_output=True, text=True
        )
        times.append(time.monotonic() - started)
        assert done.returncode == 0
        assert re.fullmatch(r"mcsim \d+\.\d+\.\d+\n", done.stdout)
    assert min(times) < 1.0  # on an idle machine about 0.1 s


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "numba numpy polars scipy matplotlib pydantic rich joblib"
    code = f"import sys, mcsim.cli; print([each for each in {heavy.split()} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m mcsim list | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in ("0", "1", "141")
    assert "Traceback" not in done.stderr
