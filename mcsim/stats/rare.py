"""P(OOM) where it is so small that plain boots hardly ever fail: multilevel splitting.

A *danger* is computed for each boot (kernels/splitting.py: how close its execs came to finding no free block of the
order that program images need), infinite for one that fails. Levels of danger lead up to failure. A *chain* starts with
`size` plain boots of one recording. At each level it keeps those above it, copies them until there are `size` again,
and moves the copies: parts of the random numbers of each are drawn anew, and what comes of that is taken if it is still
above the level. Its estimate is the product, over the levels and failure, of the share of boots above them. A
repetition is a chain of each recording, and its estimate their mean: boots draw each recording as likely as another.

Unbiased: a move proposes independent new values for coordinates chosen without looking at the boot, and takes them if
the boot stays above the level. That is a Metropolis step, which leaves the law of boots above the level as it is. With
n boots above the level each has size / n copies in the mean. So the expectation of (product of the shares up to level
j) times (mean of f over the copies after their moves) is P(above j) E(f | above j) for any f: true for the first level,
and if for one, then for the next (P. Del Moral, Feynman-Kac Formulae, 2004, theorem 7.4.2; F. Cerou, P. Del Moral, T.
Furon, A. Guyader, Statistics and Computing 22, 2012; Z. I. Botev, D. P. Kroese, the same volume). With f = 1 for
failing boots that is P(OOM). It holds for any levels, moves and sizes fixed beforehand: bad ones cost precision only.

Levels come from a pilot with random numbers of its own, one for each recording, which is not part of the estimate.
Sizes of chains come from it, too: they go with the square root of its estimate (`chain_sizes`).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.stats.intervals import check_level, interval
from mcsim.stats.min_ram import named

if TYPE_CHECKING:
    from mcsim.model.experiment import Experiment, Task
    from mcsim.run.progress import Progress

LEVEL = 0.95
SIZE = 100
REPETITIONS = 20
FEWEST_REPETITIONS = 5
SIZES = (20, 100_000)  # no chain needs more numbers of boots than it has (mcsim/run/splitting.py: BOOTS_SHIFT)
KEPT = 0.2  # share of boots above a level, in the pilot
SMALLEST = 1e-10  # how rare the last level may be; what is rarer is not looked for
SMALLEST_CHAIN = 0.2  # of the mean size
FORMAT = 3


class Population(Protocol):
    """`size` boots that can be copied and moved: mcsim/run/splitting.py."""

    dangers: NDArray[np.float64]
    boots: int

    def start(self) -> None:
        """Plain boots."""
        ...

    def move(self, level: float) -> float:
        """Move each under the condition that its danger stays above the level; the share of moves that was taken."""
        ...

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Put boot chosen[i] in the place of boot i."""
        ...

    def below(self, limit: int, stage: int) -> int:
        """A random number in [0, limit)."""
        ...


class Chain(NamedTuple):
    """above: boots above each level, and last those that failed; moved: share of moves taken at each level.

    failed: how many of the plain boots at the start failed.
    """

    size: int
    failed: int
    above: list[int]
    moved: list[float]
    boots: int

    @property
    def estimate(self) -> float:
        """Of P(OOM) of boots of this recording."""
        return math.prod(count / self.size for count in self.above)


class Repetition(NamedTuple):
    """A chain of each recording."""

    number: int
    chains: list[Chain]

    @property
    def estimate(self) -> float:
        """Of P(OOM)."""
        return math.fsum(chain.estimate for chain in self.chains) / len(self.chains)

    @property
    def boots(self) -> int:
        """All that were simulated."""
        return sum(chain.boots for chain in self.chains)

    @property
    def failed(self) -> int:
        """How many of the plain boots at the start failed."""
        return sum(chain.failed for chain in self.chains)


class Estimate(NamedTuple):
    """p with its interval; error: standard error of p relative to p, infinite if p is 0."""

    p: float
    low: float
    high: float
    error: float


