"""A cluster gives the same bits as this machine, also when a worker dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import slow_stand_in
from conftest import HANGS, ROOT, small, small_text, wait_until

import mcsim
from mcsim.errors import UserError
from mcsim.run import compiling, crew, engine
from mcsim.run.progress import Silent
from mcsim.simulator import simulator
from tests.machines import BOARD

SMALL = small_text(boots=400)


@pytest.fixture(autouse=True)
def stand_in_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulator, "simulate", slow_stand_in.simulate)
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: None)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path, protocol: str = "tcp") -> None:
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        file = folder / "scheduler.json"
        where = ("--protocol", protocol, "--host", "127.0.0.1", "--port", "0")
        self.scheduler = self._start("scheduler", *where, "--scheduler-file", str(file))
        wait_until(lambda: file.exists() and file.stat().st_size, self.scheduler)
        self.address = json.loads(file.read_text())["address"]
        self.workers = [self._start("worker", self.address, "--nthreads", "1", "--no-nanny") for _ in range(2)]

    def _start(self, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="needs mcsim[dask]")
    started = Cluster(tmp_path)
    yield started
    started.stop()


class KillAfter(Silent):
    """Kills a process when so many chunks are done; what is to happen `then`."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", chunks: int, then: Callable[[], None] = lambda: None
    ) -> None:
        self.process, self.left, self.then = process, chunks, then

    def advance(self, units: int, label: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.process.send_signal(signal.SIGKILL)
            self.then()


def test_a_worker_that_is_killed_changes_nothing(cluster: Cluster) -> None:
    from distributed import Client

    with Client(cluster.address) as client:
        client.wait_for_workers(2, timeout=HANGS)
    here = mcsim.run(small(SMALL), out="here", workers=2)
    killer = KillAfter(cluster.workers[0], chunks=5)
    there = mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address, progress=killer)
    assert cluster.workers[0].wait(timeout=HANGS) == -signal.SIGKILL
    assert there.store.content_hash() == here.store.content_hash()
    assert there.manifest["runs"][-1]["complete"] is True
    assert there.manifest["runs"][-1]["boots_done"] == 1600


def test_a_cluster_whose_workers_are_all_gone_is_one_message_and_nothing_done_is_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, speed = time.time(), 1

    def hurry() -> None:
        nonlocal speed
        speed = 1000

    # joblib's clock: ten minutes pass at once, but not before there is nothing to wait for.
    clock = SimpleNamespace(**vars(time))
    clock.time = lambda: began + speed * (time.time() - began)
    monkeypatch.setattr("joblib.parallel.time", clock)
    cluster.workers.pop().kill()
    killer = KillAfter(cluster.workers[0], chunks=5, then=hurry)
    with pytest.raises(UserError, match="no worker has answered for 600 s"):
        mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address, progress=killer)
    cut = mcsim.load("there")
    assert cut.manifest["runs"][-1]["complete"] is False
    assert 0 < cut.summary()["boots"].sum() == cut.manifest["runs"][-1]["boots_done"] < 1600


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_a_cluster_with_tls_as_documented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dask = pytest.importorskip("dask", reason="needs mcsim[dask]")
    pytest.importorskip("distributed", reason="needs mcsim[dask]")
    page = (ROOT / "docs" / "cluster.md").read_text()
    [command] = re.findall(r"^openssl .*$", page, re.MULTILINE)
    [config] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    subprocess.run(command, shell=True, check=True, capture_output=True, cwd=tmp_path)
    (tmp_path / "distributed.yaml").write_text(config.replace("/home/me/.config/dask", str(tmp_path)))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    cluster = Cluster(tmp_path, "tls")
    try:
        assert cluster.address.startswith("tls://127.0.0.1:")
        with pytest.raises(UserError, match=r"--scheduler: no scheduler at .*TLS"):
            mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address)
        monkeypatch.setattr(crew, "SECONDS_TO_CONNECT", 2)
        with pytest.raises(UserError, match="--scheduler: no scheduler at"):  # no encryption
            mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address.replace("tls", "tcp"))
        monkeypatch.setattr(crew, "SECONDS_TO_CONNECT", HANGS)
        settings = dask.config.merge(dask.config.config, dask.config.collect([str(tmp_path)], {}))
        with dask.config.set(settings):
            there = mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address)
    finally:
        cluster.stop()
    here = mcsim.run(small(SMALL), out="here", workers=2)
    assert there.store.content_hash() == here.store.content_hash()


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("tcp://192.168.0.5:8786", True),
        ("tcp://[2001:db8::5]:8786", True),
        ("tcp://cluster.example:8786", True),
        ("cluster.example:8786", True),
        ("ws://10.0.0.5:8786", True),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("localhost:8786", False),
        ("tls://192.168.0.5:8786", False),
    ],
)
def test_a_scheduler_that_others_reach_without_tls_is_open(address: str, is_open: bool) -> None:
    assert crew.is_open(address) is is_open


def test_a_cluster_without_workers_is_one_message(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    connect = crew._connect

    def and_wait_no_longer(scheduler: str) -> object:
        client = connect(scheduler)
        monkeypatch.setattr(crew, "SECONDS_TO_CONNECT", 1)  # now for workers
        return client

    monkeypatch.setattr(crew, "SECONDS_TO_CONNECT", HANGS)
    monkeypatch.setattr(crew, "_connect", and_wait_no_longer)
    for process in cluster.workers:
        process.kill()
        process.wait()
    with Client(cluster.address) as client:
        wait_until(lambda: not client.nthreads(), cluster.scheduler)
    with pytest.raises(UserError, match="--scheduler: has no worker"):
        mcsim.run(small(SMALL), out="there", backend="dask", scheduler=cluster.address)


def test_a_cluster_without_scheduler_or_dask_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--scheduler"):
        mcsim.run(small(SMALL), backend="dask")
    with pytest.raises(UserError, match="--scheduler"):
        mcsim.run(small(SMALL), scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs dask\s+valid: pip install 'mcsim\[dask\]'"):
        mcsim.run(small(SMALL), backend="dask", scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "tls://", "nonsense://", "x y:1"])
def test_an_address_without_scheduler_is_one_message(address: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs mcsim[dask]")
    (tmp_path / "small.toml").write_text(SMALL)
    command = "import sys; from mcsim.run import crew; crew.SECONDS_TO_CONNECT = 1; from mcsim.cli import main; main()"
    words = ["run", "small.toml", "--backend", "dask", "--scheduler", address]
    done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--scheduler: no scheduler at {address!r}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_with_other_kernels_or_another_workload_is_refused() -> None:
    workload = simulator.load_workload("C", BOARD).digest
    task, foreign = small(SMALL).tasks(workload)[0], small(SMALL).tasks("d")[0]
    simulate, kernels = slow_stand_in.simulate, simulator.kernel_hash()
    assert len(crew.simulate_there(simulate, kernels, task, "C", 0, 2)) == 2
    with pytest.raises(UserError, match="kernels: "):
        crew.simulate_there(simulate, "f" * 64, task, "C", 0, 2)
    with pytest.raises(UserError, match="workload: "):
        crew.simulate_there(simulate, kernels, foreign, "C", 0, 2)
