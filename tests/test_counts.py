"""Counts against each other without a model: values of scipy, claims that hold for any counts, errors, the page."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, boschloo_exact, fisher_exact

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.stats import independent, plan
from mcsim.stats.multiple import holm
from mcsim.studies.counts import planned, read_count

MAIL = [(12, 13), (4, 5), (1, 10)]
COUNT = st.integers(1, 25).flatmap(lambda boots: st.tuples(st.integers(0, boots), st.just(boots)))


def table(first: tuple[int, int], second: tuple[int, int]) -> list[list[int]]:
    return [[first[0], second[0]], [first[1] - first[0], second[1] - second[0]]]


@pytest.mark.parametrize("counts", [[(0, 3), (3, 4)], MAIL, [(0, 40), (9, 160), (40, 40)]])
def test_values_are_those_of_scipy(counts: list[tuple[int, int]]) -> None:
    rows = mcsim.compare_counts(counts).rows(named=True)
    pairs = [(counts[i], counts[j]) for i in range(len(counts)) for j in range(i + 1, len(counts))]
    assert len(rows) == len(pairs)
    for row, (first, second) in zip(rows, pairs, strict=True):
        assert row["fisher"] == pytest.approx(fisher_exact(table(first, second)).pvalue)
        assert row["boschloo"] == pytest.approx(boschloo_exact(table(first, second)).pvalue)
        assert row["p_value"] == row["boschloo"]
        for side, count in (("first", first), ("second", second)):
            exact = binomtest(*count).proportion_ci(method="exact")
            assert (row[f"{side}_low"], row[f"{side}_high"]) == pytest.approx((exact.low, exact.high))
    assert [row["adjusted"] for row in rows] == holm([row["p_value"] for row in rows])


def test_the_counts_of_the_mail() -> None:
    """Of the kernels of 2022: one fix differs from both others, which nobody can tell apart."""
    rows = mcsim.compare_counts(MAIL, labels=["naive", "other", "fixed"]).rows(named=True)
    assert [(row["first_label"], row["second_label"], row["verdict"]) for row in rows] == [
        ("naive", "other", "undecided"),
        ("naive", "fixed", "differs"),
        ("other", "fixed", "differs"),
    ]
    assert rows[2]["adjusted"] == 2 * rows[2]["p_value"]


def test_a_difference_of_three_and_four_boots_is_not_one() -> None:
    (row,) = mcsim.compare_counts([(0, 3), (3, 4)]).rows(named=True)
    assert (row["difference"], row["verdict"]) == (0.75, "undecided")
    assert (row["first_planned"], row["second_planned"]) == (0.125, 0.75)
    needed = row["boots_needed"]
    assert plan.independent_power(0.125, 0.75, needed) >= 0.8 > plan.independent_power(0.125, 0.75, needed - 1)


def test_the_boots_of_many_pairs_are_planned_at_the_level_of_one_of_them() -> None:
    row = mcsim.compare_counts(MAIL).row(0, named=True)
    assert row["boots_needed"] == plan.independent_boots(4 / 5, 12 / 13, level=1 - 0.05 / 3)[0]


def test_a_pair_that_differs_needs_no_more_boots() -> None:
    assert mcsim.compare_counts([(0, 30), (30, 30)])["boots_needed"].to_list() == [None]


def test_shares_that_stand_in_never_turn_a_difference_round() -> None:
    """0/3 is planned with 1/8, above the 5/1000 that was observed to be more."""
    row = mcsim.compare_counts([(0, 3), (5, 1000)]).row(0, named=True)
    assert row["first_planned"] > row["second_planned"]
    assert row["difference"] > 0 and row["boots_needed"] is None


def test_many_boots_are_left_to_fisher() -> None:
    most = independent.MOST_BOSCHLOO
    rows = mcsim.compare_counts([(1, most // 2), (9, most // 2), (3, most)]).rows(named=True)
    assert [row["boschloo"] is None for row in rows] == [False, True, True]
    assert [row["p_value"] for row in rows[1:]] == [row["fisher"] for row in rows[1:]]


@given(COUNT, COUNT)
@settings(max_examples=60, deadline=None)
def test_exchange_turns_the_difference_round_and_nothing_else(one: tuple[int, int], other: tuple[int, int]) -> None:
    there, back = (mcsim.compare_counts(pair).row(0, named=True) for pair in ([one, other], [other, one]))
    assert there["difference"] == -back["difference"]
    assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))
    same = ("fisher", "boschloo", "p_value", "adjusted", "verdict", "boots_needed")
    assert [there[name] for name in same] == [back[name] for name in same]


@given(COUNT, st.integers(2, 5), st.sampled_from([0.5, 0.95, 0.999]))
@settings(max_examples=40, deadline=None)
def test_equal_counts_never_differ(count: tuple[int, int], number: int, level: float) -> None:
    frame = mcsim.compare_counts([count] * number, level=level)
    assert set(frame["verdict"]) == {"undecided"}
    assert frame["boots_needed"].null_count() == frame.height
    assert ((frame["low"] <= 0) & (frame["high"] >= 0)).all()


@given(st.lists(COUNT, min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_difference_is_claimed_only_where_the_adjusted_p_allows_it(counts: list[tuple[int, int]]) -> None:
    for row in mcsim.compare_counts(counts).rows(named=True):
        assert row["adjusted"] >= row["p_value"]
        assert (row["verdict"] == "differs") == (row["adjusted"] <= 1 - 0.95)


def test_none_and_all_are_planned_with_a_share_inside() -> None:
    assert [planned(read_count(each)) for each in ("0/3", "3/3", "1/4")] == [0.125, 0.875, 0.25]


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    frame = mcsim.compare_counts([(np.int64(0), np.int64(3)), (3, 4)])
    assert frame.equals(mcsim.compare_counts([(0, 3), (3, 4)]))


@pytest.mark.parametrize(
    ("counts", "labels"),
    [
        ([(0, 3)], []),
        ([(0, 3)] * 21, []),
        ([(4, 3), (0, 3)], []),
        ([(-1, 3), (0, 3)], []),
        ([(0, 0), (0, 3)], []),
        ([(0, 10**9 + 1), (0, 3)], []),
        ([(0.5, 3), (0, 3)], []),
        ([(True, 3), (0, 3)], []),
        (["0/3", "3/4"], []),
        ([3, 4], []),
        ([(0, 3), (3, 4)], ["a"]),
        ([(0, 3), (3, 4)], ["a", "a"]),
        ([(0, 3), (3, 4)], ["a", 2]),
    ],
)
def test_what_is_no_count_is_refused_with_what_would_be(counts: list, labels: list) -> None:
    with pytest.raises(UserError) as caught:
        mcsim.compare_counts(counts, labels=labels)
    assert caught.value.key and caught.value.valid


@pytest.mark.parametrize(
    "words",
    [
        "0/3",
        "5/4 0/3",
        "0/0 0/3",
        "0/3 results",
        "results 0/3",
        "one two",
        "0/3 3/4 --gate",
        "0/3 3/4 --baseline x",
        "0/3 3/4 --peeking",
        "0/3 3/4 --ram 32M",
        "0/3 3/4 --delta 0.1",
        "0/3 3/4 --label x",
        "0/3 3/4 --level 2",
        f"0/3 1/{'9' * 5000}",
        "results --label x",
        "results --format markdown",
    ],
)
def test_a_command_that_cannot_be_is_one_message(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", *words.split()]) == 2
    said = capsys.readouterr().err
    assert said.count("mcsim: ") == 1 and "valid: " in said and "Traceback" not in said


def test_the_page_has_72_columns_and_the_answer_last(capsys: pytest.CaptureFixture[str]) -> None:
    huge = [f"{10**9 - 1}/{10**9}", f"1/{10**9}", "0/3", "3/4", "5/1000", f"{10**9}/{10**9}"]
    labels = [word for each in huge for word in ("--label", f"{each} \x1b[31m" + "long " * 30)]
    assert run_cli(["compare", *huge, *labels]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 72
    assert not any("\x1b" in line for line in lines)
    assert run_cli(["compare", "0/3", "3/4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["A", "0/3", "<0.7076", "0.0000", "..", "0.7076"]
    assert " ".join(lines[lines.index("") + 1 :]).endswith("would decide it: A and B 12.")


def test_no_share_is_a_bare_0_or_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", f"{10**9 - 1}/{10**9}", f"{10**9}/{10**9}"]) == 0
    shares = [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:3]]
    assert shares == ["1-1.0e-09", ">1-3.7e-09"]


def test_csv_is_the_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", "0/3", "3/4", "--label", "a", "--label", "b", "--format", "csv"]) == 0
    read = pl.read_csv(capsys.readouterr().out.encode())
    frame = mcsim.compare_counts([(0, 3), (3, 4)], labels=["a", "b"])
    assert read.columns == frame.columns
    assert math.isclose(read["boschloo"][0], frame["boschloo"][0])


def test_markdown_has_a_row_for_each_count_and_pair(capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["--label", "a|b", "--label", "<b>", "--label", "c"]
    assert run_cli(["compare", "12/13", "4/5", "0/10", *labels, "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "| A | a\\|b | 12/13 |" in out and "<b>" not in out and "\\<0.3085" in out
    assert out.count("| differs |") == 2
