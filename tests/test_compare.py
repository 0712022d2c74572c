"""Comparison: known values, exactness by enumeration, coverage, error rates, verdicts, and the command."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import stand_in
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, multinomial, norm

import mcsim
from mcsim.cli import run_cli
from mcsim.cli.compare_command import gate_code
from mcsim.errors import UserError
from mcsim.fidelity.statistics import synthetic_pairs
from mcsim.model import experiment
from mcsim.report import comparison
from mcsim.stats import independent, paired
from mcsim.stats.intervals import Interval
from mcsim.stats.intervals import interval as rate_interval
from mcsim.stats.multiple import holm
from mcsim.stats.verdicts import estimates, judge, verdict
from mcsim.store.result import Result
from mcsim.studies.compare import COLUMNS, COUNTS_COLUMNS, compare

NETS = st.integers(1, 4).flatmap(lambda sizes: st.lists(st.integers(0, 30), min_size=2 * sizes + 1, max_size=9))
NETS = NETS.filter(lambda net: len(net) % 2 == 1 and sum(net) > 0).map(np.array)


class TestScoreInterval:
    def test_is_the_published_one(self) -> None:
        """M. W. Fagerland, S. Lydersen, P. Laake, Statistical Analysis of Contingency Tables, 2017, chapter 8."""
        assert paired.interval(paired.one_size(6, 16, 161)) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
        assert paired.interval(paired.one_size(1, 7, 21)) == pytest.approx((-0.517, -0.026), abs=5e-4)

    @pytest.mark.parametrize("boots", [1, 10, 2000])
    def test_without_a_discordant_boot_is_the_closed_form(self, boots: int) -> None:
        square = 1.959963984540054**2
        bound = square / (boots + square)
        assert paired.interval(paired.one_size(0, 0, boots)) == pytest.approx((-bound, bound))

    def test_one_sided_ends(self) -> None:
        low, high = paired.interval(paired.one_size(5, 0, 5))
        assert (round(low, 4), high) == (0.131, 1.0)
        assert paired.interval(np.zeros(3, np.int64)) == (-1.0, 1.0)

    @given(NETS)
    @settings(max_examples=50, deadline=None)
    def test_holds_the_estimate_stays_within_bounds_and_mirrors(self, net: paired.Net) -> None:
        low, high = paired.interval(net)
        assert -1.0 <= low <= paired.difference(net) + 1e-9
        assert paired.difference(net) - 1e-9 <= high <= 1.0
        assert paired.interval(net[::-1]) == pytest.approx((-high, -low), abs=1e-9)

    def test_sizes_that_fail_alike_add_nothing(self) -> None:
        """The same failures at three sizes are the evidence of one: nobody gains boots by pooling copies."""
        rng = np.random.default_rng(1)
        variant, baseline = synthetic_pairs(rng, (0.3,), 0.05, 200)
        once = paired.net_differences(variant, baseline)
        thrice = paired.net_differences(np.repeat(variant, 3, axis=0), np.repeat(baseline, 3, axis=0))
        assert paired.p_value(thrice) == pytest.approx(paired.p_value(once))
        assert paired.difference(thrice) == pytest.approx(paired.difference(once))
        assert paired.interval(thrice) == pytest.approx(paired.interval(once), abs=1e-6)

    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9])
    def test_covers_about_as_often_as_it_says(self, share: float) -> None:
        """Summed over all outcomes of 40 boots: at least 93.5 %, as published for this interval."""
        counts = [(up, down) for up in range(41) for down in range(41 - up)]
        intervals = {each: INTERVALS(*each) for each in counts}
        for toward in (0.5, 0.7, 0.9, 1.0):
            p = (share * toward, share * (1 - toward), 1 - share)
            weights = multinomial.pmf([(up, down, 40 - up - down) for up, down in counts], 40, p)
            covered = [low - 1e-9 <= p[0] - p[1] <= high + 1e-9 for low, high in intervals.values()]
            assert weights[np.array(covered)].sum() >= 0.935

    @pytest.mark.parametrize(
        ("rates", "shift", "boots"),
        [((0.5, 0.2, 0.02), 0.1, 60), ((0.5, 0.2, 0.02), 0.02, 300), ((0.9, 0.5), 0.0, 100)],
    )
    def test_covers_when_boots_are_clusters(self, rates: tuple[float, ...], shift: float, boots: int) -> None:
        """600 tables: 5 % of misses have a standard error of 0.9 points; 7.5 % are allowed."""
        rng = np.random.default_rng(4)
        missed = 0
        for _ in range(600):
            low, high = paired.interval(paired.net_differences(*synthetic_pairs(rng, rates, shift, boots)))
            missed += not low <= shift <= high
        assert missed <= 45


_cache: dict[tuple[int, int], Interval] = {}


def INTERVALS(up: int, down: int) -> Interval:  # noqa: N802
    if (up, down) not in _cache:
        _cache[up, down] = paired.interval(paired.one_size(up, down, 40))
    return _cache[up, down]


class TestExactTest:
    @given(st.integers(0, 60), st.integers(0, 60))
    def test_of_one_size_is_that_of_mcnemar(self, up: int, down: int) -> None:
        expected = binomtest(up, up + down).pvalue if up + down else 1.0
        assert paired.p_value(paired.one_size(up, down, 200)) == pytest.approx(expected)

    @pytest.mark.parametrize("net", [(1, 0, 4, 2, 3), (2, 1, 0, 1, 0, 3, 2), (0, 0, 1, 3, 2, 0, 4), (0, 3, 9, 0, 2)])
    def test_of_several_sizes_is_the_enumeration_of_all_signs(self, net: tuple[int, ...]) -> None:
        sizes = len(net) // 2
        values = np.repeat(np.arange(-sizes, sizes + 1), net)
        moved = values[values != 0]
        sums = [abs(np.dot(signs, moved)) for signs in itertools.product((-1, 1), repeat=moved.size)]
        expected = np.mean(np.array(sums) >= abs(moved.sum()))
        assert paired.p_value(np.array(net)) == pytest.approx(expected)

    def test_nothing_discordant_is_no_evidence(self) -> None:
        assert paired.p_value(paired.one_size(0, 0, 1000)) == 1.0
        assert paired.p_value(np.array([0, 0, 1000, 0, 0])) == 1.0

    def test_of_many_boots_is_near_the_normal_one(self) -> None:
        net = np.full(17, 2000)
        assert paired.p_value(net) == pytest.approx(1.0)
        net[13] += 600
        values = np.arange(-8, 9)
        z = (net @ values - 1) / np.sqrt(net @ values**2)
        assert paired.p_value(net) == pytest.approx(2 * norm.sf(z), rel=1e-3)
        net[13] += 40_000
        assert paired.p_value(net) == paired.SMALLEST

    def test_of_clusters_is_wrong_in_at_most_5_per_cent(self) -> None:
        """1,500 tables of equal variants: 93 or fewer have probability 0.99 at 5 %."""
        rng = np.random.default_rng(6)
        pairs = (synthetic_pairs(rng, (0.5, 0.3), 0.0, 80) for _ in range(1500))
        assert sum(paired.p_value(paired.net_differences(*pair)) <= 0.05 for pair in pairs) <= 93


class TestIndependent:
    def test_interval_is_the_published_one(self) -> None:
        """Newcombe 1998, page 873, table II, method 10: 56/70 against 48/80."""
        assert independent.interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
        assert independent.interval(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)

    def test_no_boots_say_nothing(self) -> None:
        assert independent.interval(0, 0, 1, 2) == (-1.0, 1.0)

    def test_p_value_is_fishers(self) -> None:
        assert independent.p_value(12, 13, 4, 5) == pytest.approx(fisher_exact([[12, 1], [4, 1]])[1])

    def test_errors_are_at_most_what_they_say(self) -> None:
        """Exact sums: 20 real boots against 60 simulated ones of the same P; interval 93 % or more on average."""
        from scipy.stats import binom

        real, simulated = np.arange(21), np.arange(61)
        p_values = np.array([[independent.p_value(k, 20, j, 60) for j in simulated] for k in real])
        ends = np.array([[independent.interval(k, 20, j, 60) for j in simulated] for k in real])
        for p in (0.02, 0.1, 0.3, 0.5):
            weights = np.outer(binom.pmf(real, 20, p), binom.pmf(simulated, 60, p))
            assert weights[p_values <= 0.05].sum() <= 0.05
            assert weights[(ends[..., 0] <= 0) & (ends[..., 1] >= 0)].sum() >= 0.94


class TestVerdict:
    def test_words(self) -> None:
        assert verdict(Interval(-0.01, 0.01), 1.0, 0.02, 0.95) == "equivalent"
        assert verdict(Interval(0.03, 0.09), 0.001, 0.02, 0.95) == "differs"
        assert verdict(Interval(-0.01, 0.03), 0.5, 0.02, 0.95) == "undecided"

    def test_a_real_difference_too_small_to_matter_is_equivalent(self) -> None:
        assert verdict(Interval(0.001, 0.002), 1e-9, 0.02, 0.95) == "equivalent"

    def test_family_of_equal_variants_has_a_difference_in_at_most_5_per_cent(self) -> None:
        """300 tables of 8 independent rows: 22 or fewer have probability 0.97 at 5 %."""
        rng = np.random.default_rng(7)
        wrong = 0
        for _ in range(300):
            table = [paired.p_value(paired.one_size(up, 60 - up, 100)) for up in rng.binomial(60, 0.5, size=8)]
            wrong += min(holm(table)) <= 0.05
        assert wrong <= 22

    def test_difference_of_delta_is_called_equivalent_in_at_most_5_per_cent(self) -> None:
        """600 rows at the edge: 39 or fewer have probability 0.95 at 5 %, and 2.5 % is nominal."""
        rng = np.random.default_rng(8)
        wrong = 0
        for _ in range(600):
            up, down, _ = rng.multinomial(1000, (0.08, 0.03, 0.89))
            wrong += verdict(paired.interval(paired.one_size(up, down, 1000)), 1.0, 0.05, 0.95) == "equivalent"
        assert wrong <= 39

    def test_peeking_needs_more_evidence(self) -> None:
        failed = np.zeros((1, 300), np.bool_)
        other = failed.copy()
        other[0, :7] = True
        plain, careful = [estimates(failed, other, 0.95)], [estimates(failed, other, 0.95)]
        judge(plain, 0.02, 0.95)
        judge(careful, 0.02, 0.95, peeking=True)
        assert plain[0]["verdict"] == "differs"
        assert careful[0]["verdict"] == "undecided"
        assert careful[0]["low"] < plain[0]["low"]
        assert careful[0]["p_value"] is None


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """200 boots of every variant at 30M to 33M; more of one cell. Not to be changed by a test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("compare")
        stand_in.use_stand_in(monkeypatch, folder)
        sizes = ["30M", "31M", "32M", "33M"]
        mcsim.run("mail-2022", boots=200, workers=1, ram=sizes, out=folder / "mail-2022")
        return mcsim.run(
            "mail-2022", boots=260, workers=1, ram=["32M"], variants=["tail-free"], out=folder / "mail-2022"
        )


