"""Blame summed over boots: it adds up, and is what a slow plain twin counts."""

import itertools
from collections import Counter

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.kernels.boot import page_owner
from mcsim.run import progress
from mcsim.simulator import simulator
from mcsim.simulator.values import OWNERS, owner_set
from mcsim.studies.explain import blame
from mcsim.studies.explain.blocks import blocks_of
from tests.test_explain import CELLS, SOURCE, finished, task

BOOTS = 40


@pytest.mark.parametrize(("variant", "ram"), CELLS)
def test_equals_the_slow_twin(variant: str, ram: str) -> None:
    """The twin looks at one boot after the other and counts pages of blocks with a Counter."""
    found = blame.tally(task(variant, ram), SOURCE, range(BOOTS))
    alone, shared, pages, boots_alone, sets = (Counter[object]() for _ in range(5))
    squares: Counter[object] = Counter()
    fewest = []
    for boot in range(BOOTS):
        walk = finished(variant, ram, boot)
        if not walk.failed:
            continue
        blocks = blocks_of(walk.snapshot(), walk.ending().order)
        fewest.append(min(each.missing for each in blocks))
        own: Counter[int] = Counter()
        for block in blocks:
            sets[frozenset(OWNERS[each].name for each in block.held)] += 1
            for owner, count in block.held.items():
                pages[owner] += count
                (own if len(block.held) == 1 else shared)[owner] += 1
        alone += own
        boots_alone += Counter(own.keys())
        squares += Counter({owner: count**2 for owner, count in own.items()})
    sums = found.sums.arrays.owner[7]
    for owner in range(1, page_owner.OWNERS):
        counted = (pages[owner], alone[owner], shared[owner], boots_alone[owner], squares[owner])
        columns = ("PAGES", "BLOCKS_ALONE", "BLOCKS_SHARED", "BOOTS_ALONE", "ALONE_SQUARED")
        assert tuple(sums[owner, [getattr(page_owner, each) for each in columns]]) == counted
    together = {
        frozenset(owner_set(bits)): int(found.sums.arrays.together[7, bits, 0]) for bits in range(page_owner.SETS)
    }
    assert {owners: count for owners, count in together.items() if count} == dict(sets)
    assert found.failures == len(fewest) > 0
    assert found.fewest(7)[0] == pytest.approx(np.mean(fewest))


def test_adds_up() -> None:
    cell = task("maple-naive", "33M")
    found = blame.tally(cell, SOURCE, range(300))
    blocks = found.sums.arrays.boots[7, page_owner.BLOCKS]
    assert blocks == 33 * found.failures == found.sums.arrays.together[7, :, 0].sum()
    for owner in range(1, page_owner.OWNERS):
        holds = [bits for bits in range(page_owner.SETS) if bits >> (owner - 1) & 1]
        alone, shared = found.sums.arrays.owner[7, owner, [page_owner.BLOCKS_ALONE, page_owner.BLOCKS_SHARED]]
        assert alone == found.sums.arrays.together[7, 1 << (owner - 1), 0]
        assert alone + shared == found.sums.arrays.together[7, holds, 0].sum()
    assert found.sums.arrays.owner[:, page_owner.UNKNOWN].sum() == 0
    assert found.sums.arrays.owner[:, page_owner.FREE].sum() == 0


def test_does_not_depend_on_workers_chunks_or_order() -> None:
    cell = task("tail-free", "32M")
    whole = blame.tally(cell, SOURCE, range(1200), workers=2)
    parts = blame.Tally(cell)
    for first in (800, 0, 400):
        blame.tally(cell, SOURCE, range(first, first + 400), into=parts)
    assert whole.owners().equals(parts.owners())
    assert whole.together(7).equals(parts.together(7))


def test_of_the_failing_boots_is_that_of_all() -> None:
    cell = task("linux-6.1.y", "33M")
    outcomes = simulator.simulate(cell, SOURCE, 0, 200)
    failing = outcomes["boot"][outcomes["failed"] == 1]
    of_failing = blame.of_boots(cell, SOURCE, failing)
    of_all = mcsim.explain("mail-2022", variant="linux-6.1.y", ram="33M", boots=200, workers=1)
    assert of_failing["boots"].unique().to_list() == [len(failing)] == of_all["failures"].unique().to_list()
    assert of_failing.drop("boots").equals(of_all.drop("boots"))


def test_of_no_failing_boot_is_an_empty_frame_of_the_same_columns() -> None:
    empty = blame.of_boots(task("tail-free", "64M"), SOURCE, range(5))
    full = blame.of_boots(task("maple-naive", "32M"), SOURCE, range(5))
    assert (empty.height, empty.schema) == (0, full.schema)
    assert full.height > 5


