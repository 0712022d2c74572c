"""Sensitivity: the design, effects recovered and error rates on made-up failures, shares of the workload, command."""

import itertools
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import stand_in
from scipy.stats import norm

import mcsim
from mcsim.cli import run_cli
from mcsim.model.experiment import Timing, load
from mcsim.run import compiling
from mcsim.simulator import simulator
from mcsim.stats.factorial import between, design, effects
from mcsim.studies.sensitivity import MOST_FACTORS, Factor, cell, default_factors, parse_factor

COMMAND = ["sensitivity", "mail-2022", "--variant", "maple-naive", "--ram", "32M", "--workers", "1"]


class TestDesign:
    @pytest.mark.parametrize("factors", range(1, MOST_FACTORS + 1))
    def test_no_effect_is_mixed_with_another(self, factors: int) -> None:
        signs = design(factors)
        assert len(signs) == 2 ** (factors if factors <= 4 else factors - 1)
        contrasts = [*signs.T, *(signs[:, a] * signs[:, b] for a, b in itertools.combinations(range(factors), 2))]
        products = np.array(contrasts, int) @ np.array(contrasts, int).T
        assert (products == len(signs) * np.eye(len(contrasts))).all()
        assert not np.array(contrasts).sum(axis=1).any()


def made_up(rng: np.random.Generator, signs: np.ndarray, p: np.ndarray, boots: int, noise: float = 0.7) -> np.ndarray:
    """Failures bool[cells, boots] at rates `p` of each cell, correlated over cells by a severity of the boot."""
    latent = rng.standard_normal(boots) + noise * rng.standard_normal((len(signs), boots))
    return latent < norm.ppf(p)[:, None] * np.sqrt(1 + noise**2)


class TestEffects:
    def test_are_recovered_as_defined(self) -> None:
        signs = design(3)
        p = 0.4 + signs @ np.array([0.1, -0.02, 0.0]) + 0.03 * signs[:, 0] * signs[:, 1]
        rows = effects(made_up(np.random.default_rng(1), signs, p, 40_000), signs, 0.95)
        assert [row["places"] for row in rows] == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
        assert [row["difference"] for row in rows] == pytest.approx([0.2, -0.04, 0.0, 0.06, 0.0, 0.0], abs=0.006)

    def test_intervals_cover_and_false_alarms_are_rare(self) -> None:
        """300 designs. Covering 95 %: fewer than 91 % has a chance of 0.2 % for each; false alarms: above 24, 1 %."""
        rng, signs = np.random.default_rng(2), design(3)
        p = 0.3 + signs @ np.array([0.08, 0.0, 0.0])
        covered, alarms = np.zeros(6), 0
        for _ in range(300):
            rows = effects(made_up(rng, signs, p, 200), signs, 0.95)
            truth = [0.16, 0, 0, 0, 0, 0]
            covered += [row["low"] <= true <= row["high"] for row, true in zip(rows, truth, strict=True)]
            alarms += any(row["adjusted"] <= 0.05 for row in rows[1:])
        assert covered.min() >= 273
        assert alarms <= 24

    def test_pairing_makes_intervals_narrower(self) -> None:
        signs = design(2)
        p = 0.4 + 0.02 * signs[:, 0]
        alike, apart = (
            effects(made_up(np.random.default_rng(3), signs, p, 500, noise), signs, 0.95)[0] for noise in (0.2, 20.0)
        )
        assert alike["high"] - alike["low"] < 0.5 * (apart["high"] - apart["low"])

    def test_cells_that_fail_alike_have_no_effect(self) -> None:
        failed = np.repeat(np.arange(50)[None, :] % 3 == 0, 4, axis=0)
        for row in effects(failed, design(2), 0.95):
            assert row["difference"] == 0.0
            assert row["adjusted"] == 1.0
            assert row["low"] < 0.0 < row["high"]


