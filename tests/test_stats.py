"""Intervals: known values, the ends, and how often they cover."""

import subprocess
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import stand_in
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.stats.intervals import Interval, interval
from mcsim.stats.summary import CLASSES, empty_schema, summarize

COUNTS = st.integers(1, 300).flatmap(lambda boots: st.tuples(st.integers(0, boots), st.just(boots)))


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
        code = "import sys; from mcsim.stats.summary import interval; interval(3, 5); interval(3, 5, method='wilson')"
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
        with pytest.raises(UserError, match="a number between 0 and 1"):
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
