"""Plain-text tables for terminals and mails: at most 72 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.files import one_line, printable
from mcsim.report import mail
from mcsim.stats.intervals import interval, shown

if TYPE_CHECKING:
    import polars as pl

    from mcsim.store.result import Result

WIDTH = 72
MATRIX_COLUMNS = 8  # variants side by side


def percent(level: float) -> str:
    """`95 %`, `99.9 %`."""
    return f"{100 * level:.10g} %"


def probability(failures: int, boots: int, low: float, high: float) -> str:
    """The estimate; never a bare 0 or 1, but the bound that zero or all failures allow."""
    sign, share = shown(failures, boots, low, high)
    return f"{sign}{share:.4f}"


def bounds(low: float, high: float) -> str:
    """`0.1234 .. 0.2345`."""
    return f"{low:.4f} .. {high:.4f}"


def cell_table(summary: pl.DataFrame) -> list[str]:
    """One line per variant and RAM size."""
    level = percent(summary["level"][0]) if summary.height else "95 %"
    width = max([7, *(len(one_line(name)) for name in summary["variant"])])
    lines = [f"{'variant':<{width}} {'RAM':>5} {'boots':>7} {'failed':>7} {'P(OOM)':>7}  exact {level}"]
    previous = None
    for row in summary.iter_rows(named=True):
        if previous not in (None, row["variant"]):
            lines.append("")
        previous = row["variant"]
        low, high = row["exact_low"], row["exact_high"]
        estimate = probability(row["failures"], row["boots"], low, high)
        lines.append(
            f"{one_line(row['variant']):<{width}} {row['ram']:>5} {row['boots']:>7} {row['failures']:>7} {estimate:>7}"
            f"  {bounds(low, high)}"
        )
    return lines


def matrix(summary: pl.DataFrame, legend: bool = True) -> list[str]:
    """P(OOM) in per cent: a line per RAM size, a column per variant; `legend`: which variant is which column."""
    names = list(dict.fromkeys(summary["variant"]))
    sizes = list(dict.fromkeys(summary.sort("ram_bytes")["ram"]))
    cells = {(row["variant"], row["ram"]): row for row in summary.iter_rows(named=True)}
    lines: list[str] = []
    for start in range(0, len(names), MATRIX_COLUMNS):
        block = names[start : start + MATRIX_COLUMNS]
        if legend:
            lines += [f"  [{start + number}] {one_line(name)}" for number, name in enumerate(block, 1)]
        lines.append("   RAM" + "".join(f"{f'[{start + number}]':>8}" for number in range(1, len(block) + 1)))
        lines += [f"{size:>6}" + "".join(f"{_cell(cells.get((name, size))):>8}" for name in block) for size in sizes]
        lines.append("")
    return lines[:-1]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "."
    sign, share = shown(row["failures"], row["boots"], row["exact_low"], row["exact_high"])
    return f"{sign}{100 * share:.2f}"


def mail_table(summary: pl.DataFrame, level: float) -> list[str]:
    """The mail's own figures with their own exact intervals, ours at the same RAM size beside them."""
    ours = {row["variant"]: row for row in summary.iter_rows(named=True) if row["ram"] == mail.RAM}
    lines = [f"{'stands for':<12} {'mail':>6}  {'exact ' + percent(level):<17} {'ours, ' + mail.RAM:>10}"]
    for figure in mail.FIGURES:
        own = interval(figure.failures, figure.boots, level)
        row = ours.get(figure.variant)
        beside = _cell(row) + " %" if row else "-"
        lines.append(
            f"{figure.variant:<12} {f'{figure.failures}/{figure.boots}':>6}  {bounds(*own):<17} {beside:>10}"
            f"  {figure.words}"
        )
    at = {row["ram"]: row for row in summary.iter_rows(named=True) if row["variant"] == "maple-naive"}
    booting = [f"{size}: 'boots', ours {_cell(at[size])} %" for size in mail.BOOTING if size in at]
    if booting:
        lines.append("maple-naive with more RAM, " + "; ".join(booting))
    return [line.rstrip() for line in lines]


def same_boots(result: Result) -> list[str]:
    """Sentences about variants that fail in exactly the same boots at every RAM size."""
    return [
        f"{', '.join(map(one_line, group))} fail in exactly the same boots."
        for group in result.groups
        if len(group) > 1
    ]


