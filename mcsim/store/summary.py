"""One row a cell: how many boots failed, how, and the intervals for P(OOM)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcsim.model.experiment import Task
from mcsim.model.failures import FAILURES
from mcsim.model.units import format_size
from mcsim.stats.intervals import check_level, interval
from mcsim.stats.sequences import sequence

if TYPE_CHECKING:
    import polars as pl

# failure_class of the outcomes -> column of the summary
CLASSES = {number: each.column for number, each in FAILURES.items()}


def summarize(cells: Iterable[tuple[Task, pl.DataFrame]], level: float = 0.95) -> pl.DataFrame:
    """The summary of cells that have at least one boot, in the order given.

    Columns: variant, ram ("32M"), ram_bytes, boots, failures, p, exact_low, exact_high, wilson_low, wilson_high,
    sequence_low, sequence_high (these hold even if the number of boots was chosen by looking), level, and the failures
    of each class.
    """
    import polars as pl

    check_level(level)
    rows = []
    for task, outcomes in cells:
        boots = outcomes.height
        if boots == 0:
            continue
        failures = int(outcomes["failed"].sum())
        exact = interval(failures, boots, level, "exact")
        wilson = interval(failures, boots, level, "wilson")
        anytime = sequence(failures, boots, level)
        counts = {
            name: outcomes.filter((pl.col("failed") == 1) & (pl.col("failure_class") == number)).height
            for number, name in CLASSES.items()
        }
        rows.append(
            {
                "variant": task.variant,
                "ram": format_size(task.ram),
                "ram_bytes": task.ram,
                "boots": boots,
                "failures": failures,
                "p": failures / boots,
                "exact_low": exact.low,
                "exact_high": exact.high,
                "wilson_low": wilson.low,
                "wilson_high": wilson.high,
                "sequence_low": anytime.low,
                "sequence_high": anytime.high,
                "level": level,
                **counts,
            }
        )
    return pl.DataFrame(rows, schema=None if rows else empty_schema())


def empty_schema() -> dict[str, type[pl.DataType]]:
    """The columns of an empty summary."""
    import polars as pl

    texts, ends = ("variant", "ram"), ("exact", "wilson", "sequence")
    floats = ("p", *(f"{name}_{end}" for name in ends for end in ("low", "high")), "level")
    whole = ("ram_bytes", "boots", "failures", *CLASSES.values())
    kinds = {
        **dict.fromkeys(texts, pl.String),
        **dict.fromkeys(floats, pl.Float64),
        **dict.fromkeys(whole, pl.Int64),
    }
    order = ("variant", "ram", "ram_bytes", "boots", "failures", *floats, *CLASSES.values())
    return {name: kinds[name] for name in order}
