"""What a comparison comes to, in sentences: which variants differ from the baseline, where, by how much, how sure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mcsim.report.comparison import blocks, p_relation, rate
from mcsim.report.text import percent
from mcsim.stats.verdicts import DIFFERS, EQUIVALENT, UNDECIDED
from mcsim.studies.compare import POOLED

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]


class Verdict(NamedTuple):
    """The answer in one sentence, one for each variant (those with equal figures together), and what it leaves open."""

    answer: str
    points: list[str]
    open: str = ""


def verdict(frame: pl.DataFrame, baseline: str, same_boots: Sequence[Collection[str]] = ()) -> Verdict:
    """Of the table that `mcsim.studies.compare.compare` makes; `same_boots`: variants that fail in the same boots."""
    found = blocks(list(frame.iter_rows(named=True)))
    if not found:
        return Verdict(f"No other variant has boots in common with {baseline}: nothing can be compared.", [])
    helping = [block for block in found if _better(block[1])]
    left_open = ""
    if helping:
        best = min(helping, key=lambda block: _mean_difference(block[1]))
        answer = _helps(*best, baseline, same_boots, " most, on average over RAM sizes" if len(helping) > 1 else "")
        if len(helping) > 1:
            left_open = (
                f"That {best[0][0]} is better than the others that help has not been tested here; --baseline "
                f"{best[0][0]} compares them with it."
            )
    else:
        answer = _nothing_helps(found, baseline)
    found.sort(key=lambda block: _mean_difference(block[1]))
    return Verdict(answer, [_point(names, rows, baseline, same_boots) for names, rows in found], left_open)


def alone(summary: pl.DataFrame) -> str:
    """What the only variant that was run comes to: where it fails most."""
    worst = max(summary.iter_rows(named=True), key=lambda row: row["p"])
    failing = rate(worst["failures"], worst["boots"], worst["boots"], worst["level"])
    rest = ", and at no other size more" if summary.height > 1 else ""
    return (
        f"{worst['variant']} alone was run, so nothing is compared; at {worst['ram']} {failing} % of boots fail "
        f"({percent(worst['level'])} interval {100 * worst['exact_low']:.2f} to {100 * worst['exact_high']:.2f}, "
        f"{worst['boots']:,} boots){rest}."
    )


def _sizes(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["ram"] != POOLED]


def _better(rows: Sequence[Row]) -> list[Row]:
    return [row for row in _sizes(rows) if row["verdict"] == DIFFERS and row["difference"] < 0.0]


def _worse(rows: Sequence[Row]) -> list[Row]:
    return [row for row in _sizes(rows) if row["verdict"] == DIFFERS and row["difference"] > 0.0]


def _mean_difference(rows: Sequence[Row]) -> float:
    own = _sizes(rows)
    return float(sum(row["difference"] for row in own) / len(own))


def _helps(
    names: Sequence[str], rows: Sequence[Row], baseline: str, same_boots: Sequence[Collection[str]], most: str
) -> str:
    best = min(_better(rows), key=lambda row: row["difference"])
    one = len(names) == 1
    sentence = (
        f"{listed(names)} {'helps' if one else 'help'}{most}{_alike(names, same_boots)}: at {best['ram']}, where the "
        f"difference is largest, {'it fails' if one else 'they fail'} in {_rate(best)} of boots instead of "
        f"{_rate(best, True)} with {baseline}, {_size_of_difference(best)}; fewer boots fail at "
        f"{ranges(_better(rows), rows)}"
    )
    worse = _worse(rows)
    return sentence + (f", but more at {ranges(worse, rows)}." if worse else ".")


def _nothing_helps(found: Sequence[tuple[list[str], list[Row]]], baseline: str) -> str:
    every = [row for _, rows in found for row in _sizes(rows)]
    delta = f"{100 * every[0]['delta']:g} points"
    undecided = [row for row in every if row["verdict"] == UNDECIDED]
    worse = [(names, rows) for names, rows in found if _worse(rows)]
    if worse:
        names, rows = max(worse, key=lambda block: max(row["difference"] for row in block[1]))
        most = max(_worse(rows), key=lambda row: row["difference"])
        harm = (
            f"No variant is shown to be better than {baseline}; {listed(names)} {_fails(names)} more often, most at "
            f"{most['ram']}: in {_rate(most)} of boots instead of {_rate(most, True)}, {_size_of_difference(most)}"
        )
        rest = f"; {len(undecided)} of {len(every)} comparisons are undecided." if undecided else "."
        return harm + rest
    if not undecided:
        return (
            f"No variant differs from {baseline} by more than {delta} at any of these RAM sizes "
            f"({_kind(every[0])} within ±{delta})."
        )
    if len(undecided) == len(every):
        return (
            f"Undecided: these boots show neither a difference from {baseline} nor that there is none of more than "
            f"{delta}; more boots would tell."
        )
    return (
        f"Undecided: no variant is shown to differ from {baseline}, and {len(undecided)} of {len(every)} comparisons "
        f"cannot exclude a difference of more than {delta}; more boots would tell."
    )


def _point(names: Sequence[str], rows: Sequence[Row], baseline: str, same_boots: Sequence[Collection[str]]) -> str:
    """One block in one sentence."""
    who = f"{listed(names)}{_alike(names, same_boots)}"
    own = _sizes(rows)
    if not any(row["discordant"] for row in own):
        fewest = min(own, key=lambda row: row["boots"])
        bound = 100 * fewest["discordant_high"]
        return (
            f"{who}: not one of {fewest['boots']:,} boots differs from {baseline} at any RAM size, so at most "
            f"{bound:.2f} % of all boots do at each (exact, {percent(fewest['level'])})."
        )
    parts = []
    for found, word in ((_better(rows), "fewer"), (_worse(rows), "more")):
        if found:
            found.sort(key=lambda row: abs(row["difference"]))
            least, most = found[0], found[-1]
            by = f"{_points(least['difference'])} (at {least['ram']}) to " if len(found) > 1 else ""
            where = f"at {most['ram']}; " if len(found) > 1 else ""
            size = f"{_points(most['difference'])} points ({where}{_ends(most)})"
            parts.append(f"{word} failures at {ranges(found, rows)}, by {by}{size}")
    equal = [row for row in own if row["verdict"] == EQUIVALENT]
    if equal:
        parts.append(f"no difference beyond ±{100 * own[0]['delta']:g} points at {ranges(equal, rows)}")
    undecided = [row for row in own if row["verdict"] == UNDECIDED]
    if undecided:
        parts.append(f"undecided at {ranges(undecided, rows)}")
    for row in rows:
        if row["ram"] == POOLED:
            word = "fewer" if row["difference"] < 0.0 else "more"
            size = f"{_points(row['difference'])} points {word} ({_ends(row)})"
            every = "both" if row["sizes"] == 2 else f"all {row['sizes']}"
            parts.append(f"{every} sizes together: {size}, {row['verdict']}")
    return f"{who}: {'; '.join(parts)}."


def how_sure(frame: pl.DataFrame) -> str:
    """What the intervals and words of a verdict are."""
    first = frame.row(0, named=True)
    boots = sorted(set(frame["boots"]))
    sample = f"{boots[0]:,}" if len(boots) == 1 else f"{boots[0]:,} to {boots[-1]:,}"
    p = "" if first["adjusted"] is None else f", adjusted p at most {1.0 - first['level']:.4g}"
    itself = "all of them together" if first["adjusted"] is None else "each by itself"
    return (
        f"In brackets: {_kind(first)} of a difference, {itself}, on the same {sample} boots under both variants. "
        f"A difference that is called one is significant (corrected for {frame.height} comparisons{p}); "
        "undecided is not 'the same'."
    )


def _alike(names: Sequence[str], same_boots: Sequence[Collection[str]]) -> str:
    if len(names) == 1:
        return ""
    same = any(set(names) <= set(group) for group in same_boots)
    return ", in exactly the same boots" if same else ", with the same figures"


def _fails(names: Sequence[str]) -> str:
    return "fails" if len(names) == 1 else "fail"


def _rate(row: Row, of_baseline: bool = False) -> str:
    failures = row["baseline_failures" if of_baseline else "failures"]
    return rate(failures, row["boots"] * row["sizes"], row["boots"], row["level"]) + " %"


def _size_of_difference(row: Row) -> str:
    """`56.9 points fewer (95 % interval 54.6 to 59.1, the same 2,000 boots, adjusted p < 0.000001)`."""
    p = "" if row["adjusted"] is None else f", adjusted p {p_relation(row['adjusted'])}"
    return (
        f"{_points(row['difference'])} points {'fewer' if row['difference'] < 0.0 else 'more'} ({_kind(row)} "
        f"{_ends(row)}, the same {row['boots']:,} boots{p})"
    )


def _ends(row: Row) -> str:
    """The ends of the interval in the direction of the difference, `54.6 to 59.1`."""
    sign = -1.0 if row["difference"] < 0.0 else 1.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return f"{points(low)} to {points(high)}"


def _points(difference: float) -> str:
    return points(abs(difference))


def points(share: float) -> str:
    """A difference in points of per cent, with three digits that count."""
    return f"{100 * share:.{1 if abs(share) >= 0.0995 else 2}f}"


def _kind(row: Row) -> str:
    kind = "interval" if row["adjusted"] is not None else "confidence sequence"
    return f"{percent(row['level'])} {kind}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def ranges(rows: Sequence[Row], of: Sequence[Row]) -> str:
    """The RAM sizes of some of the rows `of` one variant: `28M to 31M and 40M`; `every RAM size` if they are all."""
    order = [row["ram"] for row in _sizes(of)]
    chosen = {row["ram"] for row in rows}
    if len(order) > 1 and chosen >= set(order):
        return "every RAM size"
    runs = [list(run) for inside, run in groupby(order, key=lambda size: size in chosen) if inside]
    return listed([word for run in runs for word in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else run)])
