"""Which RAM sizes have P(OOM) <= `limit`: every size is judged by itself, because P need not fall as RAM grows.

Each of the m sizes has a confidence sequence (mcsim/stats/sequences.py) at level 1 - (1 - level) / m (Bonferroni, C. E.
Bonferroni, 1936). With probability `level` all of them hold P at all numbers of boots, whatever the dependence between
sizes, which have their boots in common. Hence a size may stop as soon as it is decided, the others may go on, and no
verdict of the table is wrong at that level:

safe       the sequence lies at or below the limit
unsafe     it lies above
undecided  neither, after as many boots as were allowed
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scipy.optimize import brentq

from mcsim.errors import UserError
from mcsim.stats.intervals import check_level, corrected
from mcsim.stats.sequences import log_martingale, sequence
from mcsim.studies.study import everywhere, first_boots, named

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment
    from mcsim.run.progress import Progress

SAFE, UNSAFE, UNDECIDED = "safe", "unsafe", "undecided"
LEVEL = 0.95
FIRST_LOOK = 128  # boots
GROWTH = 1.25  # of the boots from look to look, once a size without a failure would be decided
SMALLEST_LIMIT = 1e-7  # no size is safe after fewer than some ten boots for each 1 / limit, and a cell has 10^9 at most
PATIENCE = 4  # times the boots of a size without a failure: 9 of 10 sizes with P = limit / 4 or 2 limit are decided

Count = Callable[[Sequence[int], int], Mapping[int, int]]


class Size(NamedTuple):
    """A RAM size (bytes): its counts, its sequence, its verdict. assumed: not simulated, follows from monotonicity."""

    ram: int
    boots: int
    failures: int
    low: float
    high: float
    verdict: str
    assumed: bool = False


def verdict(failures: int, boots: int, limit: float, level: float) -> str:
    """One of the three words, at the level of a single size."""
    if boots == 0 or log_martingale(failures, boots, limit) < -math.log1p(-level):
        return UNDECIDED
    return SAFE if failures < limit * boots else UNSAFE


def boots_without_failure(limit: float, level: float) -> int:
    """After how many boots a size is safe, if none of them fails."""
    threshold = -math.log1p(-level)

    def excess(boots: float) -> float:
        return log_martingale(0.0, boots, limit) - threshold

    enough = 1.0
    while excess(enough) < 0.0:
        enough *= 2.0
    return math.ceil(brentq(excess, 0.5 * enough, enough)) if enough > 1.0 else 1


def looks(limit: float, level: float, most: int) -> Iterator[int]:
    """The numbers of boots at which the undecided sizes are looked at; the last is `most`."""
    clear, boots = boots_without_failure(limit, level), FIRST_LOOK
    while boots < most:
        yield boots
        boots = min(2 * boots, clear) if boots < clear else math.ceil(GROWTH * boots)
    yield most


def scan(
    sizes: Sequence[int], count: Count, limit: float, level: float, most: int, assume_monotonic: bool = False
) -> list[Size]:
    """Judge all sizes (ascending); with `assume_monotonic` by bisection: sizes above a safe one are safe, and so on.

    `count(sizes, boots)` gives the failures among the first `boots` boots of each of these sizes.
    """
    each = corrected(level, len(sizes))
    found: dict[int, Size] = {}

    def judge(open_sizes: Sequence[int]) -> None:
        for boots in looks(limit, each, most):
            failures = count(open_sizes, boots)
            for size in open_sizes:
                word = verdict(failures[size], boots, limit, each)
                if word != UNDECIDED or boots == most:
                    found[size] = Size(size, boots, failures[size], *sequence(failures[size], boots, each), word)
            open_sizes = [size for size in open_sizes if size not in found]
            if not open_sizes:
                return

    if not assume_monotonic:
        judge(sizes)
        return [found[size] for size in sizes]
    while between := _open(sizes, found):
        judge([between[len(between) // 2]])
    safe = min((size for size in found if found[size].verdict == SAFE), default=math.inf)
    return [found.get(size) or Size(size, 0, 0, 0.0, 1.0, SAFE if size > safe else UNSAFE, True) for size in sizes]


def _open(sizes: Sequence[int], found: Mapping[int, Size]) -> list[int]:
    """The sizes above all unsafe and below all safe ones that are not judged yet."""
    low = max((size for size in found if found[size].verdict == UNSAFE), default=-1)
    high = min((size for size in found if found[size].verdict == SAFE), default=math.inf)
    return [size for size in sizes if low < size < high and size not in found]


class Answer(NamedTuple):
    """What the verdicts say together; sizes ascending, None where there is none.

    smallest_safe: the smallest size shown safe. safe_from: the smallest such that it and all larger ones of the scan
    are. unsafe_above_safe: sizes shown unsafe above a safe one.
    """

    smallest_safe: int | None
    safe_from: int | None
    unsafe_above_safe: list[int]
    undecided: list[int]


def answer(words: Mapping[int, str]) -> Answer:
    """`words`: the verdict of each size."""
    sizes = sorted(words)
    safe = [size for size in sizes if words[size] == SAFE]
    others = [size for size in sizes if words[size] != SAFE]
    beyond = [size for size in safe if not others or size > others[-1]]
    return Answer(
        safe[0] if safe else None,
        beyond[0] if beyond else None,
        [size for size in sizes if words[size] == UNSAFE and safe and size > safe[0]],
        [size for size in sizes if words[size] == UNDECIDED],
    )


def min_ram(
    experiment: Experiment,
    variant: str,
    sizes: Sequence[int],
    limit: float,
    *,
    level: float = LEVEL,
    boots: int | None = None,
    assume_monotonic: bool = False,
    out: Path | None = None,
    workers: int | None = None,
    progress: Callable[[], Progress] | None = None,
) -> pl.DataFrame:
    """Simulate and judge the sizes (bytes): a row for each, ascending.

    boots: the most per size (default: PATIENCE times what a size without a failure takes). out: result folder (default:
    results/NAME-min-ram); boots that it holds are not simulated again, and more than a look needs are not used, so
    that a table depends on the arguments alone. progress: makes one for each look.

    Columns: variant, ram ("32M"), ram_bytes, boots, failures, p, low, high (confidence sequence, simultaneous over the
    sizes; p, low and high are null where nothing was simulated), verdict, assumed, limit, level.
    """
    import polars as pl

    import mcsim
    from mcsim.model.experiment import BOOTS_SYNTAX, MAX_BOOTS
    from mcsim.model.units import format_size
    from mcsim.run.progress import Silent

    named(experiment, variant)
    check_level(level)
    if not SMALLEST_LIMIT <= limit < 1.0:
        valid = f"a number from {SMALLEST_LIMIT:g}, below 1, as 0.001"
        raise UserError(f"{limit} is out of range", key="--p", valid=valid)
    try:
        for size in sizes:
            experiment.board.check_ram(size)
    except UserError as error:
        raise error.at(key="--ram") from None
    sizes = sorted(set(sizes))
    most = boots
    if most is None:
        most = min(MAX_BOOTS, PATIENCE * boots_without_failure(limit, corrected(level, len(sizes))))
    if not 1 <= most <= MAX_BOOTS:
        raise UserError(f"{most} is out of range", key="--boots", valid=BOOTS_SYNTAX)
    scanned = everywhere(experiment, f"{experiment.name}-min-ram")
    folder = Path("results") / scanned.name if out is None else out
    make_progress = progress or Silent

    def count(open_sizes: Sequence[int], number: int) -> dict[int, int]:
        show = make_progress()
        show.say(f"{number:,} boots of {', '.join(ranges(open_sizes, sizes))}")
        names = [format_size(size) for size in open_sizes]
        result = mcsim.run(
            scanned,
            boots=number,
            out=folder,
            workers=workers,
            variants=[variant],
            ram=names,
            progress=show,
        )
        tasks = {task.ram: task for task in result.tasks if task.variant == variant}
        outcomes = {size: first_boots(result.store, tasks[size], number) for size in open_sizes}
        return {size: int((rows["failed"].to_numpy() != 0).sum()) for size, rows in outcomes.items()}

    rows = [
        {
            "variant": variant,
            "ram": format_size(size.ram),
            "ram_bytes": size.ram,
            "boots": size.boots,
            "failures": size.failures,
            "p": None if size.assumed else size.failures / size.boots,
            "low": None if size.assumed else size.low,
            "high": None if size.assumed else size.high,
            "verdict": size.verdict,
            "assumed": size.assumed,
            "limit": limit,
            "level": level,
        }
        for size in scan(sizes, count, limit, level, most, assume_monotonic)
    ]
    floats = dict.fromkeys(("p", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=floats)


def ranges(some: Sequence[int], sizes: Sequence[int]) -> list[str]:
    """Sizes in words; those that follow each other in `sizes` as one range: `28M..31M`."""
    from mcsim.model.units import format_size

    runs: list[list[int]] = []
    for size in some:
        place = sizes.index(size)
        if runs and place and sizes[place - 1] == runs[-1][-1]:
            runs[-1].append(size)
        else:
            runs.append([size])
    return [format_size(run[0]) + (f"..{format_size(run[-1])}" if len(run) > 1 else "") for run in runs]
