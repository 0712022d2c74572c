"""The union of results: any order, any number of times, the same bytes; nothing foreign gets in."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from conftest import SMALL, small

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.simulator import simulator
from mcsim.store import merge
from mcsim.store.result import Result

pytestmark = pytest.mark.usefixtures("stand_in_kernel")


def content(result: Result) -> dict[str, bytes]:
    return {str(path.relative_to(result.path)): path.read_bytes() for path in result.path.rglob("*") if path.is_file()}


def a_and_b() -> tuple[Path, Path]:
    """Two results that overlap: boots 0 to 59 of all cells; boots 0 to 99 of one variant."""
    a = mcsim.run(small(), out="a", boots=60)
    b = mcsim.run(small(SMALL.replace("boots = 100", "boots = 100  # the same")), out="b", variants=["tail-free"])
    return a.path, b.path


class TestUnion:
    def test_is_commutative_and_idempotent_byte_for_byte(self) -> None:
        a, b = a_and_b()
        union = mcsim.merge([a, b], "ab")
        assert content(union) == content(mcsim.merge([b, a], "ba"))
        assert content(union) == content(mcsim.merge([a, b, a, union.path], "aba"))
        assert content(union) == content(mcsim.merge([union.path], "again"))

    def test_holds_the_boots_of_all(self) -> None:
        union = mcsim.merge(a_and_b(), "ab")
        assert union.summary()["boots"].to_list() == [60, 100, 60, 100]
        assert len(union.manifest["runs"]) == 2
        assert [union.rule(task) for task in union.tasks[:2]] == ["max_boots: 60 boots", "max_boots: 100 boots"]

    def test_is_a_result_that_a_run_continues(self) -> None:
        union = mcsim.merge(a_and_b(), "ab")
        whole = mcsim.run(small(), out="whole")
        assert mcsim.run(small(), out=union.path).store.content_hash() == whole.store.content_hash()

    def test_leaves_gaps_open_and_cuts_at_fixed_boots(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(merge, "CHUNK", 32)
        a = mcsim.run(small(), out="a")
        task = a.tasks[0]
        for _, _, path in a.store.chunks(task)[1:2]:
            path.unlink()
        lost = a.store.missing(task, 100)
        union = mcsim.merge(["a"], "u")
        assert union.store.missing(task, 100) == lost
        assert all(first // 32 == last // 32 for first, last, _ in union.store.chunks(task))

    def test_of_a_result_made_twice_is_that_result(self) -> None:
        mcsim.run(small(), out="a", workers=1)
        mcsim.run(small(), out="b", workers=2)
        assert mcsim.merge(["a", "b"], "u").store.content_hash() == mcsim.load("a").store.content_hash()


class TestRefusal:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("seed = 3", "seed = 4", "experiment.seed: 3 in a, 4 in b"),
            ('"31M", ', "", "experiment.ram: 31M 32M in a, 32M in b"),
            ('name = "small"', 'name = "large"', "experiment.name: small in a, large in b"),
            (
                "[workload]",
                "[timing]\ngap_sigma = 0.2\n[workload]",
                r"experiment.timing.gap_sigma: 0.\d+ in a, 0.2 in b",
            ),
        ],
    )
    def test_another_experiment_with_both_sides(self, old: str, new: str, words: str) -> None:
        mcsim.run(small(), out="a")
        mcsim.run(small(SMALL.replace(old, new)), out="b")
        with pytest.raises(UserError, match=words):
            mcsim.merge(["a", "b"], "c")
        assert not Path("c").exists()

    def test_other_kernels_with_both_sides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mcsim.run(small(), out="a")
        monkeypatch.setattr(simulator, "kernel_hash", lambda: "f" * 64)
        mcsim.run(small(), out="b")
        with pytest.raises(UserError, match=r"kernels: .* in a, f+.* in b"):
            mcsim.merge(["a", "b"], "c")

    def test_two_outcomes_of_one_boot_with_both_sides(self) -> None:
        a = mcsim.run(small(), out="a")
        shutil.copytree("a", "b")
        task = a.tasks[0]
        for _, _, path in a.store.chunks(task):
            frame = pl.read_parquet(path).with_columns(free_pages=pl.col("free_pages") + 1)
            mcsim.load("b").store.write_frame(task, frame)
        with pytest.raises(UserError, match=r"boot 0 of maple-naive at 31M has two outcomes[\s\S]*600[\s\S]*601"):
            mcsim.merge(["a", "b"], "c")
        assert not list(Path().glob(".c*"))

    def test_a_chunk_of_a_foreign_task(self) -> None:
        a = mcsim.run(small(), out="a")
        mcsim.run(small(), out="b")
        one, other = (a.store.chunks(task)[0][2] for task in a.tasks[:2])
        shutil.copy(one, other)
        with pytest.raises(UserError, match="belongs to another task"):
            mcsim.merge(["b", "a"], "c")

    def test_a_folder_that_is_there_or_none_at_all(self) -> None:
        mcsim.run(small(), out="a")
        with pytest.raises(UserError, match="a: --out: exists"):
            mcsim.merge(["a"], "a")
        with pytest.raises(UserError, match="nothing to merge"):
            mcsim.merge([], "c")
        with pytest.raises(UserError, match="is not a result folder"):
            mcsim.merge(["a", "nowhere"], "c")


def test_the_command_prints_what_there_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    a_and_b()
    assert run_cli(["merge", "a", "b", "-o", "c"]) == 0
    assert capsys.readouterr().out == f"c: 320 boots of 2 results, SHA-256 {mcsim.load('c').store.content_hash()}\n"
    assert run_cli(["merge", "a", "b", "-o", "c"]) == 2
    assert "c: --out: exists" in capsys.readouterr().err
