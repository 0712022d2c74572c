"""The faults. Each kind is a function of a world and a try's number; it raises FaultError for what must not be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mcsim
from tests.faults.world import CannotBeTriedError, Command, Done, FaultError, World

LONG = ("run", "long.toml", "--workers", "2", "--out", "OUT")
PROCESSES = (*LONG, "--backend", "processes")


@dataclass(frozen=True)
class Kind:
    """A kind of fault, and how often it is tried at least; kills are tried as often as asked."""

    name: str
    attempt: Callable[[World, int], None]
    tries: int = 1
    nightly: bool = False  # takes minutes: kernels are compiled


# Kills


def kill_at_a_file_event(world: World, number: int) -> None:
    """SIGKILL before any of the file events of a command."""
    command = list(world.commands.values())[0 if number % 3 else number // 3 % len(world.commands)]
    events = world.events[command.name]
    out = world.new(command.name)
    # From one end to the other whatever their number, with the beginning of a folder in the first few tries.
    at = 1 + (number * 7 + int(world.random(number).integers(3))) % events
    done = world.start(command.words, out, kill_at=at).wait()
    if done.code != -signal.SIGKILL:
        raise FaultError("wrong", f"{command.name} ended with {done.code} before its file event {at} of {events}")
    world.recovers(command, out)


def kill_at_any_time(world: World, number: int) -> None:
    """SIGKILL, or SIGTERM, after any time."""
    out = world.new("run")
    running = world.start(world.run_command.words, out)
    time.sleep(float(world.random(number, 1 << 20).uniform(0.0, world.seconds)))
    done = running.kill((signal.SIGKILL, signal.SIGTERM)[number % 2])
    if "Traceback" in done.err:
        raise FaultError("traceback", done.err[-1500:])
    world.recovers(world.run_command, out)


def killed_twice(world: World, number: int) -> None:
    """SIGKILL at a file event, and again while the command continues."""
    out = world.new("run")
    for at in world.random(number, 1 << 21).integers(1, world.events["run"], size=2):
        world.start(world.run_command.words, out, kill_at=int(at)).wait()
    world.recovers(world.run_command, out)


def interrupted(world: World, number: int) -> None:
    """Ctrl-C in the middle: exit code 130, and the same command continues."""
    out = world.new("run")
    running = begun(world, LONG, out)
    done = running.kill(signal.SIGINT)
    if done.code != 130 or "Traceback" in done.err:
        raise FaultError(
            "traceback" if "Traceback" in done.err else "wrong", f"exit code {done.code}: {done.err[-1000:]}"
        )
    continued(world, out)


def worker_killed(world: World, number: int) -> None:
    """One of the worker processes is killed, as the system does where memory runs out."""
    out = world.new("run")
    running = begun(world, PROCESSES, out)
    workers = [each for each in running.family() if b"popen_loky" in Path(f"/proc/{each}/cmdline").read_bytes()]
    if not workers:
        running.end()
        raise FaultError("wrong", "no worker process found")
    os.kill(workers[0], signal.SIGKILL)
    done = running.wait(120.0)
    running.check_gone()
    expect_refusal(done)
    continued(world, out)


def parent_killed(world: World, number: int) -> None:
    """The command is killed, or told to end, and its workers are not."""
    out = world.new("run")
    running = begun(world, PROCESSES, out)
    done = running.kill((signal.SIGKILL, signal.SIGTERM)[number % 2])
    if "Traceback" in done.err:
        raise FaultError("traceback", done.err[-1500:])
    continued(world, out)


def begun(world: World, words: tuple[str, ...], out: Path):  # type: ignore[no-untyped-def]  # Running
    """A command that has stored some boots, and has many to go."""
    running = world.start(words, out)
    if not running.until(lambda: len(list(out.rglob("*.parquet"))) > 1):
        done = running.wait()
        raise FaultError("wrong", f"ended before it was disturbed: {done.code} {done.err[-500:]}")
    return running


def continued(world: World, out: Path) -> None:
    """What a long run has stored is part of the table; that of few boots is the undisturbed one's."""
    done = world.run(("run", "long.toml", "--boots", "60", "--workers", "1", "--out", "OUT"), out)
    if done.code:
        raise FaultError("lost", f"exit code {done.code}: {done.err[-800:]}")
    told = {(task.variant, task.ram): frame.filter(frame["boot"] < 60) for task, frame in outcomes(out).items()}
    true = {(task.variant, task.ram): frame for task, frame in outcomes(world.folder / "whole").items()}
    if told.keys() != true.keys() or not all(told[cell].equals(true[cell]) for cell in true):
        raise FaultError("wrong", f"other boots than those of an undisturbed run: {mcsim.load(out).summary()}")
    left = [path.name for path in out.rglob(".*") if path.suffix == ".tmp"]
    if left:
        raise FaultError("lost", f"temporary files are left: {', '.join(left)}")