def classes(summary: pl.DataFrame) -> str:
    """What the failures were, summed over the table."""
    from mcsim.store.summary import CLASSES

    counts = {name.replace("_", " "): int(summary[name].sum()) for name in CLASSES.values()}
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def provenance(result: Result) -> list[str]:
    """What the numbers rest on: sample, seed, method, versions."""
    experiment, manifest = result.experiment, result.manifest
    runs = manifest["runs"]
    versions = runs[-1]["versions"] if runs else {}
    timing = experiment.timing
    workload = f"{Path(experiment.workload).name} ({manifest['workload'][:12]})"
    names = ("mcsim", "numba", "numpy")
    made_with = ", ".join(f"{name} {versions.get(name, '?')}" for name in names)
    lines = [
        f"experiment {experiment.name}, seed {experiment.seed}, workload {workload}",
        f"timing: gap sigma {timing.gap_sigma:g}, boot sigma {timing.boot_sigma:g} (lognormal, median "
        f"1 and {timing.boot_median:g}), "
        f"jitter {timing.jitter}, tick phase {timing.tick_phase}",
        f"kernels {manifest['kernels'][:12]}, {made_with}, Python {versions.get('python', '?')}",
    ]
    return [one_line(line) for line in lines]


def method(summary: pl.DataFrame, level: float) -> list[str]:
    """How the intervals are made."""
    return [
        f"{sample_size(summary)} boots per cell. Intervals: exact (Clopper-Pearson), two-sided, "
        f"{percent(level)} each, not corrected for their number. '<' and '>': no boot or every boot failed; "
        "the figure is the bound of the interval.",
        "Boot k draws the same recording and the same timing under every variant and RAM size.",
        "How far the model is from real boots is not in the intervals (docs/model.md).",
    ]


def ended_early(result: Result) -> list[str]:
    """Which rules ended cells before their boots were done, and what that does to the intervals."""
    ended = result.ended()
    if not ended:
        return []
    return [
        *ended,
        "The intervals assume a number of boots that was fixed beforehand. Of cells that a rule ended, quote "
        "sequence_low and sequence_high of `mcsim report --format csv`.",
    ]


def sample_size(summary: pl.DataFrame) -> str:
    """`2,000`, or `400 to 2,000` where cells differ."""
    boots = sorted(set(summary["boots"]))
    return f"{boots[0]:,}" if len(boots) == 1 else f"{boots[0]:,} to {boots[-1]:,}"


def page(result: Result, level: float = 0.95) -> str:
    """The whole text report."""
    summary = result.summary(level)
    if summary.height == 0:
        return "No boot is stored yet.\n"
    title = one_line(result.experiment.title or result.experiment.name)
    parts: list[Sequence[str]] = [
        [title, "=" * min(WIDTH, len(title))],
        cell_table(by_variant(summary, result)),
        ["P(OOM) in per cent", "", *matrix(summary)],
        [*same_boots(result), f"Failures: {classes(summary)}."],
        ["", *wrapped([*method(summary, level), *ended_early(result), *result.missing()])],
    ]
    if mail.belongs_beside(result.experiment):
        parts.append(["The mail's figures: " + mail.SOURCE, mail.USERLAND, "", *mail_table(summary, level)])
    parts.append(wrapped(provenance(result)))
    return printable("\n\n".join("\n".join(wrapped(part)).strip("\n") for part in parts) + "\n")


def by_variant(summary: pl.DataFrame, result: Result) -> pl.DataFrame:
    """Rows variant by variant, in the order of the experiment."""
    order = {each.name: number for number, each in enumerate(result.experiment.variants)}
    numbers = [order[name] for name in summary["variant"]]
    return summary.with_columns(order=_series(numbers)).sort("order", "ram_bytes", maintain_order=True).drop("order")


def _series(values: list[int]) -> pl.Series:
    import polars as pl

    return pl.Series("order", values, dtype=pl.Int64)


def wrapped(lines: Iterable[str]) -> list[str]:
    """Lines that are too long, as several."""
    import textwrap

    return [part for line in lines for part in (textwrap.wrap(line, WIDTH) if len(line) > WIDTH else [line])]
