"""The shipped experiment with the real kernels: the whole way from the file to the table, on a few boots."""

from pathlib import Path

import pytest

import mcsim
from mcsim.cli import run_cli
from mcsim.store.result import Result

CELLS = {"variants": ["maple-naive", "tail-free", "linux-6.6"], "ram": ["31M", "32M"]}
BOOTS = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return mcsim.run("mail-2022", boots=BOOTS, workers=1, out=tmp_path_factory.mktemp("whole") / "r", **CELLS)


def same(one: Result, other: Result) -> bool:
    return all(one.outcomes_of(task).equals(other.outcomes_of(task)) for task in one.tasks)


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_two_workers_give_the_outcomes_of_one(whole: Result, backend: str, tmp_path: Path) -> None:
    other = mcsim.run("mail-2022", boots=BOOTS, workers=2, backend=backend, out=tmp_path / "r", **CELLS)  # type: ignore[arg-type]
    assert same(whole, other)


def test_two_halves_give_the_outcomes_of_the_whole(whole: Result, tmp_path: Path) -> None:
    mcsim.run("mail-2022", boots=BOOTS // 2, out=tmp_path / "r", **CELLS)
    assert same(whole, mcsim.run("mail-2022", boots=BOOTS, out=tmp_path / "r", **CELLS))


def test_boot_17_alone_is_boot_17_of_the_run(whole: Result, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "mail-2022", "--variant", "maple-naive", "--ram", "32M", "--boot", "17", "-v"]) == 0
    printed = capsys.readouterr().out
    row = whole.outcomes("maple-naive", "32M").row(17, named=True)
    shown = dict(line.split() for line in printed.splitlines()[1 : 1 + len(row)])
    assert {name: int(value) for name, value in shown.items()} == row


def test_a_boot_draws_the_same_recording_under_every_variant_and_size(whole: Result) -> None:
    draws = {
        tuple(map(tuple, whole.outcomes_of(task).select("recording", "pre_init").rows()))
        for task in whole.tasks
        if whole.outcomes_of(task).height
    }
    assert len(draws) == 1


def test_at_32_megabytes_the_old_tail_fails_far_more_often_than_the_new_one(whole: Result) -> None:
    """As real boots do: 182 of 184 with the old tail, 119 of 183 with the new one. Same boots, so compare by pairs."""
    old, new = whole.outcomes("maple-naive", "32M")["failed"], whole.outcomes("tail-free", "32M")["failed"]
    assert old.sum() > 0.9 * BOOTS
    assert new.sum() < 0.9 * BOOTS
    assert ((old == 1) & (new == 0)).sum() > ((old == 0) & (new == 1)).sum()


def test_outcomes_make_sense(whole: Result) -> None:
    for task in whole.tasks:
        frame = whole.outcomes_of(task)
        if not frame.height:
            continue
        assert frame["boot"].to_list() == list(range(BOOTS))
        booted, failed = frame.filter(frame["failed"] == 0), frame.filter(frame["failed"] == 1)
        assert (booted["failure_class"] == 0).all()
        assert failed["failure_class"].is_between(1, 4).all()
        assert (failed["order"] > failed["largest_free_order"]).all()
        assert (failed["time_us"] > 0).all()
        assert (failed["free_pages"] > 0).all()
