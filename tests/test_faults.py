"""Each file that once got a wrong answer gets the right one; and the faults of `make faults` are noticed.

The files of tests/data/faults come in through the command line, as a user's would. tests/faults/inputs.py makes them.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import DATA, HANGS, RECORDINGS, ROOT

from mcsim import files
from mcsim.cli import run_cli
from tests.faults import inputs
from tests.faults.__main__ import page, plan
from tests.faults.kinds import KINDS
from tests.faults.world import CannotBeTriedError, Command, FaultError, Tally, World

FOLDER = DATA / "faults"
ONE_BOOT = ("--variant", "maple-naive", "--ram", "33M", "--boot", "0")
LONGEST = 4000  # characters of a message

# By the beginning of a file's name: the command that reads it, and how that ends. 0 or 2: nothing of the file's own
# control characters is printed, whatever the answer.
DOORS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "counts-": (("check", "model", "--counts", "FILE", "--out", "OUT"), (2,)),
    "experiment-": (("run", "FILE", "--out", "OUT"), (2,)),
    "program-control": (("run", "EXPERIMENT", *ONE_BOOT, "-v"), (0, 2)),
    "program-": (("run", "EXPERIMENT", *ONE_BOOT), (2,)),
    "timing-": (("run", "EXPERIMENT", *ONE_BOOT), (2,)),
    "vectors-": (("check", "allocators", "FILE"), (2,)),
    "workload-control": (("run", "EXPERIMENT", *ONE_BOOT, "-v"), (0, 2)),
    "workload-": (("run", "EXPERIMENT", *ONE_BOOT), (2,)),
}
EXPERIMENT = """
[experiment]
variants = ["maple-naive"]
ram = "33M"
boots = 2
[workload]
file = "{file}"
"""


class Answer(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def mine() -> list[Path]:
    """The files of the folder that come in here; others belong to other tests."""
    return [path for path in sorted(FOLDER.iterdir()) if any(path.name.startswith(name) for name in DOORS)]


def in_a_process(words: list[str], folder: Path) -> Answer:
    """A command in a process of its own, because a wrong answer may be a crash."""
    done = subprocess.run(
        [sys.executable, "-m", "mcsim", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def here(words: list[str], folder: Path) -> Answer:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_cli(words)
    return Answer(code, out.getvalue(), err.getvalue())


def check_message(done: Answer, codes: tuple[int, ...]) -> None:
    """The exit code, one message, no traceback, nothing that moves a terminal's cursor."""
    told = done.out + done.err
    assert "Traceback" not in told
    assert done.code in codes, told[-2000:]
    assert files.printable(told) == told.replace("\t", " ")
    if done.code == 2:
        progress, _, message = done.err.partition("mcsim: ")
        assert all(line.startswith(("compiling", "compiled")) for line in progress.splitlines())
        assert message
        assert "mcsim: " not in message
        assert len(message) < LONGEST
        assert not done.out


@pytest.mark.parametrize("path", mine(), ids=lambda path: path.name)
def test_a_file_that_once_got_a_wrong_answer_gets_the_right_one(path: Path, tmp_path: Path) -> None:
    words, codes = next(door for name, door in DOORS.items() if path.name.startswith(name))
    experiment = tmp_path / "experiment.toml"
    experiment.write_text(EXPERIMENT.format(file=path))
    there = {"FILE": str(path), "EXPERIMENT": str(experiment), "OUT": str(tmp_path / "out")}
    ask = in_a_process if path.suffix == ".npz" else here
    done = ask([there.get(word, word) for word in words], tmp_path)
    check_message(done, codes)
    if codes == (2,):
        assert path.name in done.err or "experiment.toml" in done.err or "workload" in done.err


def test_the_folder_is_what_its_script_makes() -> None:
    for name, content in inputs.texts().items():
        assert (FOLDER / name).read_text() == content
    assert inputs.programs().keys() <= {path.name for path in FOLDER.glob("*.npz")}
    assert all(path.stat().st_size < 40_000 for path in FOLDER.rglob("*"))


@pytest.fixture(scope="module")
def damaged_recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return inputs.recordings(tmp_path_factory.mktemp("recordings"))


@pytest.mark.parametrize("command", ["import", "check recordings"])
def test_a_damaged_recording_is_refused(command: str, damaged_recordings: dict[str, Path], tmp_path: Path) -> None:
    for name, path in damaged_recordings.items():
        if name == "context 255" and command != "import":
            continue  # the check does not read that column
        where = ["--out", str(tmp_path / "out")] if command == "import" else []
        before = path.read_bytes()
        done = in_a_process([*command.split(), str(path), *where], tmp_path)
        # The check has printed the head of its table by then.
        check_message(done if command == "import" else done._replace(out=""), (2,))
        assert path.read_bytes() == before
        assert not list(tmp_path.glob("out/*.npz"))


def test_a_line_of_70_megabytes_is_refused(tmp_path: Path) -> None:
    path = inputs.vectors_of_one_line(tmp_path / "vectors.jsonl.gz")
    assert path.stat().st_size < 1 << 17
    done = here(["check", "allocators", str(path)], tmp_path)
    check_message(done, (2,))
    assert "longer than" in done.err


