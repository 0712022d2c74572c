"""The command line: exit codes, messages on the right stream, help that teaches."""

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import stand_in
from conftest import HANGS, ROOT, SLOW_MCSIM, small_text, wait_until

import mcsim
from mcsim.cli import cli, run_cli
from mcsim.errors import TerminatedError
from mcsim.model import experiment
from mcsim.store.store import Store

SMALL = small_text(ram="32M", boots=30)


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)


def test_run_prints_a_table_and_the_answer_last_and_says_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "small.toml"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^   RAM +\[1\] +\[2\]\n   32M +[<>\d.]+ +[<>\d.]+$", printed.out, re.M)
    last = " ".join(printed.out.split("\n\n")[-1].split())
    assert last.startswith(("tail-free helps: at 32M", "Undecided: "))
    written = next(line for line in printed.err.splitlines() if line.startswith("written to results/small: "))
    assert {"p_oom.png", "report.html", "table.txt"} <= set(written.partition(": ")[2].split(", "))
    assert "60 of 60 boots" in printed.err


def test_a_line_per_cell_is_printed_only_if_asked_for_and_always_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = re.compile(r"^maple-naive +32M +30 ", re.M)
    assert run_cli(["run", "small.toml"]) == 0
    assert not line.search(capsys.readouterr().out)
    assert line.search((tmp_path / "results/small/table.txt").read_text())
    for command in (["run", "small.toml"], ["report", "results/small"]):
        assert run_cli([*command, "--cells"]) == 0
        assert line.search(capsys.readouterr().out)


def test_a_level_is_that_of_all_intervals(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_cli(["run", "small.toml", "--level", "0.99"]) == 0
    assert "99 % interval" in " ".join(capsys.readouterr().out.split())
    assert "exact 99 %" in (tmp_path / "results/small/table.txt").read_text()
    assert run_cli(["run", "small.toml", "--level", "1"]) == 2


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
        (["run", "small.toml", "--workers", "1000000"], "--workers: 1000000 is not"),
        (["run", "small.toml", "--backend", "gpu"], "'gpu' is not one of"),
        (["run", "small.toml", "--out", "small.toml"], "small.toml: exists and is not a result folder"),
        (["run", "small.toml", "--out", "/proc/x"], "/proc/x: cannot be written"),
        (["run"], "Missing argument 'EXPERIMENT'"),
        (["rum"], "No such command 'rum'"),
        (["report", "."], "is not a result folder"),
        (["report", "nowhere"], "is not a result folder"),
        (["report", "nowhere", "--cells", "--format", "csv"], "--cells: does not go with --format csv"),
        (["run", "small.toml", "--set", "timing.gap_sigma=-1"], "--set timing.gap_sigma=-1: timing.gap_sigma: "),
        (["run", "small.toml", "--shard", "0/3"], "--shard: '0/3' is not a part of a run"),
        (["run", "small.toml", "--backend", "dask"], "--backend dask, --scheduler: go together"),
        (["new", "small"], "small.toml: exists"),
        (["new"], "NAME, --schema: say what is new"),
        (["new", "x", "--schema"], "valid: one of them"),
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
    assert run_cli(["new", "--schema"]) == 0
    assert (tmp_path / "mcsim.schema.json").read_text() == capsys.readouterr().out
    assert (tmp_path / "my-board.toml").read_text().startswith("#:schema mcsim.schema.json\n")
    assert run_cli(["run", "my-board.toml", "--boots", "20"]) == 0
    assert "my-fix" in capsys.readouterr().out


def test_a_level_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["run", "small.toml"])
    capsys.readouterr()
    assert run_cli(["report", "results/small", "--level", "95"]) == 2
    assert "a number from 0.5 to 0.999999" in capsys.readouterr().err


def test_another_experiment_in_the_folder_is_refused_with_both_sides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_cli(["run", "small.toml"])
    assert run_cli(["run", "small.toml", "--seed", "5"]) == 2
    errors = capsys.readouterr().err
    assert "experiment.seed: 3 there, 5 here" in errors
    assert "--out" in errors


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


