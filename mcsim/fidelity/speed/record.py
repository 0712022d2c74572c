"""All rounds and what the machine was, in a file that pyperf reads, too (`python -m pyperf compare_to A B`)."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcsim.errors import UserError
from mcsim.fidelity.speed.figure import BYTES, Figure
from mcsim.fidelity.speed.targets import target_of, verdict
from mcsim.files import is_folder, write_atomically, written


def check(path: Path) -> None:
    """Raise UserError if a file cannot be written there, before anything is measured."""
    try:
        import pyperf
    except ImportError:
        raise UserError("needs pyperf", key="--json", valid="pip install pyperf") from None
    if is_folder(path) or not is_folder(path.parent):
        raise UserError("cannot be written", file=path, key="--json", valid="a file in a folder that exists")
    if os.path.lexists(path):
        try:
            pyperf.BenchmarkSuite.load(str(path))
        except Exception:  # whatever a file that is none makes of its reader
            raise UserError("exists and holds no benchmarks", file=path, key="--json", valid="another file") from None


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
    text = io.StringIO()
    pyperf.BenchmarkSuite(found).dump(text)
    content = text.getvalue().encode()
    with written(path):
        write_atomically(path, gzip.compress(content) if path.suffix == ".gz" else content)  # as pyperf reads them


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
