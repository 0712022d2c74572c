"""Starts workers, kills those that do not answer, attributes what happened to one input, counts, and keeps findings."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[2]
LIMIT = 30.0  # seconds for one input; the slowest real one takes one
START = 600.0  # seconds until the first input: kernels may have to be compiled
KEPT = 3  # findings of one kind
BATCH = 2000  # inputs of one worker
VERDICTS = ("accepted", "refused", "traceback", "hang", "crash", "wrong")
FINDINGS = VERDICTS[2:]


@dataclass(frozen=True)
class Batch:
    """Inputs `first` to `first + count - 1` of one target, by one engine."""

    module: str
    engine: str
    first: int
    count: int

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]


@dataclass
class Tally:
    """What happened, by target and verdict, and how often each kind of finding came."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    kept: dict[tuple[str, str, str], list[Path]] = field(default_factory=dict)

    def total(self, verdict: str) -> int:
        return sum(each[verdict] for each in self.verdicts.values())

    @property
    def clean(self) -> bool:
        return not any(self.total(verdict) for verdict in FINDINGS)


class Supervisor:
    """Runs batches, `workers` at a time."""

    def __init__(
        self, scratch: Path, findings: Path, seed: int, *, workers: int, limit: float = LIMIT, bounds: bool = True
    ) -> None:
        self.scratch, self.findings, self.seed, self.limit, self.workers = scratch, findings, seed, limit, workers
        self.environment = {
            **os.environ,
            "NUMBA_BOUNDSCHECK": str(int(bounds)),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
        }
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment["PYTHONPATH"] = os.pathsep.join(paths)
        self.environment["POLARS_MAX_THREADS"] = self.environment["OMP_NUM_THREADS"] = "1"
        self.environment["TMPDIR"] = str(scratch)  # the tracebacks of errors that nobody foresaw
        self.tally = Tally()
        self._lock = Lock()

    def prepare(self, module: str) -> None:
        """Have a target make what its inputs are made of."""
        corpus = self.corpus(module)
        corpus.mkdir(parents=True)
        done = subprocess.run(
            self._command(module, corpus, "counted", 0, 0),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{module} cannot be prepared:\n{done.stderr}")

    def corpus(self, module: str) -> Path:
        """Where the material of a target lies."""
        return self.scratch / "corpus" / module.rpartition(".")[2]

    def run(self, batches: list[Batch]) -> Tally:
        """Try all inputs of the batches."""
        for batch in batches:
            self.tally.verdicts.setdefault(batch.name, Counter())
        with ThreadPoolExecutor(self.workers) as pool:
            modules = list(dict.fromkeys(batch.module for batch in batches))
            list(pool.map(self.prepare, modules))
            list(pool.map(self._finish, enumerate(batches)))
        return self.tally

    def _finish(self, numbered: tuple[int, Batch]) -> None:
        """Run a batch to its end, with a new worker after each that died."""
        number, batch = numbered
        scratch = self.scratch / f"worker-{number}"
        scratch.mkdir()
        first, end = batch.first, batch.first + batch.count
        while first < end:
            reached = self._work(batch, scratch, first, end - first)
            if reached == first and batch.engine != "counted":
                break  # the engine knows no other input
            first = max(reached, first + 1)
        shutil.rmtree(scratch, ignore_errors=True)

    def _command(self, module: str, scratch: Path, engine: str, first: int, count: int) -> list[str]:
        words = (module, self.corpus(module), scratch, engine, self.seed, first, count)
        return [sys.executable, "-m", "tests.fuzz.worker", *map(str, words)]

    def _work(self, batch: Batch, scratch: Path, first: int, count: int) -> int:
        """Run one worker until it ends or is ended; the number of the input that comes next."""
        errors = (scratch / "errors").open("wb")
        process = subprocess.Popen(
            self._command(batch.module, scratch, batch.engine, first, count),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        tried, following, rest, limit = -1, first, b"", START
        hanging = False
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            deadline = time.monotonic() + limit
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    hanging = True
                    process.send_signal(signal.SIGABRT)  # to see where it is
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(5.0)
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    break
                content = os.read(descriptor, 1 << 16)
                if not content:
                    break
                *lines, rest = (rest + content).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    if len(message) == 1:
                        tried = message[0]
                    else:
                        tried, following = -1, message[0] + 1
                        self._count(batch, scratch, *message)
                # The first inputs load or compile kernels.
                deadline = time.monotonic() + (
                    self.limit if following > first + 20 else START if following == first else 5 * self.limit
                )
        process.wait()
        process.stdout.close()
        errors.close()
        if hanging or process.returncode:
            what = "hang" if hanging else "crash"
            signalled = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
            text = (scratch / "errors").read_text(errors="replace")[-5000:]
            if tried < 0 and not hanging and first == following:
                raise RuntimeError(f"{batch.name} ({batch.engine}) does not start: {signalled}\n{text}")
            number = tried if tried >= 0 else following
            self._count(batch, scratch, number, what, signalled if not hanging else "no answer", text)
            return number + 1
        return following

    def _count(self, batch: Batch, scratch: Path, number: int, verdict: str, kind: str, text: str) -> None:
        with self._lock:
            self.tally.verdicts[batch.name][verdict] += 1
            if verdict not in FINDINGS:
                return
            key = (batch.name, verdict, kind)
            self.tally.kinds[key] += 1
            kept = self.tally.kept.setdefault(key, [])
            if len(kept) == KEPT and batch.engine == "hypothesis":  # a later one is a smaller one
                shutil.rmtree(kept.pop())
            if len(kept) < KEPT:
                kept.append(self._keep(batch, scratch, number, key, text))
        shutil.rmtree(scratch / "found" / str(number), ignore_errors=True)

    def _keep(self, batch: Batch, scratch: Path, number: int, key: tuple[str, str, str], text: str) -> Path:
        """The input of a finding and what it did, as a folder."""
        place = self.findings / f"{batch.name}-{batch.engine}-{self.seed}-{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        again = f"--target {batch.name} --seed {self.seed} --only {number}"
        how = f"python -m tests.fuzz {again}" if batch.engine == "counted" else f"python -m tests.fuzz --replay {place}"
        (place / "finding.txt").write_text(f"{' '.join(key)}\nagain: {how}\n\n{text}")
        there = scratch / "found" / str(number)
        for name in ("input", "case.json"):  # of a worker that is dead: the last that it tried
            source = (there if there.is_dir() else scratch) / name
            if source.is_dir():
                shutil.copytree(source, place / name, symlinks=True, dirs_exist_ok=True)
            elif source.is_file():
                shutil.copy(source, place / name)
        return place
