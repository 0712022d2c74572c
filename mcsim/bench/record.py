"""All rounds and what the machine was, in a file that pyperf reads, too (`python -m pyperf compare_to A B`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcsim.bench.figure import BYTES, Figure
from mcsim.bench.targets import target_of, verdict
from mcsim.errors import UserError


def check(path: Path) -> None:
    """Raise UserError if a file cannot be written there, before anything is measured."""
    try:
        import pyperf  # noqa: F401
    except ImportError:
        raise UserError("needs pyperf", key="--json", valid="pip install pyperf") from None
    if path.is_dir() or not path.parent.is_dir():
        raise UserError("cannot be written", file=path, key="--json", valid="a file in a folder that exists")


def write(path: Path, figures: Sequence[Figure], notes: dict[str, str]) -> None:
    """Write one benchmark per figure and side, with the rounds in order: round i of both belongs together.

    Values are seconds for one of what is counted, seconds, or bytes. `notes` are metadata of all.
    """
    import pyperf

    found: list[Any] = []
    for figure in figures:
        unit = "byte" if figure.unit == BYTES else "second"
        notes_of = {**notes, "unit": unit, "of_one": figure.unit, **judged(figure)}
        found.append(benchmark(figure.name, figure.values, notes_of))
        if figure.other:
            found.append(benchmark(f"{figure.name}, {figure.other_name}", figure.other, {**notes, "unit": unit}))
    try:
        pyperf.BenchmarkSuite(found).dump(str(path), replace=True)
    except OSError as error:
        raise UserError(f"cannot be written: {error}", file=path, key="--json") from None


def judged(figure: Figure) -> dict[str, Any]:
    """The ratio, and what is said of the target."""
    facts: dict[str, Any] = {"ratio": figure.ratio} if figure.other else {}
    if target_of(figure.name):
        met = verdict(figure)
        facts["target"] = "not measured" if met is None else "met" if met else "missed"
    return facts


def benchmark(name: str, values: Sequence[float], notes: dict[str, Any]) -> Any:
    """One benchmark of pyperf."""
    import pyperf

    return pyperf.Benchmark([pyperf.Run(values, metadata={"name": name, **notes}, collect_metadata=True)])