class TestBetween:
    def test_is_the_difference_of_pairs(self) -> None:
        """As defined, pair by pair."""
        rng = np.random.default_rng(4)
        failed, group, other = rng.random(60) < 0.4, rng.integers(0, 5, 60), rng.integers(0, 4, 60)
        same, neither = [], []
        for a, b in itertools.permutations(range(60), 2):
            if other[a] != other[b]:
                (same if group[a] == group[b] else neither).append(float(failed[a] and failed[b]))
        expected = np.mean(same) - np.mean(neither)
        p = failed.mean()
        variance, share, _ = between(failed[None], group, other)
        assert variance == pytest.approx(expected)
        assert share == pytest.approx(expected / (p * (1 - p)))

    @pytest.mark.parametrize(("spread", "other_spread"), [(0.15, 0.05), (0.0, 0.15)])
    def test_is_right_on_average_and_its_error_fits(self, spread: float, other_spread: float) -> None:
        """150 workloads of 20 recordings and 30 phases: the mean is right within 4 standard errors."""
        rng = np.random.default_rng(5)
        found, inside = [], 0
        for _ in range(150):
            rows, columns = rng.uniform(-1, 1, 20) * spread * 3**0.5, rng.uniform(-1, 1, 30) * other_spread * 3**0.5
            group, other = rng.integers(0, 20, 1000), rng.integers(0, 30, 1000)
            failed = rng.random(1000) < 0.5 + rows[group] + columns[other]
            variance, share, error = between(failed[None], group, other)
            found.append(variance)
            inside += abs(share - 4 * spread**2) <= 2.1 * error
        assert np.mean(found) == pytest.approx(spread**2, abs=4 * np.std(found) / 150**0.5)
        assert inside >= 0.85 * 150

    def test_one_recording_says_nothing(self) -> None:
        group, other = np.zeros(50, int), np.arange(50) % 7
        failed = np.arange(50) % 2 == 0
        assert np.isnan(between(failed[None], group, other)).all()

    def test_boots_that_all_end_alike_have_no_share(self) -> None:
        variance, share, _ = between(np.zeros((2, 60), bool), np.arange(60) % 5, np.arange(60) % 4)
        assert variance == 0.0
        assert np.isnan(share)


class TestFactors:
    def test_are_read(self) -> None:
        assert parse_factor("gap_sigma=0.05,0.22") == Factor("gap_sigma", 0.05, 0.22)
        assert parse_factor(" jitter = 0, 2") == Factor("jitter", 0, 2)
        assert parse_factor("exact_tail=head,tail") == Factor("exact_tail", "head", "tail")

    def test_defaults_stay_within_what_is_allowed(self) -> None:
        assert default_factors(Timing(gap_sigma=1.5, boot_sigma=0.0))[:2] == [
            Factor("gap_sigma", 0.75, 2.0),
            Factor("boot_median", 0.5, 2.0),
        ]

    def test_a_cell_changes_timing_and_policies_of_one_variant(self) -> None:
        factors = [Factor("gap_sigma", 0.05, 0.22), Factor("exact_tail", "head", "tail")]
        made = cell(load("mail-2022"), "maple-naive", factors, (1, 1))
        assert made.timing.gap_sigma == 0.22
        assert [each.name for each in made.variants] == ["maple-naive"]
        assert made.variants[0].policies.exact_tail == "tail"
        assert made.timing.boot_sigma == load("mail-2022").timing.boot_sigma


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """P is 0.4, less 0.2 with jitter, and a little more with a large gap_sigma; 12 recordings and 7 phases."""

    def simulate(task: simulator.Task, source: str, first: int, count: int) -> np.ndarray:
        outcomes = stand_in.simulate(task, source, first, count)
        p = 0.4 - 0.1 * task.timing.jitter + 0.1 * (task.timing.gap_sigma > 0.2)
        p -= 0.1 * (task.policies.exact_tail == "tail")
        tosses = [stand_in.chance(f"{task.seed} {first + number}") for number in range(count)]
        stand_in.fail(outcomes, np.array(tosses) < p + 0.1 * (outcomes["recording"] % 2))
        return outcomes

    monkeypatch.setattr(simulator, "simulate", simulate)
    monkeypatch.setattr(simulator, "load_workload", stand_in.load_workload)
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: None)
    monkeypatch.chdir(tmp_path)


