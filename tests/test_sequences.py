"""Confidence sequences and stop rules: what they say, and how often looking all the time misleads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import binom

from mcsim.errors import UserError
from mcsim.fidelity.statistics import synthetic_pairs
from mcsim.stats.intervals import interval
from mcsim.stats.sequences import difference_sequence, log_martingale, sequence
from mcsim.stats.stopping import Stopping, fired

COUNTS = st.integers(1, 10**6).flatmap(lambda boots: st.tuples(st.integers(0, boots), st.just(boots)))


def misses(p: float, looks: int, level: float = 0.95) -> float:
    """Exact probability that the sequence misses P = `p` at any of `looks` looks, one after each boot.

    The distribution of the number of failures is carried on boot by boot; what is missed is taken out.
    """
    alive = np.ones(1)
    for boots in range(1, looks + 1):
        alive = np.append(alive * (1 - p), 0.0) + np.append(0.0, alive * p)
        failures = np.arange(boots + 1)
        mixture = betaln(failures + 0.5, boots - failures + 0.5) - betaln(0.5, 0.5)
        alive[mixture - failures * math.log(p) - (boots - failures) * math.log1p(-p) > -math.log(1 - level)] = 0.0
    return 1.0 - float(alive.sum())


def plain_misses(p: float, looks: int) -> float:
    """The same for exact intervals, which are made for one look."""
    alive = np.ones(1)
    for boots in range(1, looks + 1):
        alive = np.append(alive * (1 - p), 0.0) + np.append(0.0, alive * p)
        failures = np.arange(boots + 1)
        tail = np.minimum(binom.cdf(failures, boots, p), binom.sf(failures - 1, boots, p))
        alive[tail < 0.025] = 0.0
    return 1.0 - float(alive.sum())


class TestSequence:
    @pytest.mark.parametrize("p", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9])
    def test_misses_in_at_most_5_per_cent_of_runs_with_1000_looks(self, p: float) -> None:
        """Summed over all runs, so without any chance of a false alarm."""
        assert misses(p, 1000) <= 0.05

    def test_where_plain_intervals_miss_in_a_third_of_them(self) -> None:
        assert plain_misses(0.3, 1000) > 0.33

    @given(COUNTS, st.sampled_from([0.8, 0.95, 0.999]))
    def test_ends_are_where_the_martingale_reaches_its_limit(self, counts: tuple[int, int], level: float) -> None:
        for end in sequence(*counts, level):
            if 0.0 < end < 1.0:
                # An end near 1 is rounded, and 1 - end with it, by much more than 1e-6 of itself.
                rounding = (counts[1] - counts[0]) * math.ulp(1.0) / (1.0 - end)
                limit = -math.log1p(-level)
                assert log_martingale(*counts, end) == pytest.approx(limit, rel=1e-6, abs=rounding)

    @given(COUNTS)
    def test_is_wider_than_the_interval_of_one_look_and_holds_it(self, counts: tuple[int, int]) -> None:
        wide, narrow = sequence(*counts), interval(*counts)
        assert 0.0 <= wide.low <= narrow.low + 1e-9
        assert narrow.high - 1e-9 <= wide.high <= 1.0

    @given(COUNTS)
    def test_mirrors_when_failures_and_successes_change_places(self, counts: tuple[int, int]) -> None:
        low, high = sequence(*counts)
        assert sequence(counts[1] - counts[0], counts[1]) == pytest.approx((1 - high, 1 - low))

    def test_no_failure_gives_an_upper_bound_and_all_failures_a_lower_one(self) -> None:
        assert sequence(0, 2000) == (0.0, pytest.approx(0.003678, abs=1e-6))
        assert sequence(2000, 2000) == (pytest.approx(1 - 0.003678, abs=1e-6), 1.0)

    def test_no_boots_say_nothing(self) -> None:
        assert sequence(0, 0) == (0.0, 1.0)
        assert difference_sequence(0, 0, 0) == (-1.0, 1.0)

    def test_rare_failures_keep_their_digits(self) -> None:
        low, high = sequence(1, 10**9)
        assert 0.0 < low < 1e-12
        assert 1e-9 < high < 1e-7

    def test_bad_counts_and_levels_are_refused(self) -> None:
        with pytest.raises(ValueError, match="3 failures of 2 boots"):
            sequence(3, 2)
        with pytest.raises(UserError, match="is not a level"):
            sequence(1, 2, 95)


class TestDifference:
    def test_signs_and_sides(self) -> None:
        low, high = difference_sequence(0, 150, 300)
        assert -1.0 < low < -0.5 < high < 0.0
        assert difference_sequence(150, 0, 300) == pytest.approx((-high, -low))

    def test_without_a_discordant_boot_is_the_bound_of_their_share(self) -> None:
        bound = sequence(0, 300, 0.975).high
        assert difference_sequence(0, 0, 300) == pytest.approx((-bound, bound))

    @pytest.mark.parametrize(("share", "toward"), [(0.4, 0.5), (0.1, 0.9), (0.02, 0.5)])
    def test_misses_in_at_most_5_per_cent_of_runs(self, share: float, toward: float) -> None:
        """150 runs with 60 looks; 12 misses or fewer have probability 0.96 at 5 %, and its guarantee is far below."""
        rng = np.random.default_rng(1)
        difference = share * (2 * toward - 1)
        missed = 0
        for _ in range(150):
            worse, better = 0, 0
            for boots in range(20, 1201, 20):
                differing = rng.binomial(20, share)
                up = rng.binomial(differing, toward)
                worse, better = worse + up, better + differing - up
                low, high = difference_sequence(worse, better, boots)
                if not low <= difference <= high:
                    missed += 1
                    break
        assert missed <= 12

    def test_holds_for_shares_of_a_boot_when_sizes_are_pooled(self) -> None:
        rng = np.random.default_rng(2)
        missed = 0
        for _ in range(150):
            variant, baseline = synthetic_pairs(rng, (0.5, 0.3, 0.1), 0.05, 600)
            net = variant.mean(axis=0) - baseline.mean(axis=0)
            for boots in range(20, 601, 20):
                worse, better = net[:boots].clip(0).sum(), -net[:boots].clip(None, 0).sum()
                low, high = difference_sequence(worse, better, boots)
                if not low <= 0.05 <= high:
                    missed += 1
                    break
        assert missed <= 12


class TestStopping:
    def test_no_rule_never_fires(self) -> None:
        assert fired(Stopping(), 10**9, 10**9, 1e9, (0, 10**8)) is None

    @pytest.mark.parametrize(
        ("stopping", "before", "after"),
        [
            (Stopping(max_boots=100), (99, 3, 1.0), (100, 3, 1.0)),
            (Stopping(max_failures=4), (99, 3, 1.0), (99, 4, 1.0)),
            (Stopping(half_width=0.05), (500, 200, 1.0), (2000, 800, 1.0)),
            (Stopping(relative_half_width=0.15), (500, 200, 1.0), (2000, 800, 1.0)),
            (Stopping(wall_seconds=10.0), (99, 3, 9.9), (99, 3, 10.0)),
            (Stopping(decided="base"), (100, 3, 1.0, (4, 1)), (100, 3, 1.0, (20, 1))),
            (Stopping(decided="base", delta=0.05), (50, 3, 1.0, (0, 0)), (300, 3, 1.0, (0, 0))),
        ],
    )
    def test_each_rule_fires_when_it_should_and_says_its_name(
        self, stopping: Stopping, before: tuple, after: tuple
    ) -> None:
        assert fired(stopping, *before) is None
        words = fired(stopping, *after)
        assert words is not None
        name = words.split(":")[0]
        assert getattr(stopping, name) is not None

    def test_a_relative_width_never_fires_without_a_failure(self) -> None:
        assert fired(Stopping(relative_half_width=0.5), 10**7, 0, 1.0) is None

    def test_nothing_is_decided_without_boots_or_baseline(self) -> None:
        assert fired(Stopping(decided="base", half_width=0.1, relative_half_width=0.1), 0, 0, 0.0, (0, 0)) is None
        assert fired(Stopping(decided="base"), 1000, 500, 0.0, None) is None

    def test_only_common_boots_count_for_a_decision(self) -> None:
        same = Stopping(decided="base", delta=0.02)
        assert fired(same, 10_000, 9, 0.0, (0, 0), common_boots=50) is None
        assert fired(same, 10_000, 9, 0.0, (0, 0)) is not None

    def test_the_words_say_which_way(self) -> None:
        assert "differs, P - P(base) in +" in str(fired(Stopping(decided="base"), 200, 90, 0.0, (60, 0)))
        assert "equivalent within 0.02" in str(fired(Stopping(decided="base", delta=0.02), 2000, 9, 0.0, (0, 0)))

    def test_equal_variants_are_told_apart_in_at_most_5_per_cent_of_runs(self) -> None:
        """200 runs looked at 40 times: 16 or fewer false decisions have probability 0.98 at 5 %."""
        rng = np.random.default_rng(3)
        wrong = 0
        for _ in range(200):
            up = down = 0
            for boots in range(25, 1001, 25):
                differing = rng.binomial(25, 0.5)
                one = rng.binomial(differing, 0.5)
                up, down = up + one, down + differing - one
                if fired(Stopping(decided="base"), boots, 0, 0.0, (up, down)):
                    wrong += 1
                    break
        assert wrong <= 16

    @pytest.mark.parametrize(
        ("arguments", "key"),
        [
            ({"max_boots": 0}, "max_boots"),
            ({"max_failures": 1.5}, "max_failures"),
            ({"half_width": 0.5}, "half_width"),
            ({"relative_half_width": -1.0}, "relative_half_width"),
            ({"wall_seconds": float("nan")}, "wall_seconds"),
            ({"level": 95.0}, "level"),
            ({"delta": 0.1}, "delta"),
        ],
    )
    def test_values_that_make_no_rule_are_refused_by_name(self, arguments: dict, key: str) -> None:
        with pytest.raises(UserError) as error:
            Stopping(**arguments)
        assert error.value.key == key