class Rare(NamedTuple):
    """What `rare` found.

    estimate: see Estimate. size: mean size of a chain as asked for. levels: dangers, ascending, of each recording.
    repetitions: those in the estimate. boots: all that were simulated, with those of the pilots. order: of the blocks
    whose number makes the danger.
    """

    estimate: Estimate
    level: float
    size: int
    levels: list[list[float]]
    repetitions: list[Repetition]
    boots: int
    order: int
    task: Task
    path: Path

    @property
    def plain_boots(self) -> float:
        """How many plain boots give the same relative standard error; nan if nothing failed."""
        return plain_boots(self.estimate)

    @property
    def ratio(self) -> float:
        """How much less work this was than plain boots of the same relative standard error."""
        return self.plain_boots / self.boots

    def row(self) -> dict[str, Any]:
        """The figures in one row, for a table."""
        from mcsim.model.units import format_size

        return {
            "variant": self.task.variant,
            "ram": format_size(self.task.ram),
            **self.estimate._asdict(),
            "level": self.level,
            "repetitions": len(self.repetitions),
            "zero": sum(each.estimate == 0.0 for each in self.repetitions),
            "boots": self.boots,
            "plain_boots": self.plain_boots,
            "ratio": self.ratio,
            "seed": self.task.seed,
        }


def copies(above: NDArray[np.int64], size: int, start: int) -> NDArray[np.int64]:
    """`size` of the boots `above` a level: each equally often, and from place `start` on one more where it must be."""
    return above[(start + np.arange(size)) % len(above)]


def next_level(dangers: NDArray[np.float64], level: float) -> float:
    """Above which a share KEPT of the dangers lies, infinite if failure is next or no danger is above `level`."""
    candidates = np.unique(dangers[dangers >= level])
    wanted = np.quantile(dangers, 1.0 - KEPT, method="lower")
    higher = candidates[(candidates >= wanted) & (candidates > level) & (candidates < dangers.max())]
    return float(higher[0]) if len(higher) else math.inf


class Pilot(NamedTuple):
    """levels: between plain boots and failure, ascending; estimate: what the pilot itself says of P(OOM)."""

    levels: list[float]
    estimate: float
    boots: int


def pilot(population: Population) -> Pilot:
    """Find levels that a share KEPT of the boots exceeds."""
    levels: list[float] = []
    level, reached = -1.0, 1.0
    population.start()
    while reached > SMALLEST:
        level = next_level(population.dangers, level)
        if level == math.inf or np.mean(population.dangers == math.inf) >= KEPT:
            break
        above = np.flatnonzero(population.dangers > level)
        levels.append(level)
        reached *= len(above) / len(population.dangers)
        population.keep(copies(above, len(population.dangers), population.below(len(above), len(levels))))
        population.move(level)
    failed = float(np.mean(population.dangers == math.inf))
    return Pilot(levels, reached * failed, population.boots)


def chain_sizes(estimates: Sequence[float], size: int) -> list[int]:
    """How large the chain of each recording is: `size` in the mean, a little more because of SMALLEST_CHAIN.

    The standard error of a chain goes with its P(OOM), so that Neyman's allocation would be sizes in proportion to it.
    But a pilot may err tenfold or find nothing: the square root and SMALLEST_CHAIN are for those.
    """
    roots = np.sqrt(estimates)
    if not roots.any():
        return [size] * len(estimates)
    sizes = np.rint(size * len(estimates) * roots / roots.sum()).astype(int)
    return [int(each) for each in np.maximum(sizes, math.ceil(SMALLEST_CHAIN * size))]


def climb(population: Population, levels: Sequence[float]) -> Chain:
    """One chain over fixed levels."""
    size = len(population.dangers)
    counts: list[int] = []
    moved: list[float] = []
    population.start()
    failed = int((population.dangers == math.inf).sum())
    for stage, level in enumerate(levels, 1):
        above = np.flatnonzero(population.dangers > level)
        counts.append(len(above))
        if not len(above):
            break
        population.keep(copies(above, size, population.below(len(above), stage)))
        moved.append(population.move(level))
    else:
        counts.append(int((population.dangers == math.inf).sum()))
    return Chain(size, failed, counts, moved, population.boots)


