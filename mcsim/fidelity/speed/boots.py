"""Whole boots: how many a second, on one core and on two, with more RAM and with more boots, and in how much memory."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.fidelity.speed.figure import BYTES, SECONDS, Figure, Settings, in_turn, timed
from mcsim.fidelity.speed.startup import output_of

if TYPE_CHECKING:
    from mcsim.model.board import Board

EXPERIMENT = "mail-2022"
VARIANTS = ("maple-naive", "tail-free", "linux-6.1.y")
RAM = ("32M", "64M")
LARGEST_RAM = "128M"
LONG_ROUNDS = 5
LONG_SECONDS = 1.0  # of a round: a boot takes much longer than a pair
WORKERS_SECONDS = 8.0  # long beside the half second in which a run starts and ends
WORKERS_ROUNDS = 5
MORE = 8  # times as many boots, to see what grows with them
MEMORY_BOOTS = 2000


def board() -> Board:
    """That of the experiment."""
    from mcsim.model.experiment import load

    return load(EXPERIMENT).board


def simulator(variant: str, ram: str) -> tuple[object, str]:
    """Task and workload source of a cell of the experiment."""
    from mcsim.model.experiment import load, select
    from mcsim.simulator.simulator import load_workload

    experiment = load(EXPERIMENT)
    (task,) = select(experiment.tasks(load_workload(experiment.workload, experiment.board).digest), [variant], [ram])
    return task, experiment.workload


def simulated(variant: str, ram: str, first: int, count: int) -> float:
    """CPU seconds that so many boots take a worker."""
    from mcsim.simulator.simulator import simulate

    task, source = simulator(variant, ram)
    return timed(lambda: simulate(task, source, first, count))[0]  # type: ignore[arg-type]


def whole_boots(name: str, settings: Settings, variant: str, ram: str) -> Figure:
    """Boots of one cell as a worker simulates them, in chunks of about a second."""
    boots = 4 if settings.quick else 16
    longer = settings if settings.quick else Settings(LONG_ROUNDS, LONG_SECONDS)
    return in_turn(name, "boots", boots, longer, lambda n: (simulated(variant, ram, 0, n * boots), None), None)


def more_boots(name: str, settings: Settings) -> Figure:
    """Seconds for one boot in a chunk with MORE times as many, beside those in a short chunk."""
    variant, ram = VARIANTS[0], RAM[0]
    few = 4 if settings.quick else boots_in(LONG_SECONDS / 4)
    rounds = [
        (simulated(variant, ram, 0, few * MORE) / (few * MORE), simulated(variant, ram, 0, few) / few)
        for _ in range(settings.rounds)
    ]
    ours, other = zip(*rounds, strict=True)
    return Figure(name, "boots", ours, other, f"1/{MORE} as many")


def boots_in(seconds: float) -> int:
    """About as many boots of the first cell as one worker simulates in so many seconds."""
    simulated(VARIANTS[0], RAM[0], 0, 4)
    few = 2000  # as many as share their pre-init phases in a chunk
    return max(few, round(few * seconds / simulated(VARIANTS[0], RAM[0], 0, few)))


def two_workers(name: str, settings: Settings) -> Figure:
    """Seconds of a run with two workers beside those with one, writing of results included."""
    boots = 32 if settings.quick else boots_in(WORKERS_SECONDS)
    rounds = 1 if settings.quick else WORKERS_ROUNDS
    seconds = [(run_seconds(boots, 2), run_seconds(boots, 1)) for _ in range(rounds)]
    ours, other = zip(*seconds, strict=True)
    return Figure(name, SECONDS, ours, other, "1 worker")


def run_seconds(boots: int, workers: int) -> float:
    """Seconds by the clock on the wall that a run takes for so many boots of the first cell."""
    from mcsim.model.experiment import load
    from mcsim.run.progress import Silent
    from mcsim.studies.study import simulated as run

    with tempfile.TemporaryDirectory(prefix="mcsim-bench-") as folder:
        start = time.monotonic()
        cell = {"variants": VARIANTS[:1], "workers": workers, "progress": Silent()}
        run(load(EXPERIMENT), Path(folder) / "run", boots, RAM[:1], **cell)  # type: ignore[arg-type]
        return time.monotonic() - start


def memory(name: str, settings: Settings) -> Figure:
    """Largest memory of a process that simulates MORE chunks, beside that after two, when it has its room."""
    boots = 8 if settings.quick else MEMORY_BOOTS
    code = f"from mcsim.fidelity.speed.boots import print_peaks; print_peaks({boots})"
    rounds = []
    for _ in range(1 if settings.quick else 3):
        peaks = json.loads(output_of([sys.executable, "-c", code]))
        rounds.append((float(peaks[-1]), float(peaks[1])))
    ours, other = zip(*rounds, strict=True)
    return Figure(name, BYTES, ours, other, "2nd chunk")


def print_peaks(boots: int) -> None:
    """Print the largest memory of this process so far, in bytes, after each of MORE chunks, as a JSON list."""
    peaks = []
    for number in range(MORE):
        simulated(VARIANTS[0], RAM[0], number * boots, boots)
        peaks.append(peak())
    print(json.dumps(peaks))


def peak() -> int:
    """The largest memory of this process so far, in bytes. getrusage() would count that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
