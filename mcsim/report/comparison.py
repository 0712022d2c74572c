"""Comparisons as plain text, at most 72 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mcsim.files import one_line, printable
from mcsim.report.text import percent, wrapped
from mcsim.stats.intervals import interval, shown
from mcsim.studies.compare import POOLED

if TYPE_CHECKING:
    import polars as pl

TINY = 1e-6  # smaller p-values are not worth telling apart
THOUSANDS = 100_000  # counts from here on are printed in thousands


def page(frame: pl.DataFrame, title: str) -> str:
    """The paired comparison: a block per variant, those with equal rows together, then how it was made."""
    if frame.height == 0:
        return "No variant has boots in common with the baseline.\n"
    rows = list(frame.iter_rows(named=True))
    parts = [one_line(title)]
    for names, block in blocks(rows):
        head = f"{', '.join(names)} against {rows[0]['baseline']}"
        columns = f"{'RAM':>6}{'P1':>7}{'P0':>7}{'P1-P0':>8}{percent(rows[0]['level']):>14}"
        columns += f"{'better':>7}{'worse':>6}{'p':>6} verdict"
        parts.append("\n".join([*wrapped([one_line(head)]), columns, *map(_line, block)]))
    parts.append("\n".join(wrapped([*_same(rows), *_method(rows)])))
    return printable("\n\n".join(parts) + "\n")


def counts_page(frame: pl.DataFrame, title: str) -> str:
    """The comparison of independent samples."""
    if frame.height == 0:
        return "No counted kernel, RAM size and noise setting is among the simulated cells.\n"
    rows = list(frame.iter_rows(named=True))
    parts = [one_line(title)]
    for pair in dict.fromkeys((row["variant"], row["baseline"]) for row in rows):
        columns = (
            f"{'RAM':>6}{'counted':>10}{'simulated':>12}{'P1-P0':>8}{percent(rows[0]['level']):>14}{'p':>6} verdict"
        )
        block = [_counts_line(row) for row in rows if (row["variant"], row["baseline"]) == pair]
        parts.append("\n".join([*wrapped([one_line(f"{pair[0]} against simulated {pair[1]}")]), columns, *block]))
    parts.append("\n".join(wrapped(_counts_method(rows))))
    return printable("\n\n".join(parts) + "\n")


def _counts_line(row: dict[str, Any]) -> str:
    counted, simulated = f"{row['failures']}/{row['boots']}", f"{row['baseline_failures']}/{row['baseline_boots']}"
    return (
        f"{row['ram']:>6}{counted:>10}{simulated:>12}{100 * row['difference']:>+8.1f}{_bounds(row, 1):>14}"
        f"{p_words(row['adjusted']):>6} {row['verdict']}"
    )


def p_words(p: float | None) -> str:
    """At most five characters."""
    if p is None:
        return "-"
    if p < TINY:
        return "<1e-6"
    if p < 1e-3:
        return f"{p:.0e}"
    return "1" if p == 1.0 else f"{p:.3f}"


def p_relation(p: float) -> str:
    """`= 0.012` or `< 0.000001`, for a sentence."""
    return f"< {TINY:.6f}" if p < TINY else f"= {p:.{3 if p >= 1e-3 else 6}f}"


def _line(row: dict[str, Any]) -> str:
    cells = row["boots"] * row["sizes"]
    here, there = (rate(row[name], cells, row["boots"], row["level"]) for name in ("failures", "baseline_failures"))
    return (
        f"{row['ram']:>6}{here:>7}{there:>7}{100 * row['difference']:>+8.2f}{_bounds(row, 2):>14}"
        f"{_count(row['better']):>7}{_count(row['worse']):>6}{p_words(row['adjusted']):>6} {row['verdict']}"
    )


def rate(failures: int, cells: int, boots: int, level: float) -> str:
    """Per cent, or the bound that none or all of the boots failing allows."""
    sign, share = shown(failures, cells, interval(boots, boots, level).low, interval(0, boots, level).high)
    return f"{sign}{100 * share:.2f}"


def _bounds(row: dict[str, Any], digits: int) -> str:
    return f"{100 * row['low']:+.{digits}f} {100 * row['high']:+.{digits}f}"


def _count(number: int) -> str:
    return str(number) if number < THOUSANDS else f"{number // 1000}k"


def blocks(rows: Sequence[dict[str, Any]]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """The rows variant by variant; variants whose rows hold the same numbers share a block."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        variants.setdefault(row["variant"], []).append(row)
    found: dict[str, tuple[list[str], list[dict[str, Any]]]] = {}
    for name, own in variants.items():
        numbers = repr([{**row, "variant": ""} for row in own])
        found.setdefault(numbers, ([], own))[0].append(name)
    return list(found.values())


def _same(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What it means that no boot differs."""
    widest: dict[int, float] = {row["boots"]: row["discordant_high"] for row in rows if row["discordant"] == 0}
    return [
        f"better 0, worse 0: not one of {boots:,} boots differs, so at most {100 * high:.2f} % of all boots do "
        f"(exact, {percent(rows[0]['level'])})."
        for boots, high in sorted(widest.items())
    ]


def _method(rows: Sequence[dict[str, Any]]) -> list[str]:
    first = rows[0]
    level, delta = percent(first["level"]), f"{100 * first['delta']:g}"
    boots = sorted({row["boots"] for row in rows})
    sample = f"{boots[0]:,}" if len(boots) == 1 else f"{boots[0]:,} to {boots[-1]:,}"
    lines = [
        f"P1, P0: P(OOM) in per cent of variant and baseline over the {sample} boots that both have. "
        "better, worse: boots in which the variant fails less, or more, than the baseline."
    ]
    if any(row["ram"] == POOLED for row in rows):
        lines.append(
            "pooled: mean over the sizes; a boot is one unit, since it is the same boot at every size: the sizes do "
            "not count as independent."
        )
    if first["adjusted"] is None:
        lines.append(
            "Interval: confidence sequence, which holds however often and whenever the run was looked at, corrected "
            f"for {len(rows)} rows (Bonferroni)."
        )
        lines.append(
            f"Verdict: equivalent, the interval lies within +-{delta} points; differs, it leaves 0 out; else undecided."
        )
    else:
        lines.append(
            f"Interval: score (Tango), {level} each. p: exact McNemar (pooled: its sign-flip form), adjusted for "
            f"{len(rows)} rows (Holm); for a number of boots that was fixed beforehand."
        )
        lines.append(
            f"Verdict: equivalent, the interval lies within +-{delta} points; differs, it does not and "
            f"p <= {1 - first['level']:.4g}; else undecided, which is not 'the same'."
        )
    return lines


def _counts_method(rows: Sequence[dict[str, Any]]) -> list[str]:
    first = rows[0]
    level, delta = percent(first["level"]), f"{100 * first['delta']:g}"
    return [
        "P1-P0: counted less simulated, in points of per cent. Interval: Newcombe's hybrid score for independent "
        f"samples, {level} each. p: Fisher's exact test, adjusted for {len(rows)} rows (Holm).",
        f"Verdict: equivalent, the interval lies within +-{delta} points; differs, it does not and "
        f"p <= {1 - first['level']:.4g}; else undecided.",
        "That few recordings stand for all boots of a board is not in these intervals: mcsim check model has it.",
    ]
