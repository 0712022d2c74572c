"""Numbers of boots: powers by enumeration, numbers by their definition, and the command."""

import io
import itertools
import math
import re
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, fisher_exact

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.stats import paired, plan
from mcsim.stats.intervals import LEVELS, interval
from mcsim.stats.sequences import sequence


class TestPaired:
    @pytest.mark.parametrize(("p1", "p2", "discordant"), [(0.4, 0.2, 0.3), (0.9, 0.6, 0.3), (0.3, 0.3, 0.4)])
    @pytest.mark.parametrize("boots", [5, 30])
    def test_power_is_that_of_all_outcomes(self, p1: float, p2: float, discordant: float, boots: int) -> None:
        up, down = 0.5 * (discordant + p1 - p2), max(0.0, 0.5 * (discordant - p1 + p2))
        power = 0.0
        for first, second in itertools.product(range(boots + 1), repeat=2):
            if 0 < first + second <= boots and binomtest(first, first + second).pvalue <= 0.05:
                share = up / (up + down)
                power += binom.pmf(first + second, boots, up + down) * binom.pmf(first, first + second, share)
        assert plan.paired_power(p1, p2, discordant, boots) == pytest.approx(power, abs=1e-7)

    def test_power_is_what_simulated_comparisons_find(self) -> None:
        """2,000 comparisons: the standard error is 0.9 points, 3 points are allowed."""
        boots = plan.paired_boots(0.3, 0.2, 0.2)
        rng = np.random.default_rng(1)
        counts = rng.multinomial(boots, (0.15, 0.05, 0.8), size=2000)
        found = [paired.p_value(paired.one_size(up, down, boots)) <= 0.05 for up, down, _ in counts]
        assert np.mean(found) == pytest.approx(0.8, abs=0.03)

    @pytest.mark.parametrize(("p1", "p2", "discordant"), [(0.3, 0.2, 0.1), (0.3, 0.2, 0.38), (0.011, 0.010, 0.005)])
    def test_number_has_the_power_and_a_tenth_less_has_not(self, p1: float, p2: float, discordant: float) -> None:
        boots = plan.paired_boots(p1, p2, discordant, power=0.9)
        assert plan.paired_power(p1, p2, discordant, boots) >= 0.9
        assert plan.paired_power(p1, p2, discordant, boots * 9 // 10) < 0.9

    def test_many_boots_are_approximate_and_nearly_right(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exact = plan.paired_boots(0.3, 0.28, 0.05)
        monkeypatch.setattr(plan, "MOST_EXACT_PAIRED", 500)
        assert plan.paired_boots(0.3, 0.28, 0.05) == pytest.approx(exact, rel=0.06)

    def test_common_boots_need_fewer(self) -> None:
        numbers = [plan.paired_boots(0.3, 0.2, share) for share in (0.1, 0.2, plan.unrelated(0.3, 0.2))]
        assert numbers == sorted(numbers)
        assert numbers[-1] == pytest.approx(plan.independent_boots(0.3, 0.2)[0], rel=0.05)

    def test_equal_variants_are_found_different_in_at_most_5_per_cent(self) -> None:
        assert all(plan.paired_power(0.3, 0.3, 0.3, boots) <= 0.05 for boots in (1, 10, 100, 1000, 10_000))

    @pytest.mark.parametrize(
        ("arguments", "key"),
        [((0.3, 0.3, 0.2), "--p2"), ((0.3, 0.2, 0.05), "--discordant"), ((0.3, 0.2, 0.2, 1.0), "--power")],
    )
    def test_what_cannot_be_is_refused(self, arguments: tuple, key: str) -> None:
        with pytest.raises(UserError) as error:
            plan.paired_boots(*arguments)
        assert error.value.key == key


class TestIndependent:
    @pytest.mark.parametrize(("p1", "p2"), [(0.8, 0.2), (0.5, 0.5), (0.05, 0.4)])
    def test_power_is_that_of_all_tables(self, p1: float, p2: float) -> None:
        power = sum(
            binom.pmf(one, 12, p1) * binom.pmf(other, 12, p2)
            for one, other in itertools.product(range(13), repeat=2)
            if fisher_exact([[one, 12 - one], [other, 12 - other]])[1] <= 0.05
        )
        assert plan.independent_power(p1, p2, 12) == pytest.approx(power, abs=1e-7)

    def test_number_has_the_power_and_a_tenth_less_has_not(self) -> None:
        boots, exact = plan.independent_boots(0.5, 0.3)
        assert exact
        assert plan.independent_power(0.5, 0.3, boots) >= 0.8 > plan.independent_power(0.5, 0.3, boots * 9 // 10)

    def test_many_boots_are_approximate_and_a_little_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exact, _ = plan.independent_boots(0.5, 0.3)
        monkeypatch.setattr(plan, "MOST_EXACT", 50)
        about, is_exact = plan.independent_boots(0.5, 0.3)
        assert not is_exact
        assert exact <= about <= 1.05 * exact


class TestIntervals:
    @pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
    def test_width_is_reached(self, p: float) -> None:
        boots = plan.width_boots(p, 0.02)
        low, high = interval(round(p * boots), boots)
        assert 0.5 * (high - low) <= 0.02
        boots = plan.sequence_boots(p, 0.02)
        low, high = sequence(round(p * boots), boots)
        assert 0.5 * (high - low) <= 0.02
        assert boots > plan.width_boots(p, 0.02)

    @pytest.mark.parametrize("upper", [0.5, 0.01, 1e-6])
    def test_bound_of_no_failure_is_reached_and_not_before(self, upper: float) -> None:
        boots = plan.bound_boots(upper)
        assert interval(0, boots).high <= upper * (1 + 1e-9)
        assert boots == 1 or interval(0, boots - 1).high > upper

    def test_one_sided_it_is_the_rule_of_three(self) -> None:
        assert plan.bound_boots(0.001, one_sided=True) == pytest.approx(3 / 0.001, rel=0.002)

    def test_too_many_boots_are_an_error(self) -> None:
        with pytest.raises(UserError, match="more than 1000000000 boots are needed"):
            plan.width_boots(0.5, 1e-7)


class TestCommand:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--p1 0.3 --p2 0.2 --paired --discordant 0.2", "168 boots, the same of both"),
            ("--p1 0.3 --p2 0.2 --paired", "if failures of the two are unrelated (discordant 0.38); at best 78"),
            ("--p1 0.3 --p2 0.2", "311 boots of each, independent"),
            ("--p1 0.3 --p2 0.299", "about 3,295,"),
            ("--p1 0.3 --p2 0.2 --paired --discordant 0.2 --rows 20", "corrected for 20 rows"),
            ("--p1 0.3 --p2 0.2999 --paired --discordant 0.3", "about 235,466,390 boots, the same of both"),
            ("--p1 0.3 --half-width 0.01", "8,166  exact interval"),
            ("--upper 0.001", "2,995  one-sided (the rule of three)"),
        ],
    )
    def test_answers(self, options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["plan", *options.split()]) == 0
        printed = capsys.readouterr().out
        assert words in printed
        assert max(map(len, printed.splitlines())) <= 72

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--p1 0.3", "--p2, --half-width, --upper: say what the boots are for"),
            ("--p1 0.3 --p2 0.2 --upper 0.1", "are several questions"),
            ("--half-width 0.1", "--p1: is missing"),
            ("--p1 1.3 --p2 0.2", "--p1: 1.3 is out of range"),
            ("--p1 0.3 --p2 0.2 --discordant 0.1", "--discordant: has no use"),
            ("--p1 0.3 --half-width 0.7", "--half-width: 0.7 is out of range"),
            ("--upper 0", "--upper: 0.0 is out of range"),
            ("--upper 0.1 --level 95", "95.0 is not a level"),
            ("--upper 0.1 --rows 0", "--rows: 0 is out of range"),
            ("--p1 0.3 --half-width 1e-7", "boots are needed"),
            ("--upper 1e-320", "more than 1000000000 boots are needed"),
            ("--p1 0.1 --p2 0.2 --power 0.9999999999999999", "--power: 0.9999999999999999 is out of range"),
            ("--p1 1e-320 --p2 2e-320", "more than 1000000000 boots are needed"),
            ("--p1 0.3 --p2 0.2999999 --paired", "more than 1000000000 boots are needed"),
            ("--upper 0.1 --level 0.9999999999999999", "0.9999999999999999 is not a level"),
            ("--upper 0.1 --rows 1000000000", "--rows: 1000000000 is out of range"),
        ],
    )
    def test_bad_questions_are_one_message(self, options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["plan", *options.split()]) == 2
        assert words in capsys.readouterr().err


NUMBERS = st.one_of(
    st.floats(),
    st.floats(0.0, 1.0),
    st.sampled_from([0.3, 0.2, 0.5, 0.999999, 1 - 1e-16, 1e-320, 1e-9, 2e-9, 1 - 1e-9, 1.0, 0.0, math.nan, math.inf]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("--p1", "--p2", "--discordant", "--half-width", "--upper"), NUMBERS),
            "--power": st.one_of(NUMBERS, st.floats(*plan.POWERS)),
            "--level": st.one_of(NUMBERS, st.floats(*LEVELS)),
            "--rows": st.integers(-1, 10**12),
        },
    ),
    st.booleans(),
)
def test_any_numbers_are_answered_or_refused(options: dict[str, float], paired: bool) -> None:
    """Smaller sums than usual, so that many questions can be asked."""
    words = [word for key, value in options.items() for word in (key, repr(value))]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(plan, "MOST_EXACT", 50)
        patch.setattr(plan, "MOST_EXACT_PAIRED", 5000)
        code = run_cli(["plan", *words, *(["--paired"] if paired else [])])
    assert code in (0, 2)
    assert bool(out.getvalue()) == (code == 0)
    assert not {"nan", "inf"} & set(re.split(r"[^a-z]+", out.getvalue()))
