"""Intervals: known values, the ends, and how often they cover."""

import subprocess
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import stand_in
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.stats import independent, paired
from mcsim.stats.intervals import LEVELS, Interval, corrected, interval, shown
from mcsim.stats.scan import looks, scan
from mcsim.stats.sequences import difference_sequence, sequence
from mcsim.store.summary import CLASSES, empty_schema, summarize
from mcsim.studies.min_ram import SMALLEST_LIMIT, min_ram

COUNTS = st.integers(1, 300).flatmap(lambda boots: st.tuples(st.integers(0, boots), st.just(boots)))


def test_a_share_of_none_or_all_is_shown_as_its_bound() -> None:
    assert shown(0, 20, 0.0, 0.17) == ("<", 0.17)
    assert shown(20, 20, 0.83, 1.0) == (">", 0.83)
    assert shown(5, 20, 0.1, 0.5) == ("", 0.25)


class TestIntervals:
    def test_exact_ones_solve_the_defining_equations(self) -> None:
        """Clopper and Pearson: at each end the tail beyond what was seen has probability 2.5 %."""
        low, high = interval(12, 13)
        assert binom.sf(11, 13, low) == pytest.approx(0.025)
        assert binom.cdf(12, 13, high) == pytest.approx(0.025)

    @given(COUNTS, st.sampled_from(["exact", "wilson"]), st.floats(0.5, 0.9999))
    def test_are_those_of_scipy(self, counts: tuple[int, int], method: Any, level: float) -> None:
        theirs = binomtest(*counts).proportion_ci(confidence_level=level, method=method)
        assert interval(*counts, level, method) == pytest.approx(tuple(theirs), rel=1e-9, abs=1e-11)

    def test_do_not_need_scipy_stats(self) -> None:
        """It would make up a third of the time until a small run prints its first figure."""
        code = "import sys; from mcsim.store.summary import interval; interval(3, 5); interval(3, 5, method='wilson')"
        subprocess.run([sys.executable, "-c", f"{code}; assert 'scipy.stats' not in sys.modules"], check=True)

    @pytest.mark.parametrize("method", ["exact", "wilson"])
    def test_no_failure_gives_an_upper_bound_and_all_failures_a_lower_one(self, method: str) -> None:
        low, high = interval(0, 2000, method=method)  # type: ignore[arg-type]
        assert low == 0.0
        assert 0.001 < high < 0.002
        low, high = interval(2000, 2000, method=method)  # type: ignore[arg-type]
        assert high == 1.0
        assert 0.998 < low < 0.999

    def test_the_bound_of_zero_failures_is_the_closed_form(self) -> None:
        assert interval(0, 100).high == pytest.approx(1 - 0.025**0.01)

    def test_no_boots_say_nothing(self) -> None:
        assert interval(0, 0) == (0.0, 1.0)

    @given(COUNTS, st.sampled_from(["exact", "wilson"]))
    def test_hold_the_estimate_and_stay_within_0_and_1(self, counts: tuple[int, int], method: str) -> None:
        failures, boots = counts
        low, high = interval(failures, boots, method=method)  # type: ignore[arg-type]
        assert 0.0 <= low <= failures / boots <= high <= 1.0

    @given(COUNTS)
    def test_mirror_when_failures_and_successes_change_places(self, counts: tuple[int, int]) -> None:
        failures, boots = counts
        low, high = interval(failures, boots)
        assert interval(boots - failures, boots) == pytest.approx((1 - high, 1 - low))

    @given(COUNTS)
    def test_grow_with_the_level(self, counts: tuple[int, int]) -> None:
        narrow, wide = interval(*counts, level=0.9), interval(*counts, level=0.99)
        assert wide.low <= narrow.low
        assert narrow.high <= wide.high

    @pytest.mark.parametrize("boots", [10, 50, 200])
    @pytest.mark.parametrize("p", [0.001, 0.01, 0.1, 0.3, 0.5, 0.77, 0.99])
    def test_exact_ones_cover_at_least_as_often_as_they_say(self, boots: int, p: float) -> None:
        """Summed over all outcomes, so without any chance of a false alarm."""
        assert coverage(boots, p, "exact") >= 0.95

    @pytest.mark.parametrize("boots", [50, 200])
    def test_wilson_ones_cover_as_often_as_they_say_on_average(self, boots: int) -> None:
        rates = [coverage(boots, p, "wilson") for p in np.linspace(0.02, 0.98, 49)]
        assert np.mean(rates) == pytest.approx(0.95, abs=0.01)

    @pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -1.0, float("nan")])
    def test_levels_that_are_none_are_refused(self, level: float) -> None:
        with pytest.raises(UserError, match="is not a level"):
            interval(1, 2, level)


@lru_cache
def intervals(boots: int, method: str) -> list[Interval]:
    return [interval(each, boots, 0.95, method) for each in range(boots + 1)]  # type: ignore[arg-type]


def coverage(boots: int, p: float, method: str) -> float:
    """Exact probability that the interval holds p."""
    covered = [low <= p <= high for low, high in intervals(boots, method)]
    return float(binom.pmf(np.arange(boots + 1), boots, p)[covered].sum())