def estimate(values: Sequence[float], level: float) -> Estimate:
    """Mean of independent unbiased estimates, and an interval: the hull of two.

    Estimates are products and skewed to the right, so both intervals are for the logarithm of the mean. One is
    Student's, with the standard error of the mean over the mean. The other is that of a lognormal distribution (Cox's
    method: X.-H. Zhou, S. Gao, Statistics in Medicine 16, 1997), which expects large values that have not come yet; it
    is left out if an estimate is 0. Where all are equal they say nothing of their error: the interval is from 0 to 1.
    """
    from scipy.stats import t

    number, mean = len(values), float(np.mean(values))
    if min(values) == max(values):
        return Estimate(mean, 0.0, 1.0, math.inf)
    error = float(np.std(values, ddof=1)) / math.sqrt(number) / mean
    quantile = float(t.ppf(0.5 + 0.5 * level, number - 1))
    centers, errors = [math.log(mean)], [error]
    if min(values) > 0.0:
        logarithms = np.log(values)
        variance = float(np.var(logarithms, ddof=1))
        centers.append(float(np.mean(logarithms)) + 0.5 * variance)
        errors.append(math.sqrt(variance / number + variance**2 / (2 * (number - 1))))
    low = min(center - quantile * each for center, each in zip(centers, errors, strict=True))
    high = max(center + quantile * each for center, each in zip(centers, errors, strict=True))
    return Estimate(mean, math.exp(low), math.exp(min(0.0, high)), error)


def plain_boots(found: Estimate) -> float:
    """How many plain boots give p with the same relative standard error: (1 - p) / (p error^2)."""
    if found.p == 0.0 or not 0.0 < found.error < math.inf:
        return math.nan
    return (1.0 - found.p) / (found.p * found.error**2)


