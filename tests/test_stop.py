"""Stop rules: the same boots on any number of workers; the first rule that fires ends a cell, and is kept."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stand_in
from conftest import THREE, small_text

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.run import engine
from mcsim.run.watch import looks
from mcsim.simulator import simulator
from mcsim.store.result import Result

SMALL = small_text(THREE, "31M 32M 33M", boots=3000)

pytestmark = pytest.mark.usefixtures("stand_in_kernel")


def small(rules: str, text: str = SMALL) -> experiment.Experiment:
    return experiment.parse(f"{text}[stop]\n{rules}\n", "small.toml")


def boots(result: Result) -> dict[str, int]:
    return {task.label: result.outcomes_of(task).height for task in result.tasks}


class TestLooks:
    def test_are_a_fixed_grid_that_ends_at_the_boots_asked_for(self) -> None:
        grid = list(looks(20000))
        assert grid[:11] == [100, 200, 300, 400, 500, 600, 700, 800, 1000, 1200, 1500]
        assert grid[-1] == 20000
        assert len(grid) < 30
        assert list(looks(1300)) == [*grid[:10], 1300]
        assert list(looks(40)) == [40]


class TestRules:
    def test_the_same_boots_on_any_number_of_workers_and_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rules = "half_width = 0.04\nmax_failures = 700"
        one = mcsim.run(small(rules), out="one", workers=1)
        two = mcsim.run(small(rules), out="two", workers=2)
        monkeypatch.setattr(engine, "MAX_CHUNK", 7)
        crumbs = mcsim.run(small(rules), out="crumbs", workers=2)
        assert one.store.content_hash() == two.store.content_hash() == crumbs.store.content_hash()
        assert one.manifest["ended"] == two.manifest["ended"] == crumbs.manifest["ended"]
        assert len(set(boots(one).values())) > 1
        assert max(boots(one).values()) < 3000

    def test_max_failures_ends_at_the_first_look_that_sees_so_many(self) -> None:
        result = mcsim.run(small("max_failures = 50"))
        for task in result.tasks:
            failed = result.outcomes_of(task)["failed"].to_numpy().cumsum()
            number = len(failed)
            if number < 3000:
                before = [look for look in looks(3000) if look < number]
                assert failed[-1] >= 50
                assert not before or failed[before[-1] - 1] < 50
                assert (result.rule(task) or "").startswith("max_failures: ")
            else:
                assert failed[-1] < 50 or failed[2500 - 1] < 50

    def test_decided_goes_on_until_the_difference_is_clear(self) -> None:
        result = mcsim.run(small('decided = "maple-naive"'))
        counts = boots(result)
        for size in ("31M", "32M", "33M"):
            # The baseline has as many boots as the longest comparison with it; tail-free and mail-both are one here.
            assert counts[f"maple-naive at {size}"] == counts[f"tail-free at {size}"] == counts[f"mail-both at {size}"]
        assert min(counts.values()) < 3000
        rules = {result.rule(task) for task in result.tasks}
        assert any(rule and rule.startswith("decided: differs") for rule in rules)

    def test_wall_time_ends_the_run_and_the_same_command_continues(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = mcsim.run(small("max_failures = 100000"), out="whole")
        seconds = itertools.count(0, 7)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
            cut = mcsim.run(small('wall_time = "1m"'), out="cut", workers=1)
        assert 0 < sum(boots(cut).values()) < 27000
        assert cut.manifest["runs"][-1]["complete"] is False
        assert {(cut.rule(task) or "").partition(":")[0] for task in cut.tasks} == {"wall_seconds"}
        again = mcsim.run(experiment.parse(SMALL, "small.toml"), out=cut.path)
        assert again.store.content_hash() == whole.store.content_hash()
        assert again.ended() == []

    def test_verdicts_after_a_rule_that_looked_are_those_of_who_looks(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = mcsim.run(small("max_failures = 50"))
        assert result.ended()
        told, careful = (mcsim.compare(result, baseline="maple-naive", peeking=each) for each in (False, True))
        assert told.equals(careful)
        assert run_cli(["compare", str(result.path), "--baseline", "maple-naive"]) == 0
        printed = capsys.readouterr()
        assert "confidence sequence" in printed.out
        assert "A rule that looked at the boots ended cells of this result" in printed.err

    def test_the_rule_that_fired_is_kept_and_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("small.toml").write_text(SMALL)
        assert run_cli(["run", "small.toml", "--max-failures", "50"]) == 0
        assert "Which rule ended how many cells: max_" in " ".join(capsys.readouterr().out.split())
        result = mcsim.load("results/small")
        assert result.manifest["runs"][0]["stop"] == {"level": 0.95, "max_failures": 50}
        assert result.manifest["runs"][0]["complete"] is True

    def test_a_run_whose_cells_have_all_ended_starts_no_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = mcsim.run(small("max_failures = 20"), boots=1000)

        def never(*_: object) -> None:
            raise AssertionError

        monkeypatch.setattr(simulator, "simulate", never)
        monkeypatch.setattr(engine.Crew, "_start", never)
        again = mcsim.run(small("max_failures = 20"), boots=1000)
        assert again.manifest["ended"] == before.manifest["ended"]
        assert again.manifest["runs"][-1]["boots_done"] == 0

    def test_without_rules_a_cell_gets_all_its_boots_and_a_rule_that_looked_is_not_forgotten(self) -> None:
        mcsim.run(small("max_failures = 50"), out="here")
        result = mcsim.run(experiment.parse(SMALL, "small.toml"), out="here")
        assert set(boots(result).values()) == {3000}
        assert {(result.rule(task) or "").partition(":")[0] for task in result.tasks} == {"max_failures"}
        assert "max_failures 9" in result.ended()[0]

    def test_shards_end_the_same_cells_at_the_same_boots(self) -> None:
        rules = 'half_width = 0.04\ndecided = "maple-naive"'
        whole = mcsim.run(small(rules), out="whole")
        parts = [mcsim.run(small(rules), shard=f"{number}/2").path for number in (1, 2)]
        union = mcsim.merge(parts, "union")
        assert union.store.content_hash() == whole.store.content_hash()
        assert union.manifest["ended"] == whole.manifest["ended"]

    def test_a_killed_run_goes_on_to_the_same_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rules = small("half_width = 0.04")
        whole = mcsim.run(rules, out="whole")
        calls: list[int] = []

        def interrupted(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 30:
                raise KeyboardInterrupt
            return stand_in.simulate(*arguments)

        monkeypatch.setattr(simulator, "simulate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mcsim.run(rules, out="cut", workers=1)
        assert mcsim.load("cut").manifest["runs"][-1]["complete"] is False
        monkeypatch.setattr(simulator, "simulate", stand_in.simulate)
        again = mcsim.run(rules, out="cut")
        assert again.store.content_hash() == whole.store.content_hash()
        assert again.manifest["ended"] == whole.manifest["ended"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("rules", "words"),
        [
            ("half_width = 0.7", "stop.half_width: 0.7: .*less than 0.5"),
            ("max_failures = 0", r"stop.max_failures: 0: [\s\S]*a whole number from 1"),
            ('wall_time = "soon"', "stop.wall_time: 'soon' is not a duration"),
            ("wall_time = 90", "stop.wall_time: 90 is not a duration"),
            ('decided = "naive"', "stop.decided: 'naive' is not a variant of this experiment.*did you mean"),
            ("delta = 0.1", "stop.delta: has nothing to be compared with"),
            ("half_with = 0.1", "stop.half_with: .*did you mean 'half_width'"),
        ],
    )
    def test_is_one_message(self, rules: str, words: str) -> None:
        with pytest.raises(UserError, match=words):
            small(rules)

    def test_a_baseline_that_is_not_run_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"stop.decided: 'maple-naive' is not among the cells of this run"):
            mcsim.run(small('decided = "maple-naive"'), variants=["tail-free"])

    def test_an_option_is_named_as_it_was_written(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("small.toml").write_text(SMALL)
        assert run_cli(["run", "small.toml", "--half-width", "2"]) == 2
        assert "--half-width 2: stop.half_width: " in capsys.readouterr().err
        assert run_cli(["run", "small.toml", "--decided", "nobody"]) == 2
        assert "--decided nobody: stop.decided: " in capsys.readouterr().err


def test_failing_boots_are_read_back_from_the_store() -> None:
    result = mcsim.run(experiment.parse(SMALL, "small.toml"), boots=200)
    for task in result.tasks:
        frame = result.outcomes_of(task)
        assert np.array_equal(result.store.failing(task), frame["boot"].to_numpy()[frame["failed"].to_numpy() == 1])