class TestSummary:
    TASKS = experiment.load("mail-2022").tasks("d")[:3]

    def test_counts_boots_failures_and_classes(self) -> None:
        outcomes = stand_in.simulate(self.TASKS[0], "C", 0, 200)
        outcomes["failed"][:], outcomes["failure_class"][:] = 0, 0
        outcomes["failed"][:9], outcomes["failure_class"][:9] = 1, [1, 1, 1, 1, 2, 2, 3, 4, 4]
        frame = pl.DataFrame({name: outcomes[name] for name in outcomes.dtype.names})
        row = summarize([(self.TASKS[0], frame)]).row(0, named=True)
        assert (row["variant"], row["ram"], row["ram_bytes"]) == ("pre-maple", "28M", 28 << 20)
        assert (row["boots"], row["failures"], row["p"]) == (200, 9, 0.045)
        assert [row[name] for name in CLASSES.values()] == [4, 2, 1, 2]
        assert (row["exact_low"], row["exact_high"]) == interval(9, 200)
        assert (row["wilson_low"], row["wilson_high"]) == interval(9, 200, method="wilson")

    def test_cells_without_boots_have_no_row_and_columns_are_always_the_same(self) -> None:
        outcomes = stand_in.simulate(self.TASKS[0], "C", 0, 20)
        frame = pl.DataFrame({name: outcomes[name] for name in outcomes.dtype.names})
        some = summarize([(self.TASKS[0], frame), (self.TASKS[1], pl.DataFrame())])
        assert some.height == 1
        assert some.schema == summarize([]).schema == pl.Schema(empty_schema())


class TestAnyNumbers:
    """Whatever numbers they are given, functions answer with numbers, or say what is wrong."""

    LEVELS = st.one_of(st.floats(*LEVELS), st.sampled_from([*LEVELS, corrected(LEVELS[1], 10**6)]))
    COUNTS = st.one_of(st.integers(1, 30), st.integers(1, 10**9)).flatmap(
        lambda boots: st.tuples(
            st.one_of(st.integers(0, boots), st.sampled_from([0, 1, boots - 1, boots])), st.just(boots)
        )
    )

    @given(COUNTS, LEVELS)
    def test_intervals_hold_the_estimate(self, counts: tuple[int, int], level: float) -> None:
        failures, boots = counts
        for low, high in (interval(failures, boots, level), interval(failures, boots, level, "wilson")):
            assert 0.0 <= low <= failures / boots * (1 + 1e-9)
            assert failures / boots * (1 - 1e-9) <= high <= 1.0
        low, high = sequence(failures, boots, level)
        assert 0.0 <= low <= failures / boots * (1 + 1e-6)
        assert failures / boots * (1 - 1e-6) <= high <= 1.0

    @given(COUNTS, COUNTS, LEVELS)
    def test_differences_hold_the_estimate(self, here: tuple[int, int], there: tuple[int, int], level: float) -> None:
        low, high = independent.interval(*here, *there, level)
        difference = here[0] / here[1] - there[0] / there[1]
        assert -1.0 - 1e-9 <= low <= difference + 1e-9
        assert difference - 1e-9 <= high <= 1.0 + 1e-9
        worse, better = here[0], min(there[0], here[1] - here[0])
        low, high = difference_sequence(worse, better, here[1], level)
        assert -1.0 <= low <= (worse - better) / here[1] + 1e-6
        assert (worse - better) / here[1] - 1e-6 <= high <= 1.0

    @given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 10**8)), min_size=3, max_size=3), LEVELS)
    @settings(deadline=None)
    def test_of_pairs_too(self, counts: list[int], level: float) -> None:
        net = np.array(counts)
        low, high = paired.interval(net, level)
        middle = paired.difference(net) if net.sum() else 0.0
        assert -1.0 <= low <= middle + 1e-9
        assert middle - 1e-9 <= high <= 1.0

    @given(st.floats(SMALLEST_LIMIT, 1.0, exclude_max=True), LEVELS, st.integers(1, 10**9), st.floats(0.0, 1.0))
    @settings(deadline=None)
    def test_a_scan_ends_with_a_verdict(self, limit: float, level: float, most: int, p: float) -> None:
        rows = scan([1, 2], lambda sizes, boots: dict.fromkeys(sizes, round(p * boots)), limit, level, most)
        assert len(list(looks(limit, level, most))) < 200
        for row in rows:
            assert 0.0 <= row.low <= row.high <= 1.0
            assert 0 < row.boots <= most
            assert row.verdict in ("safe", "unsafe", "undecided")

    @given(st.floats(), st.floats())
    def test_what_is_out_of_range_is_one_message(self, limit: float, level: float) -> None:
        experiment_, sizes = experiment.load("mail-2022"), [32 << 20]
        assume(not (LEVELS[0] <= level <= LEVELS[1] and SMALLEST_LIMIT <= limit < 1.0))
        with pytest.raises(UserError, match=r"(is not a level|--p: .* is out of range)"):
            min_ram(experiment_, "tail-free", sizes, limit, level=level)