class TestFrame:
    def test_has_a_row_per_variant_and_size_and_one_for_all(self, result: Result) -> None:
        frame = mcsim.compare(result, baseline="maple-naive")
        assert tuple(frame.columns) == COLUMNS
        assert frame.height == 6 * 5
        assert frame["ram"].to_list()[:5] == ["30M", "31M", "32M", "33M", "pooled"]
        assert "maple-naive" not in frame["variant"]
        assert set(frame["boots"]) == {200}

    def test_counts_what_the_outcomes_say(self, result: Result) -> None:
        row = mcsim.compare(result, baseline="maple-naive", ram=["32M"]).filter(variant="tail-free").row(0, named=True)
        here, there = (result.outcomes(name, "32M")["failed"].to_numpy()[:200] for name in ("tail-free", "maple-naive"))
        assert (row["failures"], row["baseline_failures"]) == (here.sum(), there.sum())
        assert (row["worse"], row["better"]) == ((here > there).sum(), (here < there).sum())
        assert row["p_value"] == pytest.approx(binomtest(row["worse"], row["worse"] + row["better"]).pvalue)
        assert row["discordant_high"] == rate_interval(row["discordant"], 200).high

    def test_one_size_has_no_pooled_row(self, result: Result) -> None:
        assert mcsim.compare(result, baseline="maple-naive", ram=["32M"])["ram"].unique().to_list() == ["32M"]

    def test_the_same_boots_are_equivalent_and_others_differ(self, result: Result) -> None:
        frame = mcsim.compare(result.path, baseline="maple-naive", delta=0.03)
        assert set(frame.filter(variant="pre-maple")["verdict"]) == {"equivalent"}
        assert set(frame.filter(variant="pre-maple")["discordant"]) == {0}
        assert frame.filter(variant="tail-free", ram="pooled")["verdict"].item() == "differs"
        few = mcsim.compare(result, baseline="maple-naive", delta=0.001)
        assert set(few.filter(variant="pre-maple")["verdict"]) == {"undecided"}

    def test_p_values_are_adjusted_over_all_rows(self, result: Result) -> None:
        frame = mcsim.compare(result, baseline="maple-naive")
        assert frame["adjusted"].to_list() == holm(frame["p_value"].to_list())

    def test_peeking_has_sequences_instead(self, result: Result) -> None:
        plain, careful = (mcsim.compare(result, baseline="maple-naive", peeking=each) for each in (False, True))
        assert (careful["low"] < plain["low"]).all()
        assert (careful["high"] > plain["high"]).all()
        assert careful["p_value"].null_count() == careful.height
        assert careful.schema == plain.schema

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"baseline": "maple"}, "'maple' is not a variant of this result"),
            ({"baseline": "maple-naive", "ram": ["29G"]}, "29G is not a RAM size"),
            ({"baseline": "maple-naive", "delta": 0.0}, "0.0 is out of range"),
            ({"baseline": "maple-naive", "level": 95}, "95 is not a level"),
        ],
    )
    def test_bad_input_is_refused(self, result: Result, arguments: dict, words: str) -> None:
        with pytest.raises(UserError, match=words):
            mcsim.compare(result, **arguments)


