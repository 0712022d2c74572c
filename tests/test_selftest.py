"""The self-test: it passes on the statistics as they are, and notices those that are wrong."""

from pathlib import Path

import numpy as np
import pytest
import stand_in

from mcsim.cli import run_cli
from mcsim.fidelity import statistics as selftest
from mcsim.stats import paired
from mcsim.stats.sequences import sequence

QUICK = ["check", "statistics", "--tables", "60", "--boots", "50", "--trials", "60"]


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)
    monkeypatch.setattr(stand_in, "chance", lambda text: 0.6 if text[0] == "3" and "t" in text else draw(text))


def draw(text: str) -> float:
    return float(np.random.default_rng(list(text.encode())).random())


def test_passes_and_fits_a_mail(small_world: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_cli(QUICK) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 72
    assert printed.count(" ok\n") == 8
    assert "WRONG" not in printed
    assert not list(tmp_path.iterdir())


def test_notices_a_test_that_finds_too_much(
    small_world: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = paired.p_value
    monkeypatch.setattr(paired, "p_value", lambda net: exact(net) / 10)
    assert run_cli(QUICK) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--tables", "--boots", "--trials"])
def test_no_trials_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["check", "statistics", option, "0"]) == 2
    assert f"{option}: 0 is out of range" in capsys.readouterr().err


def test_equal_variants_share_boots_and_fail_equally_often() -> None:
    variant, baseline = selftest.synthetic_pairs(np.random.default_rng(1), (0.5, 0.2), 0.05, 40_000)
    assert variant.mean(axis=1) == pytest.approx((0.55, 0.25), abs=0.01)
    assert baseline.mean(axis=1) == pytest.approx((0.5, 0.2), abs=0.01)
    assert np.corrcoef(variant[0], baseline[0])[0, 1] > 0.2


def test_the_quick_check_of_sequences_is_that_of_the_sequences() -> None:
    rng = np.random.default_rng(2)
    boots = rng.integers(1, 3000, size=200)
    failures = rng.binomial(boots, 0.3)
    missed = selftest._missed(failures, boots, 0.25, 0.95)
    intervals = [sequence(int(k), int(n)) for k, n in zip(failures, boots, strict=True)]
    assert missed.tolist() == [not low <= 0.25 <= high for low, high in intervals]
    assert missed.any()


def test_a_rate_that_is_too_high_does_not_pass() -> None:
    assert selftest.Check("x", 1000, 60).passed
    assert not selftest.Check("x", 1000, 80).passed
    assert selftest.Check("x", 1000, 0).passed


def test_plain_intervals_miss_far_more_often_when_looked_at_all_the_time() -> None:
    rng = np.random.default_rng(3)
    plain, careful = selftest.plain_misses(rng, 0.5, 200), selftest.sequence_misses(rng, 0.5, 200)
    assert plain.errors > 60
    assert careful.errors <= 17  # of 200; probability 0.99 at 5 %, and the guarantee is an upper bound