def outcomes(out: Path):  # type: ignore[no-untyped-def]
    """The stored boots of a result, by task."""
    result = mcsim.load(out)
    return {task: result.outcomes_of(task) for task in result.tasks}


def expect_refusal(done: Done) -> None:
    """Exit code 2, one message."""
    if "Traceback" in done.err:
        raise FaultError("traceback", done.err[-1500:])
    if done.code != 2 or not done.err.strip():
        raise FaultError("wrong", f"exit code {done.code}: {done.err[-800:]}")


# Disks


@contextmanager
def small_disk(world: World, size: str) -> Iterator[Path]:
    """A file system of its own, of a size."""
    folder = world.new("disk")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if done.returncode:
        folder.rmdir()
        raise CannotBeTriedError("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk_full(world: World, number: int) -> None:
    """No room for the folder, for a chunk, or for the report; then room is made."""
    with small_disk(world, ("4k", "20k", "48k", "128k")[number % 4]) as disk:
        expect_refusal(world.run(world.run_command.words, disk / "out"))
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        world.recovers(world.run_command, disk / "out")


def file_too_large(world: World, number: int) -> None:
    """RLIMIT_FSIZE, in kB."""
    out = world.new("run")
    expect_refusal(world.run(world.run_command.words, out, limits=f"-f {(1, 2, 4, 16)[number % 4]}"))
    world.recovers(world.run_command, out)


def folder_read_only(world: World, number: int) -> None:
    """More boots for a folder that has become read-only; a new folder below one that is."""
    with small_disk(world, "64m") as disk:
        world.recovers(world.run_command, disk / "out")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        more = (*world.run_command.words, "--boots", "90")
        for words, out in (
            (more, disk / "out"),
            (world.run_command.words, disk / "new"),
            (("report", "OUT"), disk / "out"),
        ):
            expect_refusal(world.run(words, out))
        expect_refusal(world.run(world.commands["import"].words, disk / "out"))
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        world.recovers(world.run_command, disk / "out")


def name_too_long(world: World, number: int) -> None:
    """Names that no file can have."""
    name = "x" * 300
    for words in (
        ("run", "small.toml", "--out", name),
        ("report", name),
        ("run", name),
        ("import", name),
        ("check", "results", name),
    ):
        world.refused(words)
    world.refused(("merge", "whole", "-o", name))
    world.unchanged()


def folder_removed(world: World, number: int) -> None:
    """The result folder goes while the run goes on."""
    out = world.new("run")
    running = begun(world, LONG, out)
    shutil.rmtree(out, ignore_errors=True)
    time.sleep(0.5)
    shutil.rmtree(out, ignore_errors=True)
    running.process.send_signal(signal.SIGINT)
    done = running.wait(60.0)
    if "Traceback" in done.err:
        raise FaultError("traceback", done.err[-1500:])
    shutil.rmtree(out, ignore_errors=True)
    world.recovers(world.run_command, out)


def out_is_an_input(world: World, number: int) -> None:
    """What a command would write is what it reads: it is refused or goes elsewhere, the input stays."""
    copy = world.new("own")
    copy.mkdir()
    for name in ("N_V0_64MB_j0_a.npz", "symbols_N.csv"):
        shutil.copy(world.folder / name, copy / name)
    before = (copy / "N_V0_64MB_j0_a.npz").read_bytes()
    world.refused(("import", str(copy / "N_V0_64MB_j0_a.npz"), "--out", str(copy)))
    world.refused(("new", str(world.folder / "small")))
    world.refused(("merge", "whole", "-o", "whole"))
    world.refused(("run", "small.toml", "--out", "small.toml"))
    if (copy / "N_V0_64MB_j0_a.npz").read_bytes() != before:
        raise FaultError("lost", "the recording has been written over")
    world.unchanged()
    world.whole(world.run_command, world.folder / "whole")


def linked_files(world: World, number: int) -> None:
    """A result folder of somebody else, in which the files of a report are links to ours."""
    out = world.new("report")
    ours = world.folder / f"{out.name}.ours"
    ours.write_text("ours")
    for name in ("table.txt", "table.csv", "report.md", "report.html", "p_oom.png", "p_oom.svg", "manifest.json.tmp"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(ours)
    world.recovers(world.commands["report"], out)
    if ours.read_text() != "ours":
        raise FaultError("lost", "a file outside of the folder has been written over")


# Several at once, and what others have left


def two_runs_at_once(world: World, number: int) -> None:
    """Several runs on one folder: all end well, no boot and no run record is lost."""
    out = world.new("run")
    together = [world.start(world.run_command.words, out) for _ in range(3)]
    ends = [running.wait() for running in together]
    for done in ends:
        if "Traceback" in done.err:
            raise FaultError("traceback", done.err[-1500:])
        if done.code:
            raise FaultError("lost", f"exit code {done.code}: {done.err[-800:]}")
    world.whole(world.run_command, out)
    records = mcsim.load(out).store.run_records()
    finished = [record for record in records if record.get("finished")]
    if len(finished) != len(together):
        raise FaultError("lost", f"{len(records)} records of {len(together)} runs, {len(finished)} of them finished")
    world.recovers(world.run_command, out)


def left_by_others(world: World, number: int) -> None:
    """Temporary files and a lock of processes that are no more."""
    out = world.new("run")
    world.recovers(world.run_command, out)
    chunk = next(out.rglob("*.parquet"))
    chunk.unlink()
    for place in (out / "manifest.json", out / "experiment.json", chunk):
        (place.parent / f".{place.name}.{os.uname().nodename}.4194303.1.tmp").write_bytes(b"half")
    for name in (".lock", "manifest.lock", ".manifest.json.lock", "manifest.json.lock"):
        (out / name).write_text("4194303")
    world.recovers(world.run_command, out)


def damaged_chunk(world: World, number: int) -> None:
    """A chunk is cut off, flipped, emptied, foreign, doubled, a folder: refused by name, and its boots come back."""
    out = world.new("report")
    chunks = sorted(out.rglob("*.parquet"))
    random = world.random(number, 1 << 22)
    chunk = chunks[int(random.integers(len(chunks)))]
    content = bytearray(chunk.read_bytes())
    kind = number % 7
    doubled = chunk.with_name("00000060-00000119.parquet")
    if kind == 0:
        chunk.write_bytes(content[: int(random.integers(len(content)))])
    elif kind == 1:
        content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
        chunk.write_bytes(content)
    elif kind == 2:
        chunk.write_bytes(b"")
    elif kind == 3:
        other = next(each for each in chunks if each.parent != chunk.parent)
        shutil.copy(other, chunk)
    elif kind == 4:
        chunk.rename(doubled)
    elif kind == 5:
        shutil.copy(chunk, doubled)
    else:
        chunk.unlink()
        chunk.mkdir()
    bad = doubled if kind in (4, 5) else chunk
    done = world.run(("report", "OUT", "--format", "csv"), out)
    # A flipped bit may lie where nothing is stored: then the table must be the true one.
    if done.code == 0 and kind == 1:
        world.whole(world.run_command, out)
        return
    expect_refusal(done)
    if bad.name not in done.err:
        raise FaultError("wrong", f"the message does not name {bad.name}: {done.err[-500:]}")
    for words in (
        ("check", "results", "OUT"),
        ("compare", "OUT", "--baseline", "tail-free"),
        ("merge", str(out), "-o", str(world.new("run"))),
    ):
        expect_refusal(world.run(words, out))
    if bad.is_dir():
        bad.rmdir()
    else:
        bad.unlink()
    world.recovers(world.run_command, out)


def missing_chunk(world: World, number: int) -> None:
    """A chunk, all chunks of a cell, or all chunks are gone: their boots come back."""
    out = world.new("report")
    chunk = next(out.rglob("*.parquet"))
    if number % 3 == 0:
        chunk.unlink()
    else:
        shutil.rmtree(chunk.parent if number % 3 == 1 else out / "chunks")
    world.recovers(world.run_command, out)


def edited_manifest(world: World, number: int) -> None:
    """A manifest or experiment cut off, empty, gone, of another shape or another experiment: never a traceback."""
    out = world.new("report")
    (record,) = out.glob("records/run-*.json")
    path = (out / "manifest.json", out / "experiment.json", out / "experiment.toml", record)[number % 4]
    whole = path.read_bytes()
    kind = number // 4 % 6
    if kind == 0:
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == 1:
        path.write_bytes(b"")
    elif kind == 2:
        path.unlink()
    elif kind == 3:
        path.write_bytes(b'{"a":' * 50_000)
    elif kind == 4:
        path.write_bytes(whole.replace(b"maple-naive", b"maple-other").replace(b'"boots": ', b'"boots": -'))
    else:
        path.write_bytes(b"{}")
    for words in (("report", "OUT", "--format", "csv"), ("check", "results", "OUT"), world.run_command.words):
        done = world.run(words, out)
        if done.code not in (0, 2):
            raise FaultError("wrong", f"{words[0]}: exit code {done.code}: {done.err[-800:]}")
        if done.code == 0:
            world.whole(world.run_command, out)
    path.write_bytes(whole)
    world.recovers(world.run_command, out)


# Surroundings


def clock_set_back(world: World, number: int) -> None:
    """The first half is run in the future, or in the past; files have such times, too."""
    out = world.new("run")
    folder = world.folder / f"{out.name}.clock"
    folder.mkdir()
    shift = (400, -400)[number % 2] * 86_400
    (folder / "sitecustomize.py").write_text(
        f"import time\nreal = time.time\ntime.time = lambda: real() + {shift}\n"
        "import datetime\n"
        "class Shifted(datetime.datetime):\n"
        "    @classmethod\n"
        f"    def now(cls, tz=None):\n        return datetime.datetime.fromtimestamp(time.time(), tz)\n"
        "datetime.datetime = Shifted\n"
    )
    paths = os.pathsep.join([str(folder), world.environment({})["PYTHONPATH"]])
    half = (*world.run_command.words, "--boots", "30")
    for words, changes in ((half, {"PYTHONPATH": paths}), (half, {})):
        done = world.run(words, out, **changes)
        if done.code:
            raise FaultError("lost", f"exit code {done.code}: {done.err[-800:]}")
    for path in out.rglob("*"):
        os.utime(path, (time.time() + shift, time.time() + shift))
    world.recovers(world.run_command, out)


def home_not_writable(world: World, number: int) -> None:
    """HOME is no folder, or not known at all: the command answers, from a cache elsewhere."""
    warm = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    out = world.new("run")
    changes: dict[str, str | None] = {
        "HOME": ("/proc/none", None, "/dev/null")[number % 3],
        "XDG_CACHE_HOME": str(warm),
    }
    world.recovers(world.run_command, out, **changes)
    world.run(("list",), HOME=changes["HOME"], XDG_CACHE_HOME=None)


def no_home_and_no_cache(world: World, number: int) -> None:
    """Nowhere to keep compiled kernels."""
    world.recovers(world.run_command, world.new("run"), HOME="/proc/none", XDG_CACHE_HOME="/proc/none")


def narrow_terminal(world: World, number: int) -> None:
    """A title in Japanese on a terminal in Latin-1."""
    out = world.new("run")
    done = world.run(
        ("run", "latin.toml", "--workers", "1", "--out", "OUT"), out, PYTHONIOENCODING="latin-1", PYTHONUTF8="0"
    )
    if done.code:
        raise FaultError("wrong", f"exit code {done.code}: {done.err[-500:]}")


def damaged_cache(world: World, number: int) -> None:
    """Files of the compile cache cut off, flipped, emptied: the right answer, or a message that names the folder."""
    cache = copied_cache(world)
    random = world.random(number, 1 << 23)
    name = ("draw_recordings", "simulate_boots", "")[number % 3]
    paths = sorted(path for path in cache.rglob(f"*{name}*") if path.is_file())
    path = paths[int(random.integers(len(paths)))]
    content = bytearray(path.read_bytes())
    for _ in range(1 + int(random.integers(4))):
        content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
    kind = number // 2 % 3
    path.write_bytes((content[: len(content) // 2], content, b"")[kind])
    out = world.new("run")
    done = world.run(world.run_command.words, out, XDG_CACHE_HOME=str(cache))
    if done.code == 2 and str(cache) in done.err:
        shutil.rmtree(cache)
    elif done.code:
        raise FaultError("lost", f"exit code {done.code}: {done.err[-800:]}")
    world.recovers(world.run_command, out, XDG_CACHE_HOME=str(cache))
    shutil.rmtree(cache, ignore_errors=True)


def copied_cache(world: World) -> Path:
    """A copy of the compile cache, for the one command that is to meet it."""
    warm = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcsim"
    cache = world.folder / f"cache-{world.new('cache').name}"
    done = world.run(("list",))  # the folder of today's kernels exists from here on
    code = "from mcsim.kernels.jit.cache import cache_directory; print(cache_directory())"
    own = Path(
        subprocess.run(
            [world.mcsim[0], "-c", code], env=world.environment({}), capture_output=True, text=True
        ).stdout.strip()
    )
    if done.code or not own.is_relative_to(warm):
        raise CannotBeTriedError(f"the compile cache is not below {warm}")
    shutil.copytree(own, cache / "mcsim" / own.relative_to(warm))
    return cache


def two_compile_at_once(world: World, number: int) -> None:
    """Two first commands at the same time, with an empty cache between them."""
    cache = world.folder / f"cache-{world.new('cache').name}"
    outs = [world.new("run") for _ in range(2)]
    together = [world.start(world.run_command.words, out, XDG_CACHE_HOME=str(cache)) for out in outs]
    for running in together:
        done = running.wait()
        if done.code or "Traceback" in done.err:
            raise FaultError(
                "traceback" if "Traceback" in done.err else "lost", f"exit code {done.code}: {done.err[-1500:]}"
            )
    for out in outs:
        world.recovers(world.run_command, out, XDG_CACHE_HOME=str(cache))
    shutil.rmtree(cache, ignore_errors=True)


def output_full(world: World, number: int) -> None:
    """The standard output takes nothing more."""
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" > /dev/full', "bash", *world.mcsim, "report", str(world.folder / "whole")],
        cwd=world.folder,
        env=world.environment({}),
        capture_output=True,
        text=True,
    )
    if "Traceback" in done.stderr:
        raise FaultError("traceback", done.stderr[-1500:])
    world.whole(world.run_command, world.folder / "whole")


KILLS = (kill_at_a_file_event, kill_at_a_file_event, kill_at_a_file_event, kill_at_any_time, killed_twice)
KINDS = (
    Kind("interrupted", interrupted),
    Kind("worker_killed", worker_killed),
    Kind("parent_killed", parent_killed, 2),
    Kind("disk_full", disk_full, 4),
    Kind("file_too_large", file_too_large, 3),
    Kind("folder_read_only", folder_read_only),
    Kind("folder_removed", folder_removed),
    Kind("name_too_long", name_too_long),
    Kind("out_is_an_input", out_is_an_input),
    Kind("linked_files", linked_files),
    Kind("two_runs_at_once", two_runs_at_once),
    Kind("left_by_others", left_by_others),
    Kind("damaged_chunk", damaged_chunk, 7),
    Kind("missing_chunk", missing_chunk, 2),
    Kind("edited_manifest", edited_manifest, 12),
    Kind("clock_set_back", clock_set_back, 2),
    Kind("home_not_writable", home_not_writable, 2),
    Kind("narrow_terminal", narrow_terminal),
    Kind("output_full", output_full),
    Kind("damaged_cache", damaged_cache, 2),
    Kind("no_home_and_no_cache", no_home_and_no_cache, nightly=True),
    Kind("two_compile_at_once", two_compile_at_once, nightly=True),
)
__all__ = ["KILLS", "KINDS", "Command", "Kind"]