class TestCommand:
    def test_prints_a_table_that_fits_a_mail(self, result: Result, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["compare", str(result.path), "--baseline", "maple-naive"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 72
        assert any("tail-free, mail-both, linux-6.1.y, linux-6.6 against maple-naive" in line for line in lines)
        words = " ".join(" ".join(lines).split())
        for needed in ("Tango", "McNemar", "adjusted for 30 rows (Holm)", "not one of 200 boots differs", "pooled"):
            assert needed in words

    def test_fits_with_the_longest_numbers(self) -> None:
        failed = np.zeros((2, 200), np.bool_)
        rows = [estimates(~failed, failed, 0.95) | {"variant": "a" * 24, "baseline": "b" * 24, "ram": "128M"}]
        judge(rows, 0.02, 0.95)
        rows[0] |= {"better": 9_999_999, "worse": 99_999, "boots": 9_999_999, "adjusted": 2e-7, "verdict": "equivalent"}
        frame = pl.DataFrame([rows[0] | {"low": -1.0, "high": -0.9999}])
        assert max(map(len, comparison.page(frame, "t").splitlines())) <= 72

    def test_csv_is_the_frame_and_always_the_same_bytes(
        self, result: Result, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["compare", str(result.path), "--baseline", "maple-naive", "--format", "csv"]
        assert run_cli(command) == 0
        first = capsys.readouterr().out
        run_cli(command)
        assert capsys.readouterr().out == first == compare(result, "maple-naive").write_csv()

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            (["--baseline", "tail-free", "--delta", "0.03"], 1),  # maple-naive is worse
            (["--baseline", "maple-naive", "--delta", "0.03"], 0),  # better, or the same boots
            (["--baseline", "maple-naive", "--delta", "0.001"], 3),  # the same boots, but too few for this tolerance
        ],
    )
    def test_gate_tells_the_verdict_by_the_exit_code(self, result: Result, options: list[str], code: int) -> None:
        assert run_cli(["compare", str(result.path), *options, "--gate"]) == code
        assert run_cli(["compare", str(result.path), *options]) == 0

    def test_gate_without_a_row_is_undecided(self, result: Result) -> None:
        assert gate_code(compare(result, "maple-naive").head(0)) == 3

    def test_a_baseline_is_needed(self, result: Result, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["compare", str(result.path)]) == 2
        assert "--baseline: is missing" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["compare", "plan", "check statistics", "report"])
    def test_help_fits_a_terminal_and_shows_examples(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli([*command.split(), "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 100
        assert any(line.strip().startswith(f"mcsim {command}") for line in lines)


class TestCounts:
    def table(self, folder: Path, *rows: str) -> str:
        path = folder / "counts.csv"
        path.write_text("\n".join(["env,variant,ram_mb,jitter,boots,failures,use", *rows]) + "\n")
        return str(path)

    def test_are_compared_with_the_simulated_cell_of_the_same_kernel(
        self, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = ["C,M0,32,0,20,20,check", "C,tail-free,32,0,30,4,check", "C,M0,32,2,9,9,check", "C,M0,40,0,9,9,check"]
        options = ["compare", str(result.path), "--counts", self.table(tmp_path, *rows)]
        assert run_cli([*options, "--format", "csv"]) == 0
        frame = pl.read_csv(capsys.readouterr().out.encode())
        assert tuple(frame.columns) == COUNTS_COLUMNS
        assert frame.select("variant", "baseline", "baseline_boots").rows() == [
            ("M0", "maple-naive", 200),
            ("tail-free", "tail-free", 260),
        ]
        simulated = int(result.outcomes("maple-naive", "32M")["failed"].sum())
        assert frame["p_value"][0] == pytest.approx(independent.p_value(20, 20, simulated, 200))
        assert run_cli(options) == 0
        page = capsys.readouterr().out
        assert "M0 against simulated maple-naive" in page
        assert max(map(len, page.splitlines())) <= 72

    def test_or_with_that_of_the_baseline(
        self, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        counts = self.table(tmp_path, "C,M0,32,0,20,20,check", "C,M3,32,0,20,1,check")
        run_cli(["compare", str(result.path), "--counts", counts, "--baseline", "tail-free", "--format", "csv"])
        assert pl.read_csv(capsys.readouterr().out.encode())["baseline"].to_list() == ["tail-free"] * 2

    def test_nothing_in_common_is_said(
        self, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_cli(["compare", str(result.path), "--counts", self.table(tmp_path, "C,M0,40,0,9,9,check")]) == 0
        assert "No counted kernel" in capsys.readouterr().out

    def test_bad_files_are_refused_with_line_and_column(
        self, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        counts = self.table(tmp_path, "C,M9,32,0,20,20,check")
        assert run_cli(["compare", str(result.path), "--counts", counts]) == 2
        assert "counts.csv:2: variant: 'M9' is not a recorded kernel" in capsys.readouterr().err


def test_cells_that_a_sweep_leaves_out_are_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)
    text = """
[experiment]
variants = ["maple-naive", "tail-free"]
ram = ["31M", "32M", "33M"]
boots = 20
[workload]
recordings = "C"
[sweep]
exclude = [{ variant = "tail-free", ram = "32M" }, { variant = "maple-naive", ram = "33M" }]
"""
    loaded = mcsim.run(experiment.parse(text, "gaps.toml"), workers=1)
    assert mcsim.compare(loaded, baseline="maple-naive")["ram"].to_list() == ["31M"]


def test_report_as_csv_is_the_whole_summary_and_writes_nothing(
    result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in result.path.iterdir()}
    assert run_cli(["report", str(result.path), "--format", "csv"]) == 0
    first = capsys.readouterr().out
    assert first == result.summary().write_csv()
    run_cli(["report", str(result.path), "--format", "csv"])
    assert capsys.readouterr().out == first
    table = pl.read_csv(first.encode())
    for name in ("exact_low", "wilson_low", "sequence_low", "contiguous", "slab", "maple_node", "other_page"):
        assert name in table.columns
    assert {path.name for path in result.path.iterdir()} == before
