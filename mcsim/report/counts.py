"""Counts against each other, as text of at most 72 columns or as Markdown: counts, pairs, how, and last the answer."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from mcsim.files import one_line, printable
from mcsim.report.comparison import p_words
from mcsim.report.text import WIDTH, percent, wrapped
from mcsim.stats.independent import MOST_BOSCHLOO
from mcsim.stats.intervals import shown
from mcsim.stats.verdicts import DIFFERS
from mcsim.studies.counts import MOST_BOOTS, POWER

if TYPE_CHECKING:
    import polars as pl

ANSWERS = (
    "Differ",
    "Undecided, which is not 'the same'; so many boots of each would decide it",
    "Undecided, of equal shares, which no number of boots tells apart",
    f"Undecided, and more than {MOST_BOOTS:,} boots of each would be needed",
    "Undecided, with too few boots to say how many would decide it",
)
Row = dict[str, Any]
TINY = 1e-3  # from 0 or 1: four digits behind the point are too few


def page(frame: pl.DataFrame) -> str:
    """What `mcsim.studies.counts.compare_counts` returned, for a terminal or a mail."""
    rows, counts = _of(frame)
    level = percent(frame["level"][0])
    cells = {letter: (_count(row), _share(row), _exact(row)) for letter, row in counts.items()}
    wide = [max(map(len, column)) for column in zip(("failures", "", ""), *cells.values(), strict=True)]
    table = [f"  {'failures':>{wide[0]}}  {'P':>{wide[1]}}  exact {level}"]
    for letter, (count, share, exact) in cells.items():
        line = f"{letter} {count:>{wide[0]}}  {share:>{wide[1]}}  {exact:<{wide[2]}}"
        label = _label(letter, counts[letter], one_line)
        beside = f"{line}  {label}".rstrip()
        table += [beside] if len(beside) <= WIDTH else [line.rstrip(), *wrapped([f"  {label}"])]
    pairs = [f"{'':3}{'P2-P1':>7}{level:>14}{'Fisher':>8}{'Boschloo':>9}{'Holm':>7}{'boots':>11} verdict"]
    pairs += [
        f"{first} {second}{100 * row['difference']:>+z7.1f}{_bounds(row):>14}{p_words(row['fisher']):>8}"
        f"{p_words(row['boschloo']):>9}{p_words(row['adjusted']):>7}{_needed(row):>11} {row['verdict']}"
        for (first, second), row in rows.items()
    ]
    parts = [table, pairs, wrapped(_method(rows, counts)), wrapped(_answer(rows))]
    return printable("\n\n".join("\n".join(part) for part in parts) + "\n")


def markdown(frame: pl.DataFrame) -> str:
    """The same as Markdown."""
    from mcsim.report.write import plain

    rows, counts = _of(frame)
    level = percent(frame["level"][0])
    table = [f"| | label | failures | P | exact {level} |", "|---|---|---:|---:|---|"]
    for letter, row in counts.items():
        label = _label(letter, row, plain)
        table.append(f"| {letter} | {label} | {_count(row)} | {_cell(_share(row))} | {_exact(row)} |")
    pairs = [
        f"| pair | P2-P1 | {level} | Fisher | Boschloo | Holm | boots | verdict |",
        "|---|---:|---|---:|---:|---:|---:|---|",
    ]
    for (first, second), row in rows.items():
        p_values = " | ".join(_cell(p_words(row[name])) for name in ("fisher", "boschloo", "adjusted"))
        pairs.append(
            f"| {first} {second} | {100 * row['difference']:+z.1f} | {_bounds(row)} | {p_values} "
            f"| {_cell(_needed(row))} | {row['verdict']} |"
        )
    words = [plain(line) for line in (*_method(rows, counts), *_answer(rows))]
    return printable("\n\n".join(["\n".join(table), "\n".join(pairs), *words]) + "\n")


def _of(frame: pl.DataFrame) -> tuple[dict[tuple[str, str], Row], dict[str, Row]]:
    """The rows by the letters of their counts; the counts by letter."""
    rows = list(frame.iter_rows(named=True))
    labels = {row[f"{side}_label"]: _side(row, side) for side in ("first", "second") for row in rows}
    letters = dict(zip(labels, ascii_uppercase, strict=False))
    by_pair = {(letters[row["first_label"]], letters[row["second_label"]]): row for row in rows}
    return by_pair, {letters[label]: count for label, count in labels.items()}


def _side(row: Row, side: str) -> Row:
    return {name.removeprefix(f"{side}_"): value for name, value in row.items() if name.startswith(f"{side}_")}


def _label(letter: str, row: Row, escaped: Callable[[str], str]) -> str:
    return "" if row["label"] == letter else escaped(row["label"])


def _cell(number: str) -> str:
    """For Markdown, which may take what follows a bare sign for a tag."""
    return number.replace("<", "\\<").replace(">", "\\>")


def _count(row: Row) -> str:
    return f"{row['failures']}/{row['boots']}"


def _share(row: Row) -> str:
    sign, share = shown(row["failures"], row["boots"], row["low"], row["high"])
    return f"{sign}{_digits(share)}"


def _exact(row: Row) -> str:
    return f"{_digits(row['low'])} .. {_digits(row['high'])}"


def _digits(share: float) -> str:
    """Never 0 or 1 for what is neither."""
    if 0.0 < share < TINY:
        return f"{share:.1e}"
    return f"1-{1.0 - share:.1e}" if 1.0 - TINY < share < 1.0 else f"{share:.4f}"


def _bounds(row: Row) -> str:
    return f"{100 * row['low']:+z.1f} {100 * row['high']:+z.1f}"


def _needed(row: Row) -> str:
    if row["boots_needed"] is not None:
        return str(row["boots_needed"])
    if row["verdict"] == DIFFERS or _equal(row):
        return "-"
    return ">10^9" if _is_planned(row) else "?"


def _equal(row: Row) -> bool:
    return bool(row["first_failures"] * row["second_boots"] == row["second_failures"] * row["first_boots"])


def _is_planned(row: Row) -> bool:
    """Whether the planned shares differ the way that those observed do."""
    gap = row["second_planned"] - row["first_planned"]
    return bool(gap * row["difference"] > 0.0)


def _method(rows: dict[tuple[str, str], Row], counts: dict[str, Row]) -> list[str]:
    every = list(rows.values())
    wide = sum(row["boschloo"] is None for row in every)
    decided = "Fisher's" if wide == len(every) else "Boschloo's" if not wide else "Boschloo's where it is there"
    over = f" over the {len(every)} pairs" if len(every) > 1 else ""
    lines = [
        "P2-P1: second less first, in points of per cent; interval of Newcombe. Fisher, Boschloo: exact p-values. "
        f"Holm: {decided}, adjusted{over}: it alone decides ({DIFFERS}: at most {1 - every[0]['level']:.4g})."
    ]
    if wide:
        lines.append(f"Above {MOST_BOSCHLOO} boots of both, Fisher's test alone: Boschloo's would take long.")
    if any(row["boots_needed"] is not None for row in every):
        bonferroni = f" at the level of one of {len(every)} pairs" if len(every) > 1 else ""
        lines.append(
            f"boots: of each, to find the difference with probability {POWER:g} if the shares are those observed "
            f"(Fisher's test{bonferroni}){_stand_ins(counts)}."
        )
    return lines


def _stand_ins(counts: dict[str, Row]) -> str:
    edges = [f"{letter} {row['planned']:.3g}" for letter, row in counts.items() if row["failures"] in (0, row["boots"])]
    return f"; for none or all of n boots (k + 1/2) / (n + 1) stands in: {', '.join(edges)}" if edges else ""


def _answer(rows: dict[tuple[str, str], Row]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for (first, second), row in rows.items():
        words, number = _kind(row)
        kinds.setdefault(words, []).append(f"{first} and {second}{number}")
    return [f"{words}: {', '.join(kinds[words])}." for words in ANSWERS if words in kinds]


def _kind(row: Row) -> tuple[str, str]:
    """What is answered for a pair, and a number for it."""
    if row["verdict"] == DIFFERS:
        return ANSWERS[0], ""
    if row["boots_needed"] is not None:
        return ANSWERS[1], f" {row['boots_needed']:,}"
    if _equal(row):
        return ANSWERS[2], ""
    return (ANSWERS[3] if _is_planned(row) else ANSWERS[4]), ""