class TestMean:
    def test_is_students(self) -> None:
        numbers = np.random.default_rng(1).integers(0, 9, 50)
        middle, low, high = blame.mean(int(numbers.sum()), int((numbers**2).sum()), 50, 0.9)
        expected = t.interval(0.9, 49, numbers.mean(), numbers.std(ddof=1) / np.sqrt(50))
        assert (middle, low, high) == pytest.approx((numbers.mean(), *expected))

    def test_has_no_interval_without_spread(self) -> None:
        assert blame.mean(12, 36, 4, 0.95) == (3.0, None, None)
        assert blame.mean(3, 9, 1, 0.95) == (3.0, None, None)

    def test_is_never_below_zero(self) -> None:
        assert blame.mean(1, 1, 3, 0.95)[1] == 0.0

    def test_covers_as_often_as_it_says(self) -> None:
        """2,000 times 40 Poisson numbers. If 95 % are covered, fewer than 92.6 % has a chance of 1e-6."""
        rng = np.random.default_rng(2)
        hits = 0
        for numbers in rng.poisson(2.0, (2000, 40)):
            _, low, high = blame.mean(int(numbers.sum()), int((numbers**2).sum()), 40, 0.95)
            assert low is not None and high is not None
            hits += low <= 2.0 <= high
        assert hits / 2000 > 0.926


class TestCommand:
    ONE = ("explain", "mail-2022", "--variant", "maple-naive", "--ram", "33M")
    MANY = (*ONE, "--workers", "1")

    def test_prints_a_table_for_a_mail(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli([*self.MANY, "--boots", "200"]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 72
        assert "of 200 boots failed" in out
        assert "Student's t, 95 % each" in out
        rows = [line for line in out.splitlines() if line.startswith("maple nodes")]
        assert rows and rows[0].split()[-1].startswith("<")

    def test_prints_csv_and_writes_both_tables(self, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
        folder = tmp_path / "new"
        assert run_cli([*self.MANY, "--boots", "100", "--format", "csv", "--out", str(folder)]) == 0
        printed = capsys.readouterr().out
        assert (folder / "owners.csv").read_text() == printed
        expected = mcsim.explain("mail-2022", variant="maple-naive", ram="33M", boots=100)
        assert pl.read_csv(folder / "owners.csv")["alone"].to_list() == pytest.approx(expected["alone"].to_list())
        assert run_cli([*self.MANY, "--boots", "100"]) == 0
        assert (folder / "owners.txt").read_text() == capsys.readouterr().out

    def test_writes_over_no_file(self, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
        (tmp_path / "notes").write_text("kept")
        (tmp_path / "owners.csv").symlink_to(tmp_path / "notes")
        assert run_cli([*self.MANY, "--boots", "1", "--out", str(tmp_path)]) == 2
        assert "owners.csv: --out: exists\n  valid: a new or an empty folder" in capsys.readouterr().err
        assert (tmp_path / "notes").read_text() == "kept"

    def test_the_function_takes_one_boot_or_many(self) -> None:
        with pytest.raises(UserError, match="--boot, --compare: go with one boot"):
            mcsim.explain("mail-2022", variant="maple-naive", ram="33M", boots=5, boot=0)

    def test_says_where_none_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["explain", "mail-2022", "--variant", "tail-free", "--ram", "64M", "--boots", "10"]) == 0
        assert capsys.readouterr().out.strip().endswith("0 of 10 boots failed")

    def test_keeps_what_is_done_when_interrupted(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupted(progress.Silent):
            calls = itertools.count()

            def advance(self, units: int, label: str) -> None:
                if next(self.calls) == 1:
                    raise KeyboardInterrupt

        monkeypatch.setattr(progress, "for_stderr", Interrupted)
        assert run_cli([*self.MANY, "--boots", "2000"]) == 130
        printed = capsys.readouterr()
        assert f"of {2 * blame.CHUNK:,} boots failed" in printed.out
        assert f"about {2 * blame.CHUNK:,} boots" in printed.err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["explain", "mail-2022", "--ram", "33M", "--boots", "5"], "Missing option '--variant'"),
            ([*MANY, "--boots", "0"], "--boots: 0 is out of range"),
            ([*MANY, "--boots", "1", "--level", "1"], "1.0 is not a level"),
            ([*ONE, "--boots", "1", "--workers", "0"], "--workers: 0"),
            ([*MANY, "--boots", "1", "--seed", "-1"], "--seed: -1"),
            ([*MANY, "--boots", "1", "--out", "/proc/folder"], "cannot be written"),
            ([*MANY, "--boots", "1", "--out", "x" * 300], "cannot be written: File name too long"),
            ([*MANY, "--boots", "1", "--boot", "3"], "--boot: does not go with this\n  valid: one boot; leave out"),
            ([*MANY, "--boots", "1", "--compare", "tail-free"], "--compare: does not go with this"),
            ([*ONE, "--format", "csv"], "--format: does not go with this\n  valid: many boots, --boots N"),
            ([*ONE, "--level", "0.9"], "--level: does not go with this"),
            (MANY, "--workers: does not go with this"),
        ],
    )
    def test_refuses_bad_input(self, words, message, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(words) == 2
        assert message in capsys.readouterr().err
