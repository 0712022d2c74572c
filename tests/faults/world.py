"""Commands, what an undisturbed one leaves behind, and what is asked after a fault."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LIMIT = 300.0  # seconds for one command: kernels may have to be compiled
VERDICTS = ("recovered", "lost", "wrong", "traceback", "hang")
RECORDINGS = ROOT / "tests" / "data" / "recordings"
PROGRAM = ROOT / "experiments" / "recordings" / "C" / "C_V0_64MB_j2_c.npz"

EXPERIMENT = """
[experiment]
title = "{title}"
variants = ["maple-naive", "tail-free"]
ram = ["33M", "34M"]
boots = {boots}
seed = 1
[machine]
board = "m5208evb"
[workload]
file = "program.npz"
"""


class FaultError(Exception):
    """What a fault has led to: one of VERDICTS but the first, and words."""

    def __init__(self, verdict: str, what: str) -> None:
        self.verdict, self.what = verdict, what
        super().__init__(f"{verdict}: {what}")


class CannotBeTriedError(Exception):
    """This machine or user cannot make the fault."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """A command that can be given again. `words` have OUT where its folder goes; `answer` reads that folder."""

    name: str
    words: tuple[str, ...]
    answer: Callable[[Path], Any]


@dataclass
class Tally:
    """What became of the tries of each kind of fault."""

    tries: dict[str, Counter[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def total(self, verdict: str) -> int:
        return sum(each[verdict] for each in self.tries.values())

    @property
    def clean(self) -> bool:
        return not any(self.total(verdict) for verdict in VERDICTS[1:])


class World:
    """A folder with an experiment, its program and a recording, and mcsim as subprocesses."""

    def __init__(self, folder: Path, seed: int, mcsim: Sequence[str] = (sys.executable, "-m", "mcsim")) -> None:
        self.folder, self.seed, self.mcsim = folder, seed, tuple(mcsim)
        self.mark = f"faults-{uuid.uuid4()}"  # in the environment of every process that we start, and of theirs
        self._number = 0
        self._lock = Lock()
        shutil.copy(PROGRAM, folder / "program.npz")
        (folder / "small.toml").write_text(EXPERIMENT.format(boots=60, title="small"))
        (folder / "long.toml").write_text(EXPERIMENT.format(boots=6000, title="long"))
        (folder / "latin.toml").write_text(EXPERIMENT.format(boots=10, title="起動の失敗"))
        for name in ("N_V0_64MB_j0_a.npz", "symbols_N.csv"):
            shutil.copy(RECORDINGS / name, folder / name)
        self.inputs = hashes(folder)
        self.run_command = Command("run", ("run", "small.toml", "--workers", "1", "--out", "OUT"), table)
        self.commands = {
            "run": self.run_command,
            "rare": Command("rare", (*RARE, "--out", "OUT"), rare_lines),
            "merge": Command("merge", ("merge", "whole", "whole", "-o", "OUT"), table),
            "import": Command("import", ("import", "N_V0_64MB_j0_a.npz", "--out", "OUT"), program_digest),
            "report": Command("report", ("report", "OUT"), table),
        }
        self.answers: dict[str, Any] = {}
        self.events: dict[str, int] = {}
        self.seconds = 1.0

    def undisturbed(self) -> None:
        """Run each command once in peace: its answer, how many file events and how long it takes."""
        whole = self.folder / "whole"
        for name, command in self.commands.items():
            out = whole if name == "run" else self.new(name)
            self.run(command.words, out)  # warm: compiled, cached
            again = self.new(name)
            began = time.monotonic()
            done = self.start(command.words, again, kill_at=0).wait()
            self.seconds = time.monotonic() - began if name == "run" else self.seconds
            if done.code:
                raise RuntimeError(f"mcsim {name} fails without any fault:\n{done.err}")
            self.events[name] = int(done.err.split()[-1])
            self.answers[name] = command.answer(out)
            if self.answers[name] != command.answer(again):
                raise RuntimeError(f"mcsim {name} has two answers without any fault")

    def new(self, name: str) -> Path:
        """A folder for a command's results, not there yet; of `report` a result."""
        with self._lock:
            self._number += 1
            out = self.folder / f"out-{self._number}"
        if name == "report":
            shutil.copytree(self.folder / "whole", out)
        return out

    def random(self, *number: int) -> np.random.Generator:
        """Numbers of one try."""
        return np.random.Generator(np.random.Philox(key=[self.seed, 13], counter=[0, 0, 0, sum(number)]))

    def environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Ours with changes (None: unset), and our mark."""
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        given: dict[str, str | None] = {**os.environ, "PYTHONPATH": paths, "FAULTS_MARK": self.mark, **changes}
        given["PYTHONFAULTHANDLER"] = "1"
        return {name: value for name, value in given.items() if value is not None}

    def start(
        self,
        words: Sequence[str],
        out: Path | None = None,
        *,
        kill_at: int | None = None,
        limits: str = "",
        **changes: str | None,
    ) -> Running:
        """Begin a command. kill_at: SIGKILL at this file event. limits: words for the shell's ulimit."""
        arguments = [str(out) if word == "OUT" else word for word in words]
        command = [*self.mcsim, *arguments]
        if kill_at is not None:
            command = [sys.executable, "-m", "tests.faults.killat", str(kill_at), str(out), *arguments]
        if limits:
            command = ["bash", "-c", f'ulimit {limits}; exec "$@"', "bash", *command]
        mark = f"{self.mark}-{uuid.uuid4()}"
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment(changes), "FAULTS_MARK": mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        return Running(process, mark)

    def run(self, words: Sequence[str], out: Path | None = None, **how: Any) -> Done:
        """A command from beginning to end; FaultError for a traceback, a hang, or processes left."""
        running = self.start(words, out, **how)
        done = running.wait()
        running.check_gone()
        if "Traceback" in done.err or "panicked" in done.err:
            raise FaultError("traceback", f"{' '.join(words)}: {done.err[-1500:]}")
        return done

    def refused(self, words: Sequence[str], out: Path | None = None, **how: Any) -> Done:
        """The command has to end with exit code 2 and a message."""
        done = self.run(words, out, **how)
        if done.code != 2 or not done.err.strip():
            raise FaultError("wrong", f"{' '.join(words)}: exit code {done.code}, {done.err[-500:]!r}")
        return done

    def recovers(self, command: Command, out: Path, **how: Any) -> None:
        """The same command once more: it ends well, its answer is that of an undisturbed one, nothing is left over."""
        done = self.run(command.words, out, **how)
        if done.code:
            raise FaultError("lost", f"{command.name} again: exit code {done.code}, {done.err[-800:]}")
        self.whole(command, out)

    def whole(self, command: Command, out: Path) -> None:
        """What is there is the answer of an undisturbed command; no temporary files; inputs as they were."""
        try:
            answer = command.answer(out)
        except Exception as error:
            raise FaultError("lost", f"{command.name}: {type(error).__name__}: {error}") from error
        if answer != self.answers[command.name]:
            raise FaultError(
                "wrong", f"{command.name}: another answer:\n{answer}\nundisturbed:\n{self.answers[command.name]}"
            )
        left = [path.name for path in [*out.rglob(".*"), *out.parent.glob(f".{out.name}*")] if path.suffix == ".tmp"]
        if left:
            raise FaultError("lost", f"{command.name}: temporary files are left: {', '.join(left)}")
        self.unchanged()

    def unchanged(self) -> None:
        """Inputs are as they were."""
        now = {name: digest for name, digest in hashes(self.folder).items() if name in self.inputs}
        if now != self.inputs:
            raise FaultError("lost", f"inputs have changed: {set(self.inputs.items()) ^ set(now.items())}")


