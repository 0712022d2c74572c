"""What many tests share: where data lies, one small experiment, and how a session of pytest goes."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import stand_in

from mcsim.model import experiment

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DATA = TESTS / "data"
RECORDINGS = DATA / "recordings"
# The full sets of recordings and vectors, of which DATA has a part: beside the checkout, or where MCSIM_TRUTH says.
TRUTH = Path(os.environ.get("MCSIM_TRUTH") or ROOT.parent / "shared")

# The command line on a stand-in for the kernels that is as slow as they are.
SLOW_MCSIM = (sys.executable, str(TESTS / "slow_stand_in.py"))
# Seconds after which a process hangs, however busy the machine is: as long as anything is waited for.
HANGS = 300.0

TWO = ("maple-naive", "tail-free")
THREE = (*TWO, "mail-both")


def small_text(variants: tuple[str, ...] = TWO, ram: str = "31M 32M", boots: int = 100) -> str:
    """The small experiment as a file, with these cells and boots."""
    names, sizes = ('", "'.join(words) for words in (variants, ram.split()))
    return f"""
[experiment]
name = "small"
variants = ["{names}"]
ram = ["{sizes}"]
boots = {boots}
seed = 3
[workload]
recordings = "C"
"""


SMALL = small_text()


def small(text: str = SMALL) -> experiment.Experiment:
    """The small experiment, or what this text makes of it."""
    return experiment.parse(text, "small.toml")


def wait_until(reached: Callable[[], object], process: "Popen[Any]") -> None:
    """Wait for what a process does."""
    deadline = time.monotonic() + HANGS
    while not reached():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.02)


@pytest.fixture
def stand_in_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Boots of the stand-in for the kernels, in a folder of the test's own."""
    stand_in.use_stand_in(monkeypatch, tmp_path)