def test_the_recording_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    for name in ("N_V0_64MB_j0_a.npz", "symbols_N.csv"):
        (tmp_path / name).write_bytes((RECORDINGS / name).read_bytes())
    before = (tmp_path / "N_V0_64MB_j0_a.npz").read_bytes()
    done = here(["import", "N_V0_64MB_j0_a.npz"], tmp_path)
    check_message(done, (2,))
    assert (tmp_path / "N_V0_64MB_j0_a.npz").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["run", "mail-2022", "--set", "experiment.title=" + "[" * 20_000],
        ["run", "mail-2022", "--set", "experiment.seed=" + "9" * 5000],
        ["run", "mail-2022", "--set", "experiment.boots=7\nx=99"],
        ["run", "mail-2022", "--set", "\x1b[2J=1"],
        ["run", "x" * 300],
        ["report", "x" * 300],
        ["run", "mail-2022", "--out", "x" * 300],
        ["import", "x" * 300],
        ["new", ""],
        ["new", "."],
        ["plan", "--upper", "1e-320"],
        ["plan", "--p1", "0.1", "--p2", "0.2", "--power", "0.9999999999999999"],
        ["min-ram", "mail-2022", "--variant", "tail-free", "--p", "1e-320"],
        ["min-ram", "mail-2022", "--variant", "tail-free", "--p", "0.1", "--level", "0.9999999999999999"],
    ],
    ids=lambda words: " ".join(words)[:60].encode("unicode_escape").decode(),
)
def test_words_that_once_got_a_traceback_or_none_get_a_message(words: list[str], tmp_path: Path) -> None:
    check_message(here(words, tmp_path), (2,))


# The faults themselves: what is lost, wrong, a traceback or a hang is noticed.

BROKEN = """
import json, os, subprocess, sys, time
words = sys.argv[1:]
out = words[words.index("--out") + 1]
how = os.environ.get("HOW", "")
os.makedirs(out, exist_ok=True)
if how == "traceback": {}["key"]
if how == "hang": time.sleep(3600)
if how == "refuse": sys.exit(2)
if how == "leave": subprocess.Popen(["sleep", "3600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if how == "temporary": open(out + "/.answer.1.tmp", "w").write("half")
if how == "input": open("small.toml", "a").write("# changed")
open(out + "/answer", "w").write("right" if how != "wrong" else "2.81")
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "broken.py").write_text(BROKEN)
    folder = tmp_path / "world"
    folder.mkdir()
    made = World(folder, 0, mcsim=(sys.executable, str(tmp_path / "broken.py")))
    made.answers["broken"] = "right"
    return made


def command(name: str = "broken") -> Command:
    return Command(name, ("run", "--out", "OUT"), lambda out: (out / "answer").read_text())


def test_a_command_without_faults_recovers(world: World) -> None:
    world.recovers(command(), world.new("broken"))


@pytest.mark.parametrize(
    ("how", "verdict"),
    [("refuse", "lost"), ("wrong", "wrong"), ("traceback", "traceback"), ("temporary", "lost"), ("input", "lost")],
)
def test_what_a_fault_leads_to_is_told(world: World, how: str, verdict: str) -> None:
    with pytest.raises(FaultError) as found:
        world.recovers(command(), world.new("broken"), HOW=how)
    assert found.value.verdict == verdict


def test_a_hang_is_told_and_ended(world: World) -> None:
    running = world.start(command().words, world.new("broken"), HOW="hang")
    with pytest.raises(FaultError) as found:
        running.wait(1.0)
    assert found.value.verdict == "hang"
    assert running.process.poll() is not None


def test_processes_that_stay_are_told_and_ended(world: World) -> None:
    running = world.start(command().words, world.new("broken"), HOW="leave")
    assert running.wait().code == 0
    assert len(running.family()) == 1
    with pytest.raises(FaultError, match="1 processes are left"):
        running.check_gone(0.5)
    deadline = time.monotonic() + HANGS
    while running.family() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running.family()


def test_a_command_dies_at_its_file_event(tmp_path: Path) -> None:
    out = tmp_path / "new"

    def run(number: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "tests.faults.killat", str(number), str(tmp_path), "new", str(out)]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths})

    whole = run(0)
    assert whole.returncode == 0, whole.stderr
    events = int(whole.stderr.split()[-1])
    assert events >= 2
    for path in tmp_path.glob("*"):
        path.unlink()
    assert run(1).returncode == -9
    assert not list(tmp_path.glob("*.toml"))


def test_the_last_line_counts_and_the_table_says_what_was_not_tried() -> None:
    tally = Tally({"kill": Counter(recovered=3, lost=1)}, ["kill 2: lost: all"], {"disk_full": "needs a right"})
    tally.tries["disk_full"] = Counter()
    assert not tally.clean
    printed = page(tally, 1.0)
    assert printed.endswith("faults: 4 faults, 1 lost, 0 wrong, 0 tracebacks, 0 hangs")
    assert re.search(r"disk_full +0 .* not tried: needs a right", printed)


def test_ten_kills_and_every_kind_are_tried_more_at_night() -> None:
    names = Counter(name for name, _, _ in plan(10, None))
    assert names["kill"] == 10
    assert names.keys() - {"kill"} == {kind.name for kind in KINDS if not kind.nightly}
    night = Counter(name for name, _, _ in plan(200, None))
    assert night["kill"] == 200
    assert night.keys() - {"kill"} == {kind.name for kind in KINDS}
    assert {name for name, _, _ in plan(10, "disk_full")} == {"disk_full"}


def test_a_fault_that_cannot_be_made_here_is_no_fault(world: World) -> None:
    from tests.faults.__main__ import try_all

    def cannot(world: World, number: int) -> None:
        raise CannotBeTriedError("needs a right")

    def loses(world: World, number: int) -> None:
        raise FaultError("lost", "all of it")

    tally = try_all(world, [("cannot", cannot, 0), ("loses", loses, 0)], 1)
    assert tally.skipped == {"cannot": "needs a right"}
    assert tally.total("lost") == 1
    assert tally.words == ["loses 0 (loses): lost: all of it"]