@pytest.mark.parametrize("command", list(commands(cli)), ids=" ".join)
def test_help_fits_a_terminal_and_shows_examples(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run_cli([*command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    words = " ".join(("mcsim", *command))
    assert command == ("list",) or any(line.strip().startswith(words) for line in lines)


def test_the_first_help_fits_a_screen_and_names_every_command_once_in_its_section(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    found: dict[str, list[str]] = {}
    for line in lines:
        if re.fullmatch(r"\w[\w ]*:", line):
            section = found[line[:-1]] = []
        elif found and re.match(r"  [a-z]", line):
            section.append(line.split()[0])
    found.pop("Options")
    assert found == {
        "Ask": ["run", "report", "compare", "explain", "plan", "min-ram", "sensitivity", "rare", "diagnose"],
        "Own board": ["new", "import", "list"],
        "Trust": ["check"],
        "Keep": ["merge"],
    }
    assert sorted(name for names in found.values() for name in names) == sorted(cli.commands)


def test_a_command_of_check_is_found_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["allocators"]) == 2
    assert "No such command 'allocators'. Did you mean 'check allocators'?" in capsys.readouterr().err


def test_an_option_of_one_name_is_the_same_option_in_every_command() -> None:
    """But for the words of help that say of what --boots is the number and what --out holds, and for defaults."""
    ask = [cli.commands[name] for name in ("run", "explain", "min-ram", "sensitivity", "rare")]
    for name in ("--boots", "--seed", "--level", "--set", "--out", "--workers"):
        options = [next(each for each in command.params if name in each.opts) for command in ask]
        assert len({(each.metavar, each.type.name, each.nargs, each.multiple) for each in options}) == 1, name
        if name not in ("--boots", "--out"):
            assert len({each.help for each in options}) == 1, name


@pytest.mark.parametrize("command", ["explain", "min-ram", "sensitivity", "rare"])
def test_a_cell_is_asked_for_by_its_variant_and_the_variants_are_named(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--p", "0.1"] if command == "min-ram" else []
    assert run_cli([command, "small.toml", *options]) == 2
    assert "Missing option '--variant'. valid: maple-naive, tail-free" in capsys.readouterr().err
    assert run_cli([command, "nope", *options]) == 2
    printed = capsys.readouterr().err
    assert "Missing option '--variant'. no such experiment: 'nope'" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("command", ["explain", "min-ram", "sensitivity", "rare"])
def test_keys_are_replaced_wherever_an_experiment_is_taken(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--p", "0.1"] if command == "min-ram" else []
    cell = ["--variant", "tail-free", "--ram", "32M"]
    assert run_cli([command, "small.toml", *cell, *options, "--set", "timing.gap_sgma=1"]) == 2
    assert "--set timing.gap_sgma=1: timing.gap_sgma: " in capsys.readouterr().err


def test_python_m_mcsim_works_anywhere(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mcsim", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert re.fullmatch(r"mcsim \d+\.\d+\.\d+\n", done.stdout)


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "numba numpy polars scipy matplotlib pydantic rich joblib"
    code = f"import sys, mcsim.cli; print([each for each in {heavy.split()} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["list", "--help", "new --schema"])
def test_a_closed_pipe_ends_a_command_as_shells_expect(command: str) -> None:
    code = f"import os, sys; os.close(0); from mcsim.cli import main; sys.argv[1:] = {command.split()!r}; main()"
    read, write = os.pipe()
    os.close(read)  # nobody has ever listened
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], None]:
    """Lets `mcsim list` end with an error that it should not have; tracebacks go to `tmp_path`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def break_it(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(experiment, "shipped", fail)

    return break_it


class PanicException(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        KeyError("names"),
        ValueError("\x1b]0;pwned\x07\nof many lines"),
        MemoryError(),
        RecursionError("too deep"),
        EOFError(),
        OSError("of a library, without a number"),
        PanicException("index out of bounds"),
        SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_nobody_foresaw_is_no_verdict(
    error: BaseException,
    broken: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    broken(error)
    assert run_cli(["list"]) == 70
    printed = capsys.readouterr().err
    assert type(error).__name__ in printed
    assert "Traceback" not in printed
    assert printed.replace("\n", "").isprintable()
    (saved,) = tmp_path.glob("mcsim-error-*.txt")
    assert str(saved) in printed
    assert "Traceback (most recent call last)" in saved.read_text()
    assert saved.stat().st_mode & 0o077 == 0


def test_an_unforeseen_error_is_told_where_nothing_can_be_written(
    broken: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(KeyError("names"))
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    assert run_cli(["list"]) == 70
    printed = capsys.readouterr().err
    assert "KeyError: 'names'" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), 2, "mcsim: x: No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file", "gone\x1b[2J"), 2, "mcsim: gone\\x1b[2J: No such file"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (KeyboardInterrupt(), 130, "interrupted"),
        (TerminatedError(15), 143, "terminated"),
        (TerminatedError(1), 129, "terminated"),
    ],
)
def test_what_the_system_refuses_or_asks_for_has_its_code(
    error: BaseException,
    code: int,
    words: str,
    broken: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken(error)
    assert run_cli(["list"]) == code
    assert capsys.readouterr().err.strip() == words


def test_words_that_find_no_room_are_bad_input_not_a_traceback() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-m", "mcsim", "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "mcsim: No space left on device\n")


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])
def test_a_terminal_that_is_not_utf_8_gets_what_it_can_show(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "title.toml").write_text(SMALL.replace("[workload]", 'title = "起動 ü"\n[workload]'), encoding="utf-8")
    mcsim.run("title.toml", out="titled")
    command = [sys.executable, "-m", "mcsim", "report", "titled", "--format", "markdown"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0
    assert "\\u8d77\\u52d5" in done.stdout.decode(encoding)
    assert b"Traceback" not in done.stderr


def test_streams_that_are_closed_end_no_command(tmp_path: Path) -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m mcsim list >&- 2>&-"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@contextmanager
def listening(command: list[str], number: int, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not ignore this signal, whoever started the tests; it is gone afterwards."""

    def listen() -> None:
        signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_whose_boots_are_kept(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.replace("boots = 30", "boots = 100000"))
    command = [*SLOW_MCSIM, "run", "small.toml", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with listening(command, number, cwd=tmp_path, env=environment) as run:
        wait_until(lambda: list(tmp_path.rglob("*.parquet")), run)
        run.send_signal(number)
        _, errors = run.communicate(timeout=HANGS)
    assert run.returncode == code
    assert "Traceback" not in errors
    assert "Finished boots are kept in results/small" in errors
    (record,) = Store(tmp_path / "results/small").run_records()
    assert "finished" in record
    assert not record["complete"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_whose_kernel_does_not_hear_it(number: int, code: int) -> None:
    deaf = (
        "import hashlib, threading, mcsim.cli as cli; from mcsim.model import experiment; cli.SECONDS_TO_END = 0.2;"
        "experiment.shipped = lambda: hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1);"
        "threading.Timer(1.0, lambda: print('it does not hear', flush=True)).start();"
        "cli.main(['list'])"
    )
    with listening([sys.executable, "-c", deaf], number, stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("Experiments")
        command.stdout.readline()
        command.send_signal(number)
        _, errors = command.communicate(timeout=HANGS)
    assert command.returncode == code
    assert "is ended" in errors


def test_signals_that_are_ignored_stay_so() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); import mcsim.cli as cli;"
        "cli._listen_to_signals(); print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"


def test_shells_still_complete_words() -> None:
    environment = {**os.environ, "_MCSIM_COMPLETE": "bash_complete", "COMP_WORDS": "mcsim ru", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "mcsim"], capture_output=True, text=True, env=environment)
    assert done.stdout == "plain,run\n"


ESCAPE = "\x1b]0;pwned\x07"


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        (SMALL + '[experiment2]\n"\\u001b]0;pwned\\u0007" = 2\n', ["run", "e.toml"]),
        ('"\\u001b]0;pwned\\u0007" = 2\n', ["run", "e.toml"]),
        (f'[experiment]\n"{ESCAPE}" = 2\n', ["run", "e.toml"]),
        (f"{ESCAPE}\n", ["run", "e.toml"]),
        (SMALL.replace('"tail-free"', '"\\u001b]0;pwned\\u0007"'), ["run", "e.toml"]),
        ("", ["run", f"{ESCAPE}.toml"]),
        ("", ["new", ESCAPE]),
        ("", [ESCAPE]),
        ("", ["run", f"--{ESCAPE}"]),
        ("", ["run", "small.toml", "--set", f"experiment.x=1{ESCAPE}"]),
        ("", ["run", "small.toml", "--backend", ESCAPE]),
        ("", ["report", ESCAPE]),
    ],
)
def test_no_control_character_reaches_the_terminal(
    file: str, arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "e.toml").write_text(file)
    assert run_cli(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out + printed.err).replace("\n", "").isprintable()


def test_names_of_processes_are_shown_not_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in.WORKLOAD, "process_name", lambda recording, pid: f"in{ESCAPE}it")
    monkeypatch.setattr(stand_in, "chance", lambda text: 0.0 if " " not in text or text[0] == "0" else 0.5)
    run_cli(["run", "small.toml", "--boot", "3"])
    printed = capsys.readouterr().out
    assert r"(in\x1b]0;pwned\x07it)" in printed
    assert ESCAPE not in printed


def test_the_cell_that_the_template_leaves_out_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["new", "my"])
    assert run_cli(["run", "my.toml", "--variant", "my-fix", "--ram", "64M", "--boot", "3"]) == 2
    assert "[sweep] of this experiment leaves out my-fix at 64M" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "cannot name a folder"),
        (".", "cannot name a folder"),
        ("..", "cannot name a folder"),
        ("x/", "cannot name a folder"),
        ("a/b/c", "a/b: no such folder"),
        ("small.toml/x", "small.toml: no such folder"),
        ("x" * 300, "cannot name a folder"),
        ("x" * 300 + "/y", "no such folder"),
        ("dangling", "dangling.toml: exists"),
        ("folder", "folder.toml: exists"),
    ],
)
def test_new_refuses_names_that_cannot_be(
    name: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "dangling.toml").symlink_to("nowhere")
    (tmp_path / "folder.toml").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run_cli(["new", name]) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_new_keeps_what_is_there_and_every_part_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "mcsim.schema.json").write_text("mine")
    assert run_cli(["new", "board.v2"]) == 0
    assert (tmp_path / "mcsim.schema.json").read_text() == "mine"
    assert (tmp_path / "board.v2.toml").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
