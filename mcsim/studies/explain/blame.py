"""Which owners keep blocks from being whole when boots fail, summed over many boots.

A block is whole if all its pages are free, so the pages that are missing in it are those that anybody holds. An owner
pins a block alone if nobody else holds a page of it: without that owner's pages there, the failing request could have
been served. kernels/boot/page_owner.py finds the owners and counts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcsim.model.experiment import Task
from mcsim.model.units import format_size
from mcsim.run.compiling import compiling
from mcsim.run.progress import Progress, Silent
from mcsim.simulator.blame import BlameSums, Count, OfOwner
from mcsim.simulator.simulator import simulator_of
from mcsim.simulator.values import OWNERS
from mcsim.stats.intervals import interval

if TYPE_CHECKING:
    import polars as pl

CHUNK = 500  # boots that a worker simulates at a time: about half a second


class Tally:
    """Sums over the failing ones among some boots of a task, exact whole numbers; they add up over chunks.

    simulated: boots so far.
    """

    def __init__(self, task: Task) -> None:
        """No boot yet."""
        self.task = task
        self.simulated = 0
        self.sums = BlameSums()

    def add(self, boots: int, sums: BlameSums) -> None:
        """Add the sums of so many more boots. RuntimeError if a page had two owners: the model would be wrong."""
        self.simulated += boots
        self.sums.add(sums)
        if self.sums.contradictions:
            raise RuntimeError(f"{self.task.label}: {self.sums.contradictions} pages have two owners")

    @property
    def failures(self) -> int:
        """Failing boots."""
        return sum(map(self.sums.failures, self.orders()))

    def orders(self) -> list[int]:
        """Orders that failing requests asked for, ascending."""
        return self.sums.orders()

    def fewest(self, order: int, level: float = 0.95) -> tuple[float, float | None, float | None]:
        """Pages missing in the block that lacks the fewest: mean over failing boots, and its interval (`mean`)."""
        return mean(*self.sums.fewest(order), self.sums.failures(order), level)

    def blocks(self, order: int) -> int:
        """Blocks of the order in the zone."""
        return self.sums.blocks(order) // max(1, self.sums.failures(order))

    def owners(self, level: float = 0.95) -> pl.DataFrame:
        """One row per order that was asked for and owner that holds any page then; see `of_boots` for columns."""
        import polars as pl

        rows = []
        for order in self.orders():
            boots = self.sums.failures(order)
            for each in OWNERS[1:]:
                sums = self.sums.of_owner(order, each)
                if sums.pages.total:
                    cell = {"variant": self.task.variant, "ram": format_size(self.task.ram), "order": order}
                    facts = {"boots": self.simulated, "failures": boots, "blocks": self.blocks(order)}
                    rows.append({**cell, **facts, "owner": each.name, **_figures(sums, boots, level), "level": level})
        return pl.DataFrame(rows, schema=_schema())

    def together(self, order: int, level: float = 0.95) -> pl.DataFrame:
        """Which sets of owners hold blocks of an order together, the most frequent first.

        Columns: owners (names, joined by ', '; empty for whole blocks), blocks (mean per failing boot), blocks_low,
        blocks_high (`mean`), level.
        """
        import polars as pl

        boots = self.sums.failures(order)
        rows = []
        for names, count in self.sums.together(order):
            middle, low, high = mean(*count, boots, level)
            rows.append(
                {"owners": ", ".join(names), "blocks": middle, "blocks_low": low, "blocks_high": high, "level": level}
            )
        kinds = dict.fromkeys(("blocks", "blocks_low", "blocks_high", "level"), pl.Float64)
        return pl.DataFrame(rows, schema={"owners": pl.String, **kinds}).sort(
            "blocks", "owners", descending=[True, False]
        )


def _schema() -> dict[str, Any]:
    import polars as pl

    means = [f"{name}{end}" for name in ("pages", "alone", "shared") for end in ("", "_low", "_high")]
    return {
        **dict.fromkeys(("variant", "ram"), pl.String),
        **dict.fromkeys(("order", "boots", "failures", "blocks"), pl.Int64),
        "owner": pl.String,
        **dict.fromkeys((*means, "pages_alone"), pl.Float64),
        "boots_alone": pl.Int64,
        **dict.fromkeys(("p_alone", "p_alone_low", "p_alone_high", "level"), pl.Float64),
    }


def _figures(sums: OfOwner, boots: int, level: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    named: dict[str, Count] = {"pages": sums.pages, "alone": sums.alone, "shared": sums.shared}
    for name, count in named.items():
        figures |= dict(zip((name, f"{name}_low", f"{name}_high"), mean(*count, boots, level), strict=True))
    figures["pages_alone"] = sums.pages_alone / sums.alone.total if sums.alone.total else None
    figures["boots_alone"] = sums.boots_alone
    exact = interval(sums.boots_alone, boots, level, "exact")
    return figures | {"p_alone": sums.boots_alone / boots, "p_alone_low": exact.low, "p_alone_high": exact.high}


def mean(total: int, squared: int, count: int, level: float) -> tuple[float, float | None, float | None]:
    """The mean of `count` whole numbers of which the sum and the sum of squares are given, and its interval.

    The interval is Student's t, two-sided, cut off at 0; None for fewer than two numbers, and where all are equal (then
    it would have no width). With fewer than some 30 numbers it is a rough one, for the numbers are not normal.
    """
    middle = total / count
    spread = count * squared - total * total  # count^2 times the variance, exact
    if count < 2 or spread == 0:
        return middle, None, None
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, count - 1)) * math.sqrt(spread / (count - 1)) / count
    return middle, max(0.0, middle - half), middle + half


def tally(
    task: Task,
    source: str,
    numbers: Sequence[int] | NDArray[np.int64],
    *,
    workers: int = 1,
    progress: Progress | None = None,
    into: Tally | None = None,
) -> Tally:
    """Simulate these boots of a task in `workers` threads and add up who holds what in those that fail.

    After KeyboardInterrupt `into` has the chunks that were done. Sums do not depend on the number of workers.
    """
    from joblib import Parallel, delayed

    found = Tally(task) if into is None else into
    wanted = np.ascontiguousarray(numbers, np.int64)
    progress = Silent() if progress is None else progress
    chunks = [wanted[first : first + CHUNK] for first in range(0, len(wanted), CHUNK)]

    def work(chunk: NDArray[np.int64]) -> tuple[int, BlameSums]:
        return len(chunk), simulator_of(task, source).blame(chunk)

    with progress:
        with compiling("blame", progress):
            simulator_of(task, source).blame(wanted[:0])
        progress.start(len(wanted))
        parallel = Parallel(n_jobs=workers, backend="threading", return_as="generator_unordered")
        finished = parallel(delayed(work)(chunk) for chunk in chunks)
        try:
            for boots, sums in finished:
                found.add(boots, sums)
                progress.advance(boots, task.label)
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "tasks have been cancelled": after an interrupt they are meant to be
                finished.close()
    return found


def of_boots(
    task: Task, source: str, boot_numbers: Sequence[int] | NDArray[np.int64], *, workers: int = 1, level: float = 0.95
) -> pl.DataFrame:
    """Who pins blocks in the failing ones of these boots (say, those that a stored result has as failed).

    `source` is a workload as `simulator.simulate` takes it. One row per order that failing requests asked for
    and owner that holds any page at that moment, columns:

    - variant, ram ("32M"), order; boots: simulated; failures: those that failed, the sample of all figures that follow;
      blocks: aligned blocks of the order in the zone; owner: a name of `mcsim.simulator.values.OWNERS`
    - pages: that the owner holds in these blocks; alone: blocks of which nobody else holds a page; shared: blocks of
      which others hold some, too; means per failing boot, each with _low and _high (see `mean`: None where all boots
      have the same number)
    - pages_alone: pages per block held alone, None where there is no such block
    - boots_alone: failing boots with at least one block held alone; p_alone: their share, p_alone_low and p_alone_high
      its exact (Clopper-Pearson) interval
    - level: of all intervals, each by itself

    A thousand boots take about a second, after the kernels are compiled once.
    """
    return tally(task, source, boot_numbers, workers=workers).owners(level)
