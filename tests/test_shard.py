"""The same bits: workers, backends, shards merged in any order, and runs that are killed again and again."""

import itertools
import os
import signal
import subprocess
from pathlib import Path

import conftest
import pytest
from conftest import HANGS, SLOW_MCSIM, THREE, small_text

import mcsim
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.store.shard import BLOCK, Shard

SMALL = small_text(THREE, "31M 32M 33M", boots=2500)

pytestmark = pytest.mark.usefixtures("stand_in_kernel")


def small(text: str = SMALL) -> experiment.Experiment:
    return conftest.small(text)


def test_any_way_to_run_gives_the_same_content() -> None:
    ways = [
        mcsim.run(small(), out="one", workers=1),
        mcsim.run(small(), out="two", workers=2),
        mcsim.run(small(), out="processes", workers=2, backend="processes"),
    ]
    parts = [mcsim.run(small(), workers=2, shard=f"{number}/3").path for number in (1, 2, 3)]
    assert [path.name for path in parts] == ["small-1of3", "small-2of3", "small-3of3"]
    ways += [mcsim.merge(order, f"{number}") for number, order in enumerate(itertools.permutations(parts))]
    assert len({way.store.content_hash() for way in ways}) == 1
    assert {each for way in ways for each in way.summary()["boots"]} == {2500}


class TestShard:
    @pytest.mark.parametrize("of", [1, 2, 3, 7])
    def test_blocks_are_disjoint_and_together_all(self, of: int) -> None:
        for place in range(4):
            parts = [list(Shard(number, of).blocks(place, 130, 7777)) for number in range(1, of + 1)]
            boots = [boot for part in parts for first, last in part for boot in range(first, last + 1)]
            assert sorted(boots) == list(range(130, 7778))

    def test_parts_are_about_equal_however_few_blocks_a_task_has(self) -> None:
        work = [
            sum(last - first + 1 for place in range(12) for first, last in Shard(n, 4).blocks(place, 0, BLOCK - 1))
            for n in (1, 2, 3, 4)
        ]
        assert set(work) == {3 * BLOCK}

    def test_more_boots_later_leave_earlier_ones_where_they_are(self) -> None:
        before = [list(Shard(2, 3).blocks(5, 0, 1999)), list(Shard(2, 3).blocks(5, 0, 9999))]
        assert before[0] == [block for block in before[1] if block[0] < 2000]

    def test_rules_keep_the_cells_of_a_size_together(self) -> None:
        tasks = small().tasks("d")
        parts = [Shard(number, 2).whole_sizes(tasks) for number in (1, 2)]
        assert sorted(task.id for part in parts for task in part) == sorted(task.id for task in tasks)
        assert not {task.ram for task in parts[0]} & {task.ram for task in parts[1]}

    @pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UserError, match=r"--shard: .*\s+valid: I/N"):
            mcsim.run(small(), shard=text)

    def test_a_part_with_nothing_to_do_is_no_error(self) -> None:
        assert mcsim.run(small(), boots=10, ram=["31M"], variants=["tail-free"], shard="3/3").summary().height == 0


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_run_killed_at_any_moment_loses_nothing_but_time(backend: str, tmp_path: Path) -> None:
    text = SMALL.replace("boots = 2500", "boots = 300")
    (tmp_path / "small.toml").write_text(text)
    whole = mcsim.run(small(text), out="whole")
    command = [*SLOW_MCSIM, "run", "small.toml", "--out", "cut", "--workers", "2", "--backend", backend]

    def run(**variables: str) -> int:
        """Its exit code."""
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, start_new_session=True, timeout=HANGS
        )
        return done.returncode

    stored = 0
    for moment in (9, 5, 13):  # chunks that one worker has begun
        assert run(KILLED_AT_CHUNK=str(moment)) == -signal.SIGKILL
        before, stored = stored, mcsim.load("cut").summary()["boots"].sum()
        assert before < stored < 9 * 300
    assert run() == 0
    again = mcsim.load("cut")
    assert again.store.content_hash() == whole.store.content_hash()
    assert again.summary().write_csv() == whole.summary().write_csv()
