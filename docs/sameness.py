"""Run the 2022 experiment in every way there is, kill it ten times, and print what came out: docs/sameness.md.

Usage: python -m docs.sameness (`make sameness` puts it on the page; some minutes). Exit code 1 if the outcomes differ.
"""

import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mcsim
from docs.fill import ROOT

BOOTS = "200"
PARTS = 3
KILLS = 10


def run(folder: Path, *options: str) -> Path:
    """`mcsim run mail-2022` with these options into a folder."""
    subprocess.run(command(folder, *options), check=True, stdout=subprocess.DEVNULL)
    return folder


def command(folder: Path, *options: str) -> list[str]:
    """The command line of `run`."""
    return [sys.executable, "-m", "mcsim", "run", "mail-2022", "--boots", BOOTS, "--out", str(folder), *options]


def parts(folder: Path) -> list[Path]:
    """The experiment in three parts."""
    numbers = range(1, PARTS + 1)
    return [run(folder / f"part-{number}", "--shard", f"{number}/{PARTS}") for number in numbers]


def killed(folder: Path) -> Path:
    """A run that is killed at ten random moments and then left to end."""
    moment = random.Random(20220601)
    for number in range(1, KILLS + 1):
        with subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
            before = boots(folder)
            while it.poll() is None and boots(folder) == before:
                time.sleep(0.01)
            time.sleep(moment.random())
            if it.poll() is not None:
                sys.exit(f"the run ended before it could be killed {KILLS} times: raise BOOTS")
            it.send_signal(signal.SIGKILL)
        print(f"kill {number}: {boots(folder):,} boots are stored", file=sys.stderr)
    return run(folder)


def boots(folder: Path) -> int:
    """Stored boots, by the names of the chunks."""
    names = (path.stem.split("-") for path in folder.glob("chunks/*/*.parquet"))
    return sum(int(last) - int(first) + 1 for first, last in names)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A dask scheduler and two workers, each a process of its own; its address."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    local = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([*dask, "scheduler", *local], **quiet)]  # type: ignore[call-overload]
    try:
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ways(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each way to run the experiment, in words, and the folder that it gave."""
    yield "1 worker", run(folder / "one", "--workers", "1")
    yield "2 threads", run(folder / "threads", "--workers", "2")
    yield "2 processes", run(folder / "processes", "--workers", "2", "--backend", "processes")
    if importlib.util.find_spec("distributed"):
        with cluster(folder) as address:
            yield "dask, 2 workers", run(folder / "dask", "--backend", "dask", "--scheduler", address)
    for order in itertools.permutations(parts(folder)):
        name = " ".join(path.name[-1] for path in order)
        yield f"{PARTS} parts, merged as {name}", mcsim.merge(order, folder / f"merged-{name.replace(' ', '')}").path
    yield f"{KILLS} times killed", killed(folder / "killed")


def main() -> None:
    """Compare the outcomes and the summary of all ways."""
    folder = Path(tempfile.mkdtemp(prefix="mcsim-sameness-"))
    try:
        found = set()
        for name, path in ways(folder):
            result = mcsim.load(path)
            content, summary = result.store.content_hash(), result.summary().write_csv()
            found.add((content, summary))
            print(f"{name:<24} {result.summary()['boots'].sum():>7,} boots  {content[:32]}", flush=True)
    finally:
        shutil.rmtree(folder)
    if len(found) > 1:
        sys.exit("the outcomes differ")


if __name__ == "__main__":
    main()