class TestCommand:
    def test_orders_effects_and_draws_them(
        self, small_world: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert run_cli([*COMMAND, "--boots", "200"]) == 0
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        assert max(map(len, lines)) <= 72
        assert lines[3].startswith("jitter 0 -> 2 ")
        assert lines[4].startswith("gap_sigma 0.055 -> 0.22 ")
        assert "recordings                  12" in printed.out
        for needed in ("all 16 combinations of 4 factors", "200 boots in each", "10 effects (Holm)"):
            assert needed in " ".join(printed.out.split())
        folder = tmp_path / "results/mail-2022-sensitivity"
        assert (folder / "tornado-maple-naive-32M.png").stat().st_size > 10_000
        assert xml.etree.ElementTree.parse(folder / "tornado-maple-naive-32M.svg").getroot().tag.endswith("svg")
        assert len(list((folder / "maple-naive").iterdir())) == 16

    def test_continues_and_prints_the_same_bytes(
        self, small_world: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = [*COMMAND, "--factor", "jitter=0,2", "--factor", "gap_sigma=0.1,0.3", "--format", "csv"]
        run_cli([*options, "--boots", "50"])
        first = capsys.readouterr().out
        run_cli([*options, "--boots", "80"])
        monkeypatch.setattr(simulator, "simulate", None)  # nothing is left to simulate
        capsys.readouterr()
        assert run_cli([*options, "--boots", "50"]) == 0
        assert capsys.readouterr().out == first
        assert pl.read_csv(first.encode())["effect"].to_list()[0] == "jitter"

    def test_five_factors_take_half_of_the_cells(self, small_world: None, capsys: pytest.CaptureFixture[str]) -> None:
        keys = ("gap_sigma=0.05,0.3", "boot_sigma=0.1,0.2", "boot_median=1,2", "jitter=0,2", "exact_tail=head,tail")
        factors = [word for key in keys for word in ("--factor", key)]
        assert run_cli([*COMMAND, *factors, "--boots", "60"]) == 0
        printed = capsys.readouterr().out
        assert "16 of 32 combinations" in " ".join(printed.split())
        assert max(map(len, printed.splitlines())) <= 72

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--factor", "gap_sigma=0.05"], "--factor: 'gap_sigma=0.05' is not a factor"),
            (["--factor", "gapsigma=0.05,0.1"], "--factor: 'gapsigma' is not a factor (did you mean"),
            (["--factor", "tick_phase=a,b"], "--factor: 'tick_phase' is not a factor"),
            (["--factor", "jitter=2,2"], "--factor: the two levels of jitter are equal"),
            (["--factor", "jitter=0,1"], "--factor jitter: 1 is not known"),
            (["--factor", "gap_sigma=0.1,x"], "--factor gap_sigma: 'x' is not a number"),
            (["--factor", "gap_sigma=0.1,nan"], "--factor gap_sigma: nan"),
            (["--factor", "exact_tail=head,tale"], "--factor exact_tail: 'tale' is not known (did you mean 'tail'?)"),
            (["--factor", "jitter=0,2", "--factor", "jitter=2,0"], "--factor: jitter is given twice"),
            (["--ram", "32"], "--ram: '32' has no unit"),
            (["--ram", "2G"], "--ram: 2G of RAM is out of range"),
            (["--boots", "0"], "--boots: 0 is out of range"),
            (["--level", "1"], "1.0 is not a level"),
            (["--variant", "maple"], "--variant: 'maple' is not a variant of this experiment"),
        ],
    )
    def test_bad_input_is_refused_before_anything_is_made(
        self,
        small_world: None,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        message: str,
        tmp_path: Path,
    ) -> None:
        assert run_cli([*COMMAND, *options]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_policies_that_do_not_go_together_are_refused(
        self, small_world: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ["sensitivity", "mail-2022", "--variant", "linux-6.6", "--ram", "32M"]
        assert run_cli([*options, "--factor", "vma_index=rbtree,maple"]) == 2
        assert "vma_index = 'rbtree' has no tree nodes" in capsys.readouterr().err

    def test_too_many_factors_are_refused(self, small_world: None, capsys: pytest.CaptureFixture[str]) -> None:
        keys = ("gap_sigma=0,1", "boot_sigma=0,1", "boot_median=1,2", "jitter=0,2", "exact_tail=head,tail")
        keys += ("trim_pages=0,1", "split=readd,overwrite", "maple_rcu=off,on")
        assert run_cli([*COMMAND, *(word for key in keys for word in ("--factor", key))]) == 2
        assert "--factor: 8 factors are too many" in capsys.readouterr().err

    def test_help_fits_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["sensitivity", "--help"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_in_python_it_is_two_data_frames(small_world: None) -> None:
    found = mcsim.sensitivity("mail-2022", variant="maple-naive", ram="32M", factors=["jitter=0,2"], boots=100)
    assert found.effects.columns == [*("effect", "levels", "difference", "low", "high", "p_value", "adjusted", "level")]
    assert found.effects["difference"].item() == pytest.approx(-0.2, abs=0.12)
    assert found.workload["source"].to_list() == ["recordings", "pre-init phases"]
    assert found.cells == 2


def test_rules_and_sweep_of_the_experiment_end_no_cell(
    small_world: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
        [experiment]
        name = "ruled"
        variants = ["maple-naive", "tail-free"]
        ram = ["32M"]
        [workload]
        recordings = "C"
    """
    rules = "[stop]\nmax_failures = 5\n[sweep]\nexclude = [{ variant = 'maple-naive', ram = '32M' }]\n"
    (tmp_path / "plain.toml").write_text(text)
    (tmp_path / "ruled.toml").write_text(text + rules)
    printed = {}
    for name in ("plain", "ruled"):
        options = ["--variant", "maple-naive", "--ram", "32M", "--factor", "jitter=0,2", "--boots", "400"]
        assert run_cli(["sensitivity", f"{name}.toml", *options, "--out", name]) == 0
        printed[name] = " ".join(capsys.readouterr().out.split())
    note = " The experiment's [stop] and [sweep] are not used here."
    assert printed["ruled"] == printed["plain"] + note
