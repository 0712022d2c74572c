"""Runner and store: the same outcomes whatever the way, nothing lost, nothing mixed, damage noticed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import conftest
import numpy as np
import polars as pl
import pytest
import stand_in
from conftest import HANGS, SLOW_MCSIM, THREE, small_text, wait_until

import mcsim
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.run import engine
from mcsim.run.progress import PlainLines, duration
from mcsim.simulator import simulator
from mcsim.store.result import Result
from mcsim.store.store import Store, content_hash

SMALL = small_text(THREE)

pytestmark = pytest.mark.usefixtures("stand_in_kernel")


def small(text: str = SMALL) -> experiment.Experiment:
    return conftest.small(text)


def frames(result: Result) -> dict[str, pl.DataFrame]:
    return {task.label: result.outcomes_of(task) for task in result.tasks}


def same(one: Result, other: Result) -> bool:
    left, right = frames(one), frames(other)
    return left.keys() == right.keys() and all(left[key].equals(right[key]) for key in left)


class TestSameOutcomes:
    def test_for_any_number_of_workers_backend_and_chunking(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = mcsim.run(small(), out="whole", workers=1)
        assert same(whole, mcsim.run(small(), out="two", workers=2))
        assert same(whole, mcsim.run(small(), out="processes", workers=2, backend="processes"))
        monkeypatch.setattr(engine, "MAX_CHUNK", 7)
        assert same(whole, mcsim.run(small(), out="crumbs", workers=2))

    def test_in_two_halves_or_cell_by_cell(self) -> None:
        whole = mcsim.run(small(), out="whole")
        mcsim.run(small(), out="parts", boots=37, variants=["tail-free"])
        mcsim.run(small(), out="parts", boots=60, ram=["32M"])
        assert same(whole, mcsim.run(small(), out="parts"))

    def test_boot_k_alone_is_boot_k_of_the_batch(self) -> None:
        result = mcsim.run(small(), out="whole")
        task = result.tasks[0]
        alone = stand_in.simulate(task, "C", 17, 1)
        assert result.outcomes_of(task).row(17) == tuple(alone[0].item())

    def test_variants_that_differ_in_name_only_are_simulated_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = SMALL.replace('"mail-both"', '"again"') + '[variants.again]\nbased_on = "tail-free"\n'
        simulated: list[int] = []

        def count(task: Any, source: str, first: int, boots: int) -> Any:
            simulated.append(boots)
            return stand_in.simulate(task, source, first, boots)

        monkeypatch.setattr(simulator, "simulate", count)
        result = mcsim.run(small(text), workers=1)
        assert sum(simulated) == 2 * 2 * 100
        assert result.outcomes("again", "32M").equals(result.outcomes("tail-free", "32M"))


class TestResume:
    def test_only_missing_boots_are_simulated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = mcsim.run(small(), workers=1)
        before = {path: path.stat().st_mtime_ns for path in result.path.rglob("*.parquet")}
        lost = sorted(before)[1]
        lost.unlink()
        again = mcsim.run(small(), workers=1)
        assert same(result, again)
        after = {path: path.stat().st_mtime_ns for path in again.path.rglob("*.parquet")}
        assert {path: time for path, time in after.items() if before.get(path) == time}.keys() == before.keys() - {lost}

    def test_a_finished_run_does_nothing_and_needs_no_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mcsim.run(small())

        def never(*_: object) -> None:
            raise AssertionError

        monkeypatch.setattr(simulator, "simulate", never)
        assert mcsim.run(small()).summary()["boots"].to_list() == [100] * 6

    def test_more_boots_extend_fewer_leave_alone(self) -> None:
        mcsim.run(small(), boots=50)
        assert set(mcsim.run(small(), boots=130).summary()["boots"]) == {130}
        assert set(mcsim.run(small(), boots=20).summary()["boots"]) == {130}

    def test_an_interrupt_keeps_finished_chunks_and_the_next_run_completes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = mcsim.run(small(), out="whole")
        calls: list[int] = []

        def interrupted(task: Any, source: str, first: int, boots: int) -> Any:
            calls.append(1)
            if len(calls) == 12:
                raise KeyboardInterrupt
            return stand_in.simulate(task, source, first, boots)

        monkeypatch.setattr(simulator, "simulate", interrupted)
        monkeypatch.setattr(engine, "MAX_CHUNK", 8)
        with pytest.raises(KeyboardInterrupt):
            mcsim.run(small(), out="cut", workers=1)
        cut = mcsim.load("cut")
        assert 0 < sum(frame.height for frame in frames(cut).values()) < 600
        assert cut.manifest["runs"][-1]["complete"] is False
        monkeypatch.setattr(simulator, "simulate", stand_in.simulate)
        assert same(whole, mcsim.run(small(), out="cut"))

    @pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
    @pytest.mark.parametrize("backend", ["threads", "processes"])
    def test_ctrl_c_ends_with_130_and_says_how_to_continue(self, backend: str, tmp_path: Path) -> None:
        (tmp_path / "small.toml").write_text(SMALL.replace("boots = 100", "boots = 100000"))
        command = [*SLOW_MCSIM, "run", "small.toml", "--workers", "2", "--backend", backend]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            wait_until(lambda: len(list(tmp_path.rglob("*.parquet"))) >= 8, process)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=HANGS)
        assert process.returncode == 130, errors
        assert "the same command continues" in errors
        assert "Traceback" not in errors
        assert 0 < sum(frame.height for frame in frames(mcsim.load("results/small")).values()) < 600000


class TestRefusal:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("seed = 3", "seed = 4", r"experiment.seed: 3 there, 4 here"),
            ('"31M", ', "", r"experiment.ram: 31M 32M there, 32M here"),
            ('"tail-free", ', "", r"experiment.variants.tail-free"),
            (
                "[workload]",
                "[timing]\ngap_sigma = 0.2\n[workload]",
                r"experiment.timing.gap_sigma: 0.11 there, 0.2 here",
            ),
        ],
    )
    def test_another_experiment_may_not_add_to_a_folder(self, old: str, new: str, words: str) -> None:
        mcsim.run(small(), out="here")
        with pytest.raises(UserError, match=words) as caught:
            mcsim.run(small(SMALL.replace(old, new)), out="here")
        assert "--out" in str(caught.value)

    def test_other_kernels_may_not_add_to_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mcsim.run(small(), out="here")
        monkeypatch.setattr(simulator, "kernel_hash", lambda: "f" * 64)
        with pytest.raises(UserError, match="of other kernels"):
            mcsim.run(small(), out="here", boots=200)

    def test_titles_comments_and_boots_may_change(self) -> None:
        mcsim.run(small(), out="here")
        edited = SMALL.replace("boots = 100", 'boots = 110  # more\ntitle = "new"')
        assert set(mcsim.run(small(edited), out="here").summary()["boots"]) == {110}

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("x")
        with pytest.raises(UserError, match="exists and is not a result folder"):
            mcsim.run(small(), out="mine")
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match="exists and is not a result folder"):
            mcsim.run(small(), out="file")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"boots": 0}, "--boots"),
            ({"workers": 0}, "--workers"),
            ({"backend": "gpu"}, "--backend"),
            ({"seed": -1}, "--seed"),
            ({"ram": ["29M"]}, "--ram"),
            ({"variants": ["x"]}, "--variant"),
        ],
    )
    def test_impossible_options_are_refused_before_anything_is_written(
        self, options: dict[str, Any], words: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=words):
            mcsim.run(small(), **options)
        assert not list(tmp_path.iterdir())

    def test_a_folder_without_manifest_is_not_a_result(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is not a result folder"):
            mcsim.load(tmp_path)
        with pytest.raises(UserError, match="is not a result folder"):
            mcsim.load("nowhere")


class TestDamage:
    def chunk(self) -> tuple[Result, Path]:
        result = mcsim.run(small(), workers=1)
        return mcsim.load(result.path), result.store.chunks(result.tasks[0])[0][2]

    def test_a_changed_value_is_noticed(self) -> None:
        result, path = self.chunk()
        metadata = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path).with_columns(failed=1 - pl.col("failed"))
        frame.write_parquet(path, metadata={name: metadata[name] for name in ("task", "sha256")})
        with pytest.raises(UserError, match="its checksum is wrong"):
            result.outcomes_of(result.tasks[0])

    def test_a_cut_or_empty_file_is_noticed(self) -> None:
        result, path = self.chunk()
        for content in (path.read_bytes()[:200], b""):
            path.write_bytes(content)
            with pytest.raises(UserError, match=r"is damaged[\s\S]*delete this file and run the same command again"):
                result.outcomes_of(result.tasks[0])

    def test_a_chunk_of_another_task_is_noticed(self) -> None:
        result, path = self.chunk()
        shutil.copy(result.store.chunks(result.tasks[1])[0][2], path)
        with pytest.raises(UserError, match="belongs to another task"):
            result.outcomes_of(result.tasks[0])

    def test_a_half_written_file_is_no_chunk(self) -> None:
        result, path = self.chunk()
        path.rename(path.with_name(f".{path.name}.1.2.tmp"))
        assert result.store.missing(result.tasks[0], 100)[0][0] == 0

    @pytest.mark.parametrize("name", ["manifest.json", "experiment.json"])
    def test_damaged_documents_are_one_message(self, name: str) -> None:
        result, _ = self.chunk()
        (result.path / name).write_text("{")
        with pytest.raises(UserError, match=rf"{name}: cannot be read"):
            mcsim.load(result.path)


class TestStore:
    def test_missing_boots_are_the_gaps_between_chunks(self, tmp_path: Path) -> None:
        store, task = Store(tmp_path), small().tasks("d")[0]
        assert store.missing(task, 10) == [(0, 9)]
        for first, count in (
            (2, 3),
            (4, 2),
            (9, 5),
        ):  # the second overlaps the first: two runs at the same time
            store.write(task, stand_in.simulate(task, "C", first, count))
        assert store.missing(task, 20) == [(0, 1), (6, 8), (14, 19)]
        assert store.missing(task, 8) == [(0, 1), (6, 7)]
        assert store.missing(task, 2) == [(0, 1)]
        assert store.read(task)["boot"].to_list() == [2, 3, 4, 5, 9, 10, 11, 12, 13]

    def test_chunks_are_plain_parquet_with_the_columns_of_the_outcome(self, tmp_path: Path) -> None:
        store, task = Store(tmp_path), small().tasks("d")[0]
        outcomes = stand_in.simulate(task, "C", 0, 50)
        frame = pl.read_parquet(store.write(task, outcomes))
        assert tuple(frame.columns) == outcomes.dtype.names
        for name in frame.columns:
            assert np.array_equal(frame[name].to_numpy(), outcomes[name])
            assert frame[name].to_numpy().dtype == outcomes[name].dtype

    def test_the_hash_is_of_the_values_and_the_task(self) -> None:
        frame = pl.DataFrame({"boot": [0, 1], "failed": [0, 1]})
        assert content_hash(frame, "t") == content_hash(frame.clone(), "t")
        assert content_hash(frame, "t") != content_hash(frame, "u")
        assert content_hash(frame, "t") != content_hash(frame.reverse(), "t")

    def test_the_manifest_says_what_made_it(self) -> None:
        manifest = mcsim.run(small(), workers=2).manifest
        (run,) = manifest["runs"]
        assert {"python", "mcsim", "numba", "numpy", "cpu", "rng"} <= run["versions"].keys()
        assert (run["boots"], run["boots_done"], run["workers"], run["complete"]) == (100, 600, 2, True)
        assert manifest["experiment"]["seed"] == 3
        assert len(manifest["kernels"]) == 64


class TestFactors:
    def test_have_median_1_and_the_sigma_asked_for(self) -> None:
        factors = simulator.lognormal_factors(0.3) / 2.0**20
        assert np.median(factors) == pytest.approx(1.0, abs=1e-4)
        assert np.std(np.log(factors)) == pytest.approx(0.3, rel=2e-3)
        assert np.all(np.diff(factors) > 0)

    def test_without_noise_are_all_1_and_at_most_noise_still_fit(self) -> None:
        assert set(simulator.lognormal_factors(0.0)) == {1 << 20}
        assert simulator.lognormal_factors(experiment.MAX_SIGMA).max() < 2**31 - 1
        assert simulator.lognormal_factors(experiment.MAX_SIGMA).min() > 0


class TestChunkSize:
    def test_tends_to_a_second_of_work(self) -> None:
        size = engine.ChunkSize()
        for _ in range(20):
            size.learn(size.boots, size.boots / 1000)
        assert size.boots == 512

    def test_stays_within_bounds(self) -> None:
        slow, quick = engine.ChunkSize(), engine.ChunkSize()
        for _ in range(20):
            slow.learn(slow.boots, 60.0 * slow.boots)
            quick.learn(quick.boots, 0.0)
        assert (slow.boots, quick.boots) == (1, engine.MAX_CHUNK)


class TestProgress:
    def test_plain_lines_are_throttled_and_end_with_a_sum(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = PlainLines(sys.stderr, seconds=1000)
        with lines:
            lines.start(30)
            for _ in range(3):
                lines.advance(10, "x at 32M")
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert errors.startswith("30 of 30 boots in 0:00")

    def test_plain_lines_tell_rate_and_time_left(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = PlainLines(sys.stderr, seconds=0)
        with lines:
            lines.start(30)
            lines.advance(10, "x at 32M")
        line = capsys.readouterr().err.splitlines()[0]
        assert line.startswith("10 of 30 boots, ")
        assert " a second, " in line
        assert line.endswith(" left, at x at 32M")

    def test_durations(self) -> None:
        assert [duration(each) for each in (0, 61, 3723.4)] == ["0:00", "1:01", "1:02:03"]
