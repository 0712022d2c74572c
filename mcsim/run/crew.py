"""The workers: threads, processes of this machine, or those of a dask cluster; all through joblib.

A worker simulates one chunk at a time and hands its outcomes to the parent, which alone writes to the result folder:
workers need no common file system, and a worker that dies leaves nothing half done.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mcsim.errors import UserError
from mcsim.model.experiment import Task
from mcsim.simulator import simulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Backend = Literal["threads", "processes", "dask"]
Simulate = Callable[[Task, str, int, int], "NDArray[np.void]"]
BACKENDS: tuple[Backend, ...] = ("threads", "processes", "dask")
SECONDS_TO_CONNECT = 10
CHUNKS_READY = 64  # with dask, chunks that are given out at least
# With dask, no chunk at all is done for so long: workers are gone, or have died of one chunk, which dask then gives up
# without a word to joblib. Compiling the kernels takes a worker a minute.
SECONDS_WITHOUT_ANSWER = 600
SECONDS_TO_OUTLIVE_THE_PARENT = 1


@dataclass(frozen=True)
class Chunk:
    """Boots `first` to `first + count - 1` of a task."""

    task: Task
    first: int
    count: int


@dataclass(frozen=True)
class Done:
    """A chunk, its outcomes (`mcsim.kernels.boot.batch.OUTCOME`), and the seconds that a worker took for them."""

    chunk: Chunk
    outcomes: NDArray[np.void]
    seconds: float


class Crew:
    """The workers of one run, a context manager; they start when there is something to do, and go when it is left."""

    def __init__(self, source: str, count: int, backend: Backend, scheduler: str | None) -> None:
        """`source`: see `simulator.load_workload`; with dask, `scheduler` says where, and `count` is not used."""
        self.source = source
        self.here = backend != "dask"  # whether the workers run on this machine
        self._count = count
        self._backend = backend
        self._client = None if scheduler is None else _connect(scheduler)
        self._parallel: Any = None
        # Looked up here, so that a test that replaces the kernel call replaces it in worker processes, too.
        self._simulate: Simulate = simulator.simulate
        if not self.here:
            self._simulate = functools.partial(simulate_there, simulator.simulate, simulator.kernel_hash())

    def __enter__(self) -> Crew:
        """Begin; no worker starts yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go."""
        if self._parallel is not None:
            self._parallel.__exit__(None, None, None)
        if self._client is not None:
            self._client.close()

    def simulate(self, chunks: Iterable[Chunk]) -> Generator[Done]:
        """Run the chunks; yield each when it is done, in any order. `chunks` is read when a worker is free."""
        from multiprocessing import TimeoutError as NoAnswer  # which joblib raises

        from joblib import delayed
        from joblib.externals.loky import BrokenProcessPool

        if self._parallel is None:
            self._parallel = self._start()
        with _interrupts_held_back() if self._backend == "processes" else nullcontext():
            finished = self._parallel(delayed(work)(chunk, self.source, self._simulate) for chunk in chunks)
        try:
            for done in finished:  # noqa: UP028 - `yield from` would close it by itself, with a warning
                yield done
        except NoAnswer:
            raise UserError(
                f"no worker has answered for {SECONDS_WITHOUT_ANSWER} s; what is done is kept",
                key="--scheduler",
                valid="the same command again, when there are workers",
            ) from None
        except BrokenProcessPool:  # joblib has ended the others
            raise UserError(
                "a worker process died (killed, or out of memory?); what is done is kept",
                key="--backend processes",
                valid="the same command continues; fewer --workers take less memory",
            ) from None
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "tasks have been cancelled": they are meant to be
                finished.close()

    def _start(self) -> Any:
        from joblib import Parallel

        common: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "2*n_jobs"}
        if self._backend == "threads":
            parallel = Parallel(n_jobs=self._count, backend="threading", **common)
        elif self._backend == "processes":
            common |= {"initializer": _begin_work, "initargs": (os.getpid(),)}
            parallel = Parallel(n_jobs=self._count, backend="loky", **common)
        else:
            parallel = Parallel(n_jobs=-1, backend=_dask(self._client), timeout=SECONDS_WITHOUT_ANSWER, **common)
        try:
            return parallel.__enter__()
        except TimeoutError:
            raise UserError("has no worker", key="--scheduler", valid="start one: dask worker ADDRESS") from None


def work(chunk: Chunk, source: str, simulate: Simulate) -> Done:
    """In a worker: simulate one chunk."""
    started = time.perf_counter()
    outcomes = simulate(chunk.task, source, chunk.first, chunk.count)
    return Done(chunk, outcomes, time.perf_counter() - started)


def simulate_there(
    simulate: Simulate, kernels: str, task: Task, source: str, first: int, count: int
) -> NDArray[np.void]:
    """In a worker of a cluster, whose mcsim may be another one: simulate if kernels and workload are those of the run.

    `kernels` is the hash of the kernels of the run; the digest of its workload is part of the task.
    """
    import socket

    there = {"kernels": simulator.kernel_hash(), "workload": simulator.load_workload(source, task.board).digest}
    here = {"kernels": kernels, "workload": task.workload}
    for what, found in there.items():
        if found != here[what]:
            raise UserError(
                f"{found[:12]} on the worker {socket.gethostname()}, {here[what][:12]} here",
                key=what,
                valid="the same mcsim and the same workload on every machine",
            )
    return simulate(task, source, first, count)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise UserError("needs dask", key="--backend dask", valid="pip install 'mcsim[dask]'") from None

    class Connection(Client):
        async def _ensure_connected(self, *arguments: Any, **keywords: Any) -> Any:
            try:
                return await super()._ensure_connected(*arguments, **keywords)
            except (RuntimeError, TypeError, ValueError) as error:
                raise OSError(str(error)) from error  # after these alone Client closes what it has opened

    try:
        client: Any = Connection(scheduler, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        what = f"no scheduler at {scheduler!r}: {first_line or type(error).__name__}"
        valid = "the address that `dask scheduler` prints; for tls://, certificates: docs/cluster.md"
        raise UserError(what, key="--scheduler", valid=valid) from None
    address = client.scheduler.address
    if is_open(address):
        words = "is neither encrypted nor this machine: who reaches that port can run code as you; use tls://"
        print(f"mcsim: warning: {address} {words}", file=sys.stderr)
    return client


def is_open(address: str) -> bool:
    """Whether others may reach a scheduler at this address, and need no certificate."""
    scheme, _, rest = address.rpartition("://")
    host = rest.rpartition(":")[0].strip("[]")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return not is_here and scheme not in ("tls", "inproc")


def _dask(client: Any) -> Any:
    """joblib's dask backend, for a cluster that may also be small and may grow."""
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            # Of a cluster with one worker joblib would make no use: it would simulate here. And workers that come
            # later must find chunks to do, though joblib asks how many there are at the beginning only.
            return max(CHUNKS_READY // 2, super().effective_n_jobs(n_jobs))

    return Cluster(client=client, wait_for_workers_timeout=SECONDS_TO_CONNECT)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started here never meet Ctrl-C, which reaches the whole process group; the parent meets it afterwards.

    One that came while Python starts, before `_begin_work`, would print a traceback.
    """
    import multiprocessing.resource_tracker

    from joblib.externals.loky.backend import resource_tracker

    for each in (multiprocessing.resource_tracker, resource_tracker):
        each.ensure_running()  # to start one later would let signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_work(parent: int) -> None:
    """In a worker process: leave Ctrl-C to the parent, and end when it does.

    A parent that is killed cannot say so; who waits for work from it would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_TO_OUTLIVE_THE_PARENT)
    os._exit(1)