def rare(
    experiment: Experiment,
    variant: str,
    ram: str,
    *,
    repetitions: int = REPETITIONS,
    size: int = SIZE,
    level: float = LEVEL,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Rare:
    """Estimate P(OOM) of one variant at one RAM size from `repetitions` of chains of `size` boots in the mean.

    out: folder (default: results/NAME-rare). Each finished repetition is a line of a file there whose name and first
    line say what it belongs to; those that it holds are not simulated again. The answer and the file are the same with
    any number of workers. UserError for any bad input.
    """
    from mcsim.run import kernel
    from mcsim.run.compiling import compiling
    from mcsim.run.engine import workers_or_all
    from mcsim.run.progress import Silent
    from mcsim.run.splitting import MAX_REPETITIONS, largest_order, warm_up

    check_level(level)
    _check("--repetitions", repetitions, FEWEST_REPETITIONS, MAX_REPETITIONS)
    _check("--boots", size, *SIZES)
    crew = workers_or_all(workers)
    digest = kernel.load_workload(experiment.workload).digest
    task = _task(experiment, variant, ram, digest)
    order = largest_order(task, experiment.workload)
    journal = Journal(Path("results") / f"{experiment.name}-rare" if out is None else out, task, size, order)
    show = progress or Silent()
    missing = [number for number in range(1, repetitions + 1) if number not in journal.repetitions]
    if missing:
        with show:
            with compiling("rare", show):
                warm_up(task, experiment.workload, order)
            _simulate(journal, task, experiment.workload, missing, crew, show)
    done = [journal.repetitions[number] for number in range(1, repetitions + 1)]
    found = estimate([each.estimate for each in done], level)
    boots = sum(each.boots for each in journal.pilots) + sum(each.boots for each in done)
    levels = [each.levels for each in journal.pilots]
    if found.p == 0.0 or not any(levels):
        # What the plain boots at the start of the repetitions show by themselves: of each recording as many as of the
        # one with the fewest. Their number of failures varies less than a binomial one: that is on the safe side.
        fewest = min(chain.size for chain in done[0].chains)
        plain = interval(sum(each.failed for each in done), fewest * len(levels) * len(done), level)
        found = found._replace(low=plain.low if found.p else 0.0, high=plain.high)
    return Rare(found, level, size, levels, done, boots, order, task, journal.path)


def _check(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"{value} is out of range", key=option, valid=f"a whole number from {low} to {high}")


def _task(experiment: Experiment, variant: str, ram: str, digest: str) -> Task:
    """The cell, at any RAM size of the machine."""
    from mcsim.model.experiment import Task
    from mcsim.model.machine import check_ram
    from mcsim.model.units import parse_size

    try:
        size = parse_size(ram)
        check_ram(experiment.machine, size)
    except UserError as error:
        raise error.at(key="--ram") from None
    chosen = named(experiment, variant)
    return Task(variant, size, experiment.machine, chosen.policies, digest, experiment.timing, experiment.seed)


class Journal:
    """The file of one estimate: a line that says what it is, one for the pilot, one for each repetition, in order.

    It is written anew, as a whole, when something is added.
    """

    def __init__(self, folder: Path, task: Task, size: int, order: int) -> None:
        """Read what is there."""
        from mcsim.model.experiment import canonical_json, sha256
        from mcsim.model.units import format_size
        from mcsim.run import kernel
        from mcsim.run.splitting import MOVES, ROUNDS

        moves = {"moves": [list(chances) for chances in MOVES], "rounds": ROUNDS}
        settings = {"format": FORMAT, "size": size, "order": order, "kept": KEPT, "smallest": SMALLEST, **moves}
        self.head = {"task": task.definition(), "kernels": kernel.kernel_hash(), **settings}
        name = sha256(canonical_json(self.head))[:16]
        self.path = folder / f"{task.variant}-{format_size(task.ram)}-{name}.jsonl"
        self.size, self.order = size, order
        self.pilots: list[Pilot] = []
        self.repetitions: dict[int, Repetition] = {}
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        from mcsim.run.store import START_AFRESH

        try:
            head, pilot_line, *lines = (json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines())
            if head != json.loads(json.dumps(self.head)):
                raise ValueError("its first line is of something else")
            self.pilots = [Pilot(*each) for each in pilot_line["pilots"]]
            for line in lines:
                chains = [Chain(*chain) for chain in line["chains"]]
                self.repetitions[line["number"]] = Repetition(line["number"], chains)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot be read: {error}", file=self.path, valid=START_AFRESH) from None

    def add_pilots(self, pilots: list[Pilot]) -> None:
        """Keep what the pilots found."""
        self.pilots = pilots
        self._write()

    def add(self, repetition: Repetition) -> None:
        """Keep a repetition."""
        self.repetitions[repetition.number] = repetition
        self._write()

    def _write(self) -> None:
        from mcsim.files import write_atomically
        from mcsim.model.experiment import canonical_json

        lines: list[Mapping[str, Any]] = [self.head, {"pilots": self.pilots}]
        lines += [self.repetitions[number]._asdict() for number in sorted(self.repetitions)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, "".join(canonical_json(line) + "\n" for line in lines).encode())
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise UserError(what, file=self.path.parent, valid="a writable folder") from None


def _simulate(journal: Journal, task: Task, source: str, missing: list[int], crew: int, progress: Progress) -> None:
    """The pilots, if they are not there yet, then the missing repetitions, each kept when it is done."""
    from joblib import Parallel, delayed

    from mcsim.run.splitting import MOVES_A_LEVEL, Population, recordings_of

    lock = threading.Lock()

    def find_levels(recording: int) -> Pilot:
        found = pilot(Population(task, source, journal.size, 0, recording, journal.order, lambda boots: None))
        with lock:
            progress.say(f"pilot: recording {recording} has {len(found.levels)} levels")
        return found

    if not journal.pilots:
        recordings = range(recordings_of(source))
        journal.add_pilots(
            Parallel(n_jobs=crew, backend="threading", batch_size=1)(map(delayed(find_levels), recordings))
        )
    chosen = journal.pilots
    sizes = chain_sizes([each.estimate for each in chosen], journal.size)
    if not any(each.levels for each in chosen):
        sizes = [journal.size] * len(chosen)  # plain boots: equally many of each recording
    most = sum(size * (1 + MOVES_A_LEVEL * len(each.levels)) for size, each in zip(sizes, chosen, strict=True))
    progress.start(most * len(missing))

    def work(number: int) -> Repetition:
        def tell(boots: int) -> None:
            with lock:  # workers tell at any time
                progress.advance(boots, f"repetition {number}")

        chains = [
            climb(Population(task, source, size, number, recording, journal.order, tell), each.levels)
            for recording, (size, each) in enumerate(zip(sizes, chosen, strict=True))
        ]
        return Repetition(number, chains)

    finished = Parallel(n_jobs=crew, backend="threading", return_as="generator_unordered", batch_size=1)(
        delayed(work)(number) for number in missing
    )
    for repetition in finished:
        journal.add(repetition)
        with lock:
            progress.less(most - repetition.boots)
