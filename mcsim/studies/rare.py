"""P(OOM) where it is so small that plain boots hardly ever fail, by multilevel splitting (mcsim/stats/splitting.py).

The danger of a boot is how close its execs came to finding no free block of the order that program images need. A
repetition is a chain of each recording, and its estimate their mean: boots draw each recording as likely as another.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mcsim.errors import UserError
from mcsim.files import is_file, parse_json, read_lines, write_each
from mcsim.stats.intervals import check_level, interval
from mcsim.stats.splitting import (
    KEPT,
    SMALLEST,
    Chain,
    Estimate,
    Pilot,
    chain_sizes,
    climb,
    estimate,
    pilot,
    plain_boots,
)
from mcsim.studies.study import any_cell

if TYPE_CHECKING:
    from mcsim.model.experiment import Experiment, Task
    from mcsim.run.progress import Progress

LEVEL = 0.95
SIZE = 100
REPETITIONS = 20
FEWEST_REPETITIONS = 5
SIZES = (20, 100_000)  # no chain needs more numbers of boots than it has (mcsim/simulator/population.py: BOOTS_SHIFT)
FORMAT = 4
CHECKSUM = "sha256"
MOST_BOOTS = 1 << 28  # of a chain: numbers that it has (mcsim/simulator/population.py: BOOTS_SHIFT)


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
    from mcsim.run.compiling import compiling
    from mcsim.run.engine import workers_or_all
    from mcsim.run.progress import Silent
    from mcsim.simulator.population import MAX_REPETITIONS, largest_order, recordings_of, warm_up

    check_level(level)
    _check("--repetitions", repetitions, FEWEST_REPETITIONS, MAX_REPETITIONS)
    _check("--boots", size, *SIZES)
    crew = workers_or_all(workers)
    task = any_cell(experiment, variant, ram)
    order = largest_order(task, experiment.workload)
    folder = Path("results") / f"{experiment.name}-rare" if out is None else out
    journal = Journal(folder, task, size, order, recordings_of(task, experiment.workload))
    show = progress or Silent()
    missing = [number for number in range(1, repetitions + 1) if number not in journal.repetitions]
    if missing:
        with show:
            with compiling("rare", show):
                warm_up(task, experiment.workload, order)
            _simulate(journal, task, experiment.workload, missing, crew, show)
    done = [journal.repetitions[number] for number in range(1, repetitions + 1)]
    found = estimate([each.estimate for each in done], level)
    if not 0.0 <= found.p <= 1.0:  # whatever made it so: it is not to be printed
        raise RuntimeError(f"P(OOM) is {found.p}")
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


class Journal:
    """The file of one estimate: a line that says what it is, one for the pilots, one for each repetition, in order.

    It is written anew, as a whole, when something is added. Each line has a checksum, over the first line, too, so that
    none is taken from another file; and what it says is checked, as far as a chain can only be so.
    """

    def __init__(self, folder: Path, task: Task, size: int, order: int, recordings: int) -> None:
        """Read what is there. UserError if it is damaged."""
        from mcsim.model.experiment import canonical_json, sha256
        from mcsim.model.units import format_size
        from mcsim.simulator import simulator
        from mcsim.simulator.population import MOVES, ROUNDS

        moves = {"moves": [list(chances) for chances in MOVES], "rounds": ROUNDS}
        settings = {"format": FORMAT, "size": size, "order": order, "kept": KEPT, "smallest": SMALLEST, **moves}
        self.head = {"task": task.definition(), "kernels": simulator.kernel_hash(), **settings}
        self._digest = sha256(canonical_json(self.head))
        self.path = folder / f"{task.variant}-{format_size(task.ram)}-{self._digest[:16]}.jsonl"
        self.size, self.order, self.recordings = size, order, recordings
        self.pilots: list[Pilot] = []
        self.repetitions: dict[int, Repetition] = {}
        if is_file(self.path):
            self._read()

    def _read(self) -> None:
        from mcsim.store.store import START_AFRESH

        try:
            for number, line in read_lines(self.path):
                try:
                    document = parse_json(line, self.path)
                except UserError as error:
                    raise error.at(key=f"line {number}") from None
                if not isinstance(document, dict) or self._signed(document).encode() != line:
                    raise ValueError(f"the checksum of line {number} is wrong")
                if number == 1:
                    _require(self._signed(self.head).encode() == line, "the first line is of something else")
                elif number == 2:
                    self.pilots = _pilots(document["pilots"], self.recordings)
                else:
                    repetition = _repetition(document, self.pilots, self.size)
                    _require(
                        repetition.number not in self.repetitions, f"repetition {repetition.number} is there twice"
                    )
                    self.repetitions[repetition.number] = repetition
            _require(bool(self.pilots), "it ends before the pilots")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"is damaged: {error}", file=self.path, valid=START_AFRESH) from None
        except UserError as error:
            raise UserError(error.what, file=self.path, key=error.key, valid=START_AFRESH) from None

    def _signed(self, line: Mapping[str, Any]) -> str:
        """A line of the file, its end included, from what it says; a checksum among it is replaced."""
        from mcsim.model.experiment import canonical_json, sha256

        words = {key: value for key, value in line.items() if key != CHECKSUM}
        return canonical_json({**words, CHECKSUM: sha256(self._digest + canonical_json(words))}) + "\n"

    def add_pilots(self, pilots: list[Pilot]) -> None:
        """Keep what the pilots found."""
        self.pilots = pilots
        self._write()

    def add(self, repetition: Repetition) -> None:
        """Keep a repetition."""
        self.repetitions[repetition.number] = repetition
        self._write()

    def _write(self) -> None:
        lines: list[Mapping[str, Any]] = [self.head, {"pilots": self.pilots}]
        lines += [self.repetitions[number]._asdict() for number in sorted(self.repetitions)]
        write_each({self.path: "".join(map(self._signed, lines)).encode()})


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)


def _whole(value: Any, low: int, high: int) -> int:
    _require(type(value) is int and low <= value <= high, f"{value!r} is not a whole number from {low} to {high}")
    return int(value)


def _share(value: Any) -> float:
    """A number from 0 to 1."""
    _require(type(value) in (int, float) and 0.0 <= value <= 1.0, f"{value!r} is not a number from 0 to 1")
    return float(value)


def _pilots(values: Any, recordings: int) -> list[Pilot]:
    """Those of a journal; ValueError or TypeError if they cannot be."""
    pilots = [Pilot(*each) for each in values]
    _require(len(pilots) == recordings, f"{len(pilots)} pilots of {recordings} recordings")
    for each in pilots:
        levels = [-1.0, *each.levels, math.inf]
        _require(all(type(level) in (int, float) for level in each.levels), "a level is no number")
        _require(all(low < high for low, high in pairwise(levels)), "levels do not ascend")
        _share(each.estimate)
        _whole(each.boots, 1, MOST_BOOTS)
    return pilots


def _repetition(document: dict[str, Any], pilots: Sequence[Pilot], size: int) -> Repetition:
    """That of a line of a journal; ValueError, KeyError or TypeError if no chains over these levels give it."""
    from mcsim.simulator.population import MAX_REPETITIONS, MOVES_A_LEVEL

    chains = [Chain(*chain) for chain in document["chains"]]
    _require(len(chains) == len(pilots), f"{len(chains)} chains of {len(pilots)} recordings")
    for chain, expected, each in zip(chains, sizes_of(pilots, size), pilots, strict=True):
        _require(chain.size == expected, f"a chain of {chain.size!r} boots, not {expected}")
        _whole(chain.failed, 0, expected)
        counts = [_whole(count, 0, expected) for count in chain.above]
        # It goes on over all levels and failure, or ends where no boot is above a level.
        stages = counts.index(0) + 1 if 0 in counts else len(each.levels) + 1
        _require(len(counts) == stages <= len(each.levels) + 1, f"{len(counts)} stages")
        _require(len(chain.moved) == stages - 1, f"{len(chain.moved)} moves of {stages} stages")
        for share in chain.moved:
            _share(share)
        boots = expected * (1 + MOVES_A_LEVEL * len(chain.moved))
        _require(_whole(chain.boots, 1, MOST_BOOTS) == boots, f"{chain.boots} boots of a chain, not {boots}")
    return Repetition(_whole(document["number"], 1, MAX_REPETITIONS), chains)


def sizes_of(pilots: Sequence[Pilot], size: int) -> list[int]:
    """How large the chain of each recording is after these pilots."""
    if not any(each.levels for each in pilots):
        return [size] * len(pilots)  # plain boots: equally many of each recording
    return chain_sizes([each.estimate for each in pilots], size)


def _simulate(journal: Journal, task: Task, source: str, missing: list[int], crew: int, progress: Progress) -> None:
    """The pilots, if they are not there yet, then the missing repetitions, each kept when it is done."""
    from joblib import Parallel, delayed

    from mcsim.simulator.population import MOVES_A_LEVEL, Population

    lock = threading.Lock()

    def find_levels(recording: int) -> Pilot:
        found = pilot(Population(task, source, journal.size, 0, recording, journal.order, lambda boots: None))
        with lock:
            progress.say(f"pilot: recording {recording} has {len(found.levels)} levels")
        return found

    if not journal.pilots:
        recordings = range(journal.recordings)
        journal.add_pilots(
            Parallel(n_jobs=crew, backend="threading", batch_size=1)(map(delayed(find_levels), recordings))
        )
    chosen = journal.pilots
    sizes = sizes_of(chosen, journal.size)
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