@dataclass
class Running:
    """A command that has begun."""

    process: subprocess.Popen[str]
    mark: str

    def wait(self, limit: float = LIMIT) -> Done:
        """Its end; FaultError if there is none."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.end()
            raise FaultError("hang", f"no end after {limit:.0f} s: {' '.join(map(str, self.process.args))}") from None  # type: ignore[arg-type]
        return Done(self.process.returncode, out, err)

    def kill(self, number: int = signal.SIGKILL) -> Done:
        """A signal to the command alone, not to its children: they have to end by themselves."""
        self.process.send_signal(number)
        try:
            self.process.wait(60.0)
        except subprocess.TimeoutExpired:
            self.end()
            raise FaultError("hang", f"no end 60 s after signal {number}") from None
        self.check_gone()
        return self.wait()

    def end(self) -> None:
        """Nothing of it stays."""
        for number in (self.process.pid, *self.family()):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.process.communicate()

    def family(self) -> list[int]:
        """The processes that it has begun, wherever they are now."""
        return [number for number in marked(self.mark) if number != self.process.pid]

    def check_gone(self, seconds: float = 20.0) -> None:
        """FaultError if processes of it are left so long after its end."""
        deadline = time.monotonic() + seconds
        while left := self.family():
            if time.monotonic() > deadline:
                for number in left:
                    os.kill(number, signal.SIGKILL)
                raise FaultError("lost", f"{len(left)} processes are left {seconds:.0f} s after the end")
            time.sleep(0.1)

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until something holds; False if the command ends before."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def marked(mark: str) -> list[int]:
    """The processes with this text in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a folder itself."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


RARE = (
    "rare",
    "small.toml",
    "--variant",
    "tail-free",
    "--ram",
    "36M",
    "--repetitions",
    "5",
    "--boots",
    "20",
    "--workers",
    "1",
)


def table(out: Path) -> str:
    """The table of a result, and the hash of all its outcomes."""
    import mcsim

    result = mcsim.load(out)
    return f"{result.summary().write_csv()}{result.store.content_hash()}"


def rare_lines(out: Path) -> list[str]:
    """The repetitions of a rare estimate."""
    (path,) = out.glob("*.jsonl")
    return path.read_text().splitlines()


def program_digest(out: Path) -> str:
    """The digest of an imported program."""
    from mcsim import workload
    from tests.machines import BOARD

    return workload.load(out / "N_V0_64MB_j0_a.npz", BOARD).digest
