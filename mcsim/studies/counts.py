"""Counts of failures, of real boots for example, against each other: every pair of them, and no model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from numbers import Integral
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, NamedTuple

from mcsim.errors import UserError
from mcsim.stats import independent
from mcsim.stats.intervals import check_level, corrected, interval
from mcsim.stats.multiple import holm
from mcsim.stats.verdicts import DIFFERS, UNDECIDED

if TYPE_CHECKING:
    import polars as pl

FEWEST, MOST_COUNTS = 2, 20
MOST_BOOTS = 10**9
POWER = 0.8  # with which the boots that are told would decide
VALID = f"failures/boots, as 3/4: whole numbers, boots from 1 to {MOST_BOOTS:,}, failures from 0 to boots"


class Count(NamedTuple):
    """Failures out of boots."""

    failures: int
    boots: int

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.failures}/{self.boots}"


def is_count(text: str) -> bool:
    """Whether a word is written like a count, `3/4`: of digits and one stroke."""
    return re.fullmatch(r"[0-9]+/[0-9]+", text) is not None


def read_count(text: str) -> Count:
    """The count that a word means. UserError for one that cannot be."""
    if not is_count(text):
        raise UserError("is not a count", key=text, valid=VALID)
    failures, boots = (each.lstrip("0") or "0" for each in text.split("/"))
    if max(len(failures), len(boots)) > len(str(MOST_BOOTS)):
        raise UserError(f"more than {MOST_BOOTS:,} boots", key=text, valid=VALID)
    return _checked(int(failures), int(boots))


def _checked(failures: int, boots: int) -> Count:
    count = Count(failures, boots)
    if boots == 0:
        raise UserError("has no boots", key=str(count), valid=VALID)
    if not 0 <= failures <= boots:
        raise UserError(f"{failures} failures of {boots} boots", key=str(count), valid=VALID)
    if boots > MOST_BOOTS:
        raise UserError(f"more than {MOST_BOOTS:,} boots", key=str(count), valid=VALID)
    return count


def _read(pair: object) -> Count:
    whole = isinstance(pair, Sequence) and len(pair) == 2 and all(map(_is_whole, pair))
    if not whole:
        raise UserError(f"{pair!r} is not a count", key="counts", valid="pairs of whole numbers (failures, boots)")
    return _checked(*map(int, pair))  # type: ignore[call-overload]


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def compare_counts(
    counts: Iterable[tuple[int, int]], *, labels: Iterable[str] = (), level: float = 0.95
) -> pl.DataFrame:
    """A row for each pair of 2 to 20 counts (failures, boots), the earlier one first.

    `labels` name the counts, one each; without them they are A, B, C and so on.

    Columns: label, failures, boots, p, low and high (exact interval, Clopper-Pearson), each once as `first_label` and
    so on and once as `second_label` and so on; then difference (second p - first p), low, high (Newcombe), fisher
    (p-value), boschloo (p-value; missing above 200 boots of both), p_value (the latter where it is there), adjusted
    (Holm, over all rows), verdict (differs, undecided), boots_needed (of each, to decide an undecided pair with power
    0.8 by Fisher's test at the level corrected for the number of rows; missing for pairs that differ, for equal shares,
    above 10^9, and where the planned shares do not differ the way that the observed ones do), first_planned and
    second_planned (the shares it is for: those observed, but (k + 1/2) / (n + 1) for none or all of n), level.
    UserError for any bad input.
    """
    import polars as pl

    check_level(level)
    given = [_read(pair) for pair in counts]
    if not FEWEST <= len(given) <= MOST_COUNTS:
        raise UserError(f"{len(given)} of them", key="counts", valid=f"{FEWEST} to {MOST_COUNTS} counts, as 0/3 3/4")
    names = _labels(list(labels), len(given))
    pairs = list(combinations(range(len(given)), 2))
    rows = [
        {**_side("first", names[i], given[i], level), **_side("second", names[j], given[j], level)}
        | _tests(given[i], given[j], level)
        for i, j in pairs
    ]
    adjusted = holm([row["p_value"] for row in rows])
    for (i, j), row, value in zip(pairs, rows, adjusted, strict=True):
        row["adjusted"] = value
        row["verdict"] = DIFFERS if value <= 1.0 - level else UNDECIDED
        row |= _plan(given[i], given[j], corrected(level, len(rows)), row["verdict"])
        row["level"] = level
    return pl.DataFrame(rows, schema={name: _kind(name) for name in rows[0]})


def _kind(name: str) -> Any:
    import polars as pl

    if name.endswith(("label", "verdict")):
        return pl.String
    return pl.Int64 if name.endswith(("failures", "boots", "boots_needed")) else pl.Float64


def _labels(labels: list[str], number: int) -> list[str]:
    if not labels:
        return list(ascii_uppercase[:number])
    if len(labels) != number:
        raise UserError(f"{len(labels)} for {number} counts", key="label", valid="none, or one for each count")
    for each in labels:
        if not isinstance(each, str) or labels.count(each) > 1:
            raise UserError(f"{each!r} is no name of one count", key="label", valid="another text for each count")
    return labels


def _side(side: str, label: str, count: Count, level: float) -> dict[str, Any]:
    low, high = interval(count.failures, count.boots, level)
    return {
        f"{side}_label": label,
        f"{side}_failures": count.failures,
        f"{side}_boots": count.boots,
        f"{side}_p": count.failures / count.boots,
        f"{side}_low": low,
        f"{side}_high": high,
    }


def _tests(first: Count, second: Count, level: float) -> dict[str, Any]:
    low, high = independent.interval(*second, *first, level)
    one, other = sorted([first, second])  # that exchanging them changes no bit
    fisher, boschloo = independent.p_value(*one, *other), independent.boschloo(*one, *other)
    return {
        "difference": second.failures / second.boots - first.failures / first.boots,
        "low": low,
        "high": high,
        "fisher": fisher,
        "boschloo": boschloo,
        "p_value": fisher if boschloo is None else boschloo,
    }


def _plan(first: Count, second: Count, level: float, verdict: str) -> dict[str, Any]:
    """How many boots of each would decide it."""
    from mcsim.stats import plan

    shares = [planned(first), planned(second)]
    boots = None
    observed = second.failures * first.boots - first.failures * second.boots
    if verdict == UNDECIDED and observed * (shares[1] - shares[0]) > 0.0:
        try:
            boots = plan.independent_boots(min(shares), max(shares), POWER, level)[0]
        except UserError:  # more than an experiment may have
            boots = None
    return {"boots_needed": boots, "first_planned": shares[0], "second_planned": shares[1]}


def planned(count: Count) -> float:
    """The share to plan with: none or all of a few boots do not mean a share of 0 or 1."""
    if count.failures in (0, count.boots):
        return (count.failures + 0.5) / (count.boots + 1)
    return count.failures / count.boots
