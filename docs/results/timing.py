"""How the timing of real boots varies: the fits of docs/results/timing.md and of the workload's timing.toml.

Run as `python -m docs.results.timing` (`make results`); it needs the shipped programs and counts only.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docs.fill import fill, quoted
from mcsim.kernels.boot import program as flat
from mcsim.model.shipped import shipped_folder
from mcsim.workload.mixture import recordings_folder
from mcsim.workload.program import RecordedProgram

HERE = Path(__file__).parent
ENVIRONMENT = "C"
SHORTEST_GAP = 30  # timer counts, 23 us: below it the clock's own grain shows
REPLICATES = 1000
SEED = 1
CALIBRATION_RAM_MB = (32, 35)
RECORDED_RAM_MB = 64
JITTERS = (0, 2)
MAD_TO_SIGMA = 1.4826  # of a normal distribution


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """`0.12 (0.10 to 0.14)`."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def gaps_of(program: RecordedProgram) -> dict[tuple[Any, ...], int]:
    """CPU time before each request, in timer counts, by process name, how many of that name came before, and place.

    Only lanes of which the kinds of requests are given, so that the same key in two recordings is the same request.
    """
    seen: dict[str, int] = {}
    gaps = {}
    for number, (first, end, *_) in enumerate(program.lane.tolist()):
        name = program.names[number]
        nth = seen[name] = seen.get(name, -1) + 1
        kinds = tuple(program.op[first:end, flat.KIND].tolist())
        for place, gap in enumerate(program.op[first:end, flat.GAP].tolist()):
            gaps[name, nth, kinds, place] = gap
    return gaps


def log_ratios(one: dict[Any, int], other: dict[Any, int]) -> NDArray[np.float64]:
    """Log ratios of the gaps that two recordings share and that are long enough in both."""
    pairs = [(gap, other[key]) for key, gap in one.items() if key in other and min(gap, other[key]) > SHORTEST_GAP]
    return np.log(np.array([a / b for a, b in pairs]))


def fit_recordings(programs: list[RecordedProgram]) -> tuple[Estimate, Estimate, int, int]:
    """sigma of a gap and of what a whole boot shares, recordings and shared gaps a pair; bootstrap over recordings.

    Two recordings differ by two draws, so both sigmas are those of the differences over the square root of 2.
    """
    gaps = [gaps_of(program) for program in programs]
    count = len(gaps)
    spread, shift = np.zeros((count, count)), np.zeros((count, count))
    shared = []
    for a, b in itertools.combinations(range(count), 2):
        ratios = log_ratios(gaps[a], gaps[b])
        centre = float(np.median(ratios))
        shared.append(len(ratios))
        spread[a, b] = spread[b, a] = MAD_TO_SIGMA * float(np.median(np.abs(ratios - centre))) / np.sqrt(2)
        shift[a, b], shift[b, a] = centre, -centre
    generator = np.random.default_rng(SEED)
    draws = [generator.integers(0, count, count) for _ in range(REPLICATES)]
    gap = [spread_of(spread, each) for each in draws]
    boot = [shift_of(shift, each) for each in draws]
    everything = np.arange(count)
    return (
        estimate(spread_of(spread, everything), gap),
        estimate(shift_of(shift, everything), boot),
        count,
        int(np.median(shared)),
    )


def spread_of(spread: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
    """Median over the pairs of different recordings among those chosen."""
    pairs = [(a, b) for a, b in itertools.combinations(chosen.tolist(), 2) if a != b]
    return float(np.median([spread[pair] for pair in pairs]))


def shift_of(shift: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
    """Standard deviation over recordings of their mean log factor against all others."""
    return float(shift[chosen].mean(axis=1).std(ddof=1))


def estimate(value: float, replicates: list[float]) -> Estimate:
    """With the percentile interval of bootstrap replicates."""
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def host_load(path: Path) -> tuple[Estimate, Estimate, float, str]:
    """Median, sigma and sigma within a cell of the load factor of counted boots, and the table of cells.

    Seconds to the prompt, less what the artificial delays take (the difference of the recorded medians), over the
    median of the recordings, which were made on an idle host. Each calibration cell counts alike.
    """
    seconds: dict[tuple[str, int, int], list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            series = row["source"], int(row["ram_mb"]), int(row["jitter"])
            seconds.setdefault(series, []).append(float(row["seconds"]))
    idle = {jitter: float(np.median(seconds["recorded", RECORDED_RAM_MB, jitter])) for jitter in JITTERS}
    cells = []
    lines = ["| RAM | jitter | boots | median factor | sigma | 5 % | 95 % |", "|---|---|---|---|---|---|---|"]
    for ram_mb, jitter in itertools.product(CALIBRATION_RAM_MB, JITTERS):
        logs = np.log((np.array(seconds["counted", ram_mb, jitter]) - (idle[jitter] - idle[0])) / idle[0])
        cells.append(logs)
        low, high = np.exp(np.quantile(logs, [0.05, 0.95]))
        spread = f"{np.exp(np.median(logs)):.2f} | {logs.std(ddof=1):.2f} | {low:.2f} | {high:.2f}"
        lines.append(f"| {ram_mb}M | {jitter} | {len(logs)} | {spread} |")
    generator = np.random.default_rng(SEED)
    replicates = [pooled([generator.choice(logs, len(logs)) for logs in cells]) for _ in range(REPLICATES)]
    centre, sigma = pooled(cells)
    within = float(np.sqrt(np.mean([logs.var(ddof=1) for logs in cells])))
    median = estimate(float(np.exp(centre)), [float(np.exp(mean)) for mean, _ in replicates])
    return median, estimate(sigma, [each for _, each in replicates]), within, "\n".join(lines)


def pooled(cells: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Mean and standard deviation of an equal mixture of the cells."""
    mean = float(np.mean([logs.mean() for logs in cells]))
    return mean, float(np.sqrt(np.mean([((logs - mean) ** 2).mean() for logs in cells])))


def main() -> None:
    """Print the fits, and fill the page."""
    folder = recordings_folder() / ENVIRONMENT
    programs = [RecordedProgram.read(path) for path in sorted(folder.glob("*.npz"))]
    still = [program for program in programs if program.has_lanes and program.jitter == 0]
    gap, boot, count, shared = fit_recordings(still)
    median, sigma, within, table = host_load(shipped_folder() / "counts" / "seconds.csv")
    text = "\n".join(
        [
            f"recordings compared   {count} (environment {ENVIRONMENT}, jitter 0); gaps that a pair shares: {shared}",
            f"gap_sigma             {gap}",
            f"boot_sigma            {boot}",
            f"host load, median     {median}",
            f"host load, sigma      {sigma}, of which within a cell {within:.2f}",
        ]
    )
    print(text)
    page = HERE / "timing.md"
    fill(page, "fit", quoted(text))
    fill(page, "load", table)


if __name__ == "__main__":
    main()
