"""Rates in tables: per cent, or the bound that none or all of the boots failing allows."""

from __future__ import annotations

from typing import Any

from mcsim.report.comparison import rate


def per_cent(row: dict[str, Any], sign: str = " %") -> str:
    """P(OOM) of a row of the summary; a bound where none or all of the boots failed."""
    return bounded(row["failures"], row["boots"], row["level"]) + sign


def bounded(failures: int, boots: int, level: float) -> str:
    """Per cent, or the bound that none or all of the boots failing allows."""
    return rate(failures, boots, boots, level)


def compared(row: dict[str, Any], which: str = "failures") -> str:
    """The same for a row of a comparison, which may be of several sizes."""
    return rate(row[which], row["boots"] * row["sizes"], row["boots"], row["level"])


def between(row: dict[str, Any]) -> str:
    """The exact interval of a row of the summary, in per cent."""
    return f"{100 * row['exact_low']:.2f} to {100 * row['exact_high']:.2f}"
