"""Boots under kernels that public Numba alone has compiled: make test-fallback, because it compiles for minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mcsim
from mcsim.kernels.jit.cache import PLAIN

CELLS = {"variants": ["maple-naive", "tail-free", "linux-6.6"], "ram": ["32M", "64M"]}
BOOTS = 30
RUN = f"import sys, mcsim; mcsim.run('mail-2022', boots={BOOTS}, workers=1, out=sys.argv[1], **{CELLS})"


@pytest.mark.skipif(os.environ.get(PLAIN) != "1", reason="compiles for minutes: make test-fallback")
def test_boots_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    usual = {name: value for name, value in os.environ.items() if name != PLAIN}
    subprocess.run([sys.executable, "-c", RUN, str(tmp_path / "usual")], env=usual, check=True)
    plain = mcsim.run("mail-2022", boots=BOOTS, workers=1, out=tmp_path / "plain", **CELLS)
    expected = mcsim.load(tmp_path / "usual")
    frames = [(plain.outcomes_of(task), expected.outcomes_of(task)) for task in plain.tasks]
    assert sum(one.height for one, _ in frames) == BOOTS * 6
    assert all(one.equals(other) for one, other in frames)
