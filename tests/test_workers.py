"""Workers that die, and parents that do: one message, nothing lost, and no process stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import stand_in
from conftest import HANGS, small_text, wait_until

import mcsim
from mcsim.model import experiment

SMALL = small_text(boots=2000)
# `mcsim` on the stand-in for the kernels; `before(first, count)` is what a test wants to happen before a chunk.
SCRIPT = """
import hashlib, os, signal, sys, time
sys.path.insert(0, {tests!r})
import stand_in
from mcsim.cli import main
from mcsim.run import compiling, engine
from mcsim.simulator import simulator

parent = os.environ.setdefault("PARENT", str(os.getpid()))

def before(first, count):
    {before}

def simulate(task, source, first, count):
    before(first, count)
    return stand_in.simulate(task, source, first, count)

if __name__ == "__main__":
    simulator.simulate, simulator.load_workload = simulate, stand_in.load_workload
    compiling.compiled_marker = lambda what: None
    engine.CHUNK_SECONDS = 0.1
    main(sys.argv[1:])
"""
SLOWLY = "time.sleep(0.002 * count)"
A_WORKER_DIES = SLOWLY + "; first > 100 and str(os.getpid()) != parent and os.kill(os.getpid(), signal.SIGKILL)"
# What Python cannot be interrupted in, as kernels are.
FOR_MINUTES = "count and (open('begun', 'w').close(), hashlib.pbkdf2_hmac('sha256', b'', b'', 2**30))"

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


@contextmanager
def running(folder: Path, before: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`mcsim run` in `folder` with two workers, in a process group of its own."""
    (folder / "small.toml").write_text(SMALL)
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(tests=str(Path(stand_in.__file__).parent), before=before)))
    process = subprocess.Popen(
        [sys.executable, str(script), "run", "small.toml", "--workers", "2", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_words(process: "subprocess.Popen[str]") -> str:
    """What the command said, when the last process that holds its end of the pipe has ended: workers, too."""
    _, errors = process.communicate(timeout=HANGS)
    return errors


def shared_memory(process: "subprocess.Popen[str]") -> list[str]:
    """What the command keeps in shared memory."""
    there = Path("/dev/shm")
    names = [path.name for path in there.iterdir()] if there.is_dir() else []
    return [name for name in names if str(process.pid) in name.replace("_", "-").split("-")]


def test_a_worker_that_is_killed_is_one_message_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, A_WORKER_DIES, "--backend", "processes") as process:
        errors = last_words(process)
    assert process.returncode == 2, errors
    assert "mcsim: --backend processes: a worker process died (killed, or out of memory?)" in errors
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    assert shared_memory(process) == []
    before = mcsim.load(tmp_path / "results" / "small")
    assert before.manifest["runs"][-1]["complete"] is False
    assert before.manifest["runs"][-1]["boots_done"] == before.summary()["boots"].sum()
    stand_in.use_stand_in(monkeypatch, tmp_path)
    after = mcsim.run(experiment.load("small.toml"), out="results/small")
    assert after.summary()["boots"].to_list() == [2000] * 4


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_parent_is_killed(signal_number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path, SLOWLY, "--backend", "processes") as process:
        wait_until(lambda: len(list(tmp_path.rglob("*.parquet"))) >= 4, process)
        process.send_signal(signal_number)
        last_words(process)
    assert process.returncode != 0
    assert shared_memory(process) == []


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("moment", ["manifest.json", "begun"], ids=["while workers start", "while a boot takes long"])
def test_ctrl_c_is_answered_at_once(moment: str, backend: str, tmp_path: Path) -> None:
    with running(tmp_path, FOR_MINUTES, "--backend", backend) as process:
        wait_until(lambda: list(tmp_path.rglob(moment)), process)
        os.killpg(process.pid, signal.SIGINT)
        errors = last_words(process)
    assert process.returncode == 130, errors
    assert "the same command continues" in errors
    assert "Traceback" not in errors
