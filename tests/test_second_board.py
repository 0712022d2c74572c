"""A board that mcsim does not come with: 4 KB pages, 64 bits, MAX_ORDER 10; it runs like the shipped one."""

from pathlib import Path

import numpy as np
import pytest

from mcsim.cli import run_cli
from mcsim.kernels.linux.page_alloc import MANAGED_PAGES, NR_FREE_PAGES
from mcsim.model.board import read_board
from mcsim.model.experiment import Experiment, load
from mcsim.simulator import simulator

BOARD = Path(__file__).parent / "data" / "boards" / "made-up.toml"
WORKLOAD = """
[images.init]
text = "300K"
data = "20K"
bss = "60K"

[images.tool]
text = "120K"
ram = false
data = "4K"
bss = "8K"

[[process]]
name = "init"
steps = [
    { do = "exec", image = "init" },
    { do = "mmap", length = "36K", name = "heap" },
    { do = "spawn", process = "tool" },
    { do = "munmap", name = "heap", first = 2, pages = 3 },
    { do = "wait", process = "tool" },
    { do = "spawn", process = "hog" },
    { do = "sleep", ticks = 100 },
    { do = "login" },
]

[[process]]
name = "tool"
steps = [{ do = "exec", image = "tool" }, { do = "run", us = 900 }, { do = "exit" }]

[[process]]
name = "hog"
steps = [{ do = "exec", image = "tool" }, { do = "mmap", length = "2M" }, { do = "mmap", length = "SIZE" }]
"""
EXPERIMENT = f"""
[experiment]
name = "second"
variants = ["pre-maple", "maple-naive", "linux-6.1.y", "linux-6.6"]
ram = ["16M", "32M"]
boots = 12
[machine]
board = {str(BOARD)!r}
[workload]
file = "own.toml"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(WORKLOAD.replace("SIZE", "1M"))
    (tmp_path / "second.toml").write_text(EXPERIMENT)
    return tmp_path


def loaded(folder: Path, size: str) -> tuple[Experiment, dict[tuple[str, int], np.ndarray]]:
    """The experiment, and outcomes by variant and megabytes, of a hog of this size."""
    (folder / "own.toml").write_text(WORKLOAD.replace("SIZE", size))
    simulator.load_workload.cache_clear()
    experiment = load(folder / "second.toml")
    digest = simulator.load_workload(experiment.workload, experiment.board).digest
    tasks = experiment.tasks(digest)
    return experiment, {
        (task.variant, task.ram >> 20): simulator.simulate(task, experiment.workload, 0, 12) for task in tasks
    }


def test_it_boots_and_every_invariant_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "second.toml", "--check", "--workers", "1"]) == 0
    assert run_cli(["run", "second.toml", "--out", "again", "--workers", "1"]) == 0
    assert "second" in capsys.readouterr().out


def test_its_largest_block_has_order_9(folder: Path) -> None:
    """2 MB is order 9 with 4 KB pages: there is no order 10, whatever is free."""
    _, fits = loaded(folder, "2M")
    _, fails = loaded(folder, "2052K")
    assert not any(each["failed"].any() for (_, ram), each in fits.items() if ram == 32)
    assert all(each["failed"].all() for each in fails.values())
    assert {int(order) for each in fails.values() for order in each["order"]} == {10}


def test_more_ram_is_what_it_says_it_keeps_less_of(folder: Path) -> None:
    experiment, _ = loaded(folder, "1M")
    digest = simulator.load_workload(experiment.workload, experiment.board).digest
    for task in experiment.tasks(digest):
        zone = simulator.Simulator(task, simulator.load_workload(experiment.workload, experiment.board)).boot.fresh_zone
        kept = sum(pages for _, pages in experiment.board.reserved(task.ram))
        assert zone.scalar[MANAGED_PAGES] == zone.scalar[NR_FREE_PAGES] == task.ram // 4096 - kept


def test_min_free_kbytes_set_by_hand_moves_the_failures(folder: Path) -> None:
    """A reserve of 9 MB leaves too little of 16 MB for the same boot."""
    _, usual = loaded(folder, "1M")
    text = EXPERIMENT.replace("[workload]", "min_free_kbytes = 9200\n[workload]")
    (folder / "second.toml").write_text(text)
    _, reserved = loaded(folder, "1M")
    assert not any(each["failed"].any() for each in usual.values())
    assert all(each["failed"].all() for (_, ram), each in reserved.items() if ram == 16)


def test_a_workload_recorded_on_another_board_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "second.toml").write_text(EXPERIMENT.replace('file = "own.toml"', 'recordings = "C"'))
    assert run_cli(["run", "second.toml"]) == 2
    assert "made-up has other pages, stacks or another clock than m5208evb" in capsys.readouterr().err


def test_noise_that_it_does_not_have_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "second.toml").write_text(EXPERIMENT + "[timing]\njitter = 2\n")
    assert run_cli(["run", "second.toml"]) == 2
    assert "timing.jitter: the board made-up does not say what delays these are" in capsys.readouterr().err


def test_its_ram_sizes_are_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "second.toml").write_text(EXPERIMENT.replace('"16M", "32M"', '"24M"'))
    assert run_cli(["run", "second.toml"]) == 2
    assert "valid: 16M, 32M" in capsys.readouterr().err


def test_the_name_is_that_of_the_file() -> None:
    assert read_board(BOARD).name == "made-up"
