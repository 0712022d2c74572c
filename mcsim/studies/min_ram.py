"""Simulate and judge RAM sizes: which of them have P(OOM) <= `limit` (mcsim/stats/scan.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError
from mcsim.stats.intervals import check_level, corrected
from mcsim.stats.scan import boots_without_failure, scan
from mcsim.studies.study import everywhere, first_boots, named, simulated

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.experiment import Experiment
    from mcsim.run.progress import Progress

LEVEL = 0.95
SMALLEST_LIMIT = 1e-7  # no size is safe after fewer than some ten boots for each 1 / limit, and a cell has 10^9 at most
PATIENCE = 4  # times the boots of a size without a failure: 9 of 10 sizes with P = limit / 4 or 2 limit are decided


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

    from mcsim.model.experiment import MAX_BOOTS, number_of_boots
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
    number_of_boots(most)
    scanned = everywhere(experiment, f"{experiment.name}-min-ram")
    folder = Path("results") / scanned.name if out is None else out
    make_progress = progress or Silent

    def count(open_sizes: Sequence[int], number: int) -> dict[int, int]:
        show = make_progress()
        show.say(f"{number:,} boots of {', '.join(ranges(open_sizes, sizes))}")
        names = [format_size(size) for size in open_sizes]
        result = simulated(scanned, folder, number, names, variants=[variant], workers=workers, progress=show)
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
