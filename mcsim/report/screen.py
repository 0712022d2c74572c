"""What `mcsim run` and `mcsim report` print: P(OOM) side by side, then the answer in a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mcsim.files import one_line, printable
from mcsim.report import text, verdict
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    from mcsim.store.result import Result

NOTHING = "No boot is stored yet.\n"


def table(result: Result, level: float = 0.95, cells: bool = False) -> str:
    """P(OOM) in per cent, variants that fail in the same boots in one column; with `cells` a line per cell before it.

    At most 72 columns wide; so is `answer`.
    """
    summary = result.summary(level)
    if summary.height == 0:
        return NOTHING
    groups = result.groups
    first = summary.filter(pl.col("variant").is_in([group[0] for group in groups]))
    parts = [text.cell_table(text.by_variant(summary, result))] if cells else []
    parts += [
        [
            one_line(result.experiment.title or result.experiment.name),
            f"P(OOM) in per cent, {text.sample_size(summary)} boots per cell",
            *_legend(groups),
        ],
        text.matrix(first, legend=False),
        [*_notes(result, level), *result.missing()],
    ]
    return printable("\n\n".join("\n".join(text.wrapped(part)) for part in parts) + "\n")


def answer(found: Findings) -> str:
    """Which variant helps against the baseline, where, by how much and how sure."""
    if len(set(found.summary["variant"])) == 1:
        words = verdict.alone(found.summary)
    else:
        words = verdict.verdict(found.comparison, found.baseline, found.groups).answer
    return printable("\n".join(text.wrapped([words])) + "\n")


def written(paths: Sequence[Path]) -> str:
    """Where a report is: `written to results/x: report.html, table.txt`."""
    return printable(f"written to {paths[0].parent}: {', '.join(path.name for path in paths)}\n")


def _legend(groups: list[list[str]]) -> list[str]:
    lines: list[str] = []
    for number, group in enumerate(groups, 1):
        words = ", ".join(map(one_line, group)) + (" (the same boots fail)" if len(group) > 1 else "")
        lines += textwrap.wrap(words, text.WIDTH, initial_indent=f"  [{number}] ", subsequent_indent=" " * 6)
    return lines


def _notes(result: Result, level: float) -> list[str]:
    return [
        f"'<', '>': no or every boot failed; the bound of the exact {text.percent(level)} interval, which does not "
        "hold how far the model is from real boots (docs/validation.md). Each cell: table.txt, or --cells.",
        *text.ended_early(result),
    ]
