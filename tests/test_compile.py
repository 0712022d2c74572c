"""How kernels are compiled: never stale, state handed over whole, no question about negative indices."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

import kernels
from kernels import cache
from kernels.compile import config, inlined_kernel, kernel, seldom_kernel

CALLEE = """
from kernels.compile import kernel

@kernel
def step(x: int) -> int:
    return x + {step}
"""
CALLER = """
from kernels.callee import step
from kernels.compile import kernel

@kernel
def twice(x: int) -> int:
    return step(step(x))

print(twice(1), sum(twice.stats.cache_hits.values()))
"""


def run_caller(folder: Path) -> list[str]:
    """What the caller prints in a process of its own: the result, and how often the cache had it."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment["NUMBA_DISABLE_JIT"] = "0"
    command = [sys.executable, "-m", "kernels.caller"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


def test_an_edit_of_a_callee_is_seen_although_the_caller_was_cached(tmp_path: Path) -> None:
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("cache.py", "compile.py"):
        shutil.copy(Path(kernels.__file__).parent / name, package)
    (package / "callee.py").write_text(CALLEE.format(step=1))
    (package / "caller.py").write_text(CALLER)
    assert run_caller(tmp_path) == ["3", "0"]
    assert run_caller(tmp_path) == ["3", "1"]
    (package / "callee.py").write_text(CALLEE.format(step=10))
    assert run_caller(tmp_path) == ["21", "0"]


class Inner(NamedTuple):
    values: NDArray[np.int32]
    factor: int


class Outer(NamedTuple):
    inner: Inner
    table: NDArray[np.int64]


@seldom_kernel
def write(inner: Inner, place: int, value: int) -> None:
    inner.values[place] = value * inner.factor


@inlined_kernel
def add_up(inner: Inner) -> int:
    total = 0
    for value in inner.values:
        total += value
    return total


@kernel
def fill(outer: Outer, last: int) -> int:
    for place in range(last + 1):
        write(outer.inner, place, outer.table[place, 1])
    return add_up(outer.inner)


def make_outer() -> Outer:
    return Outer(Inner(np.zeros(4, np.int32), 3), np.arange(8).reshape(4, 2))


def test_tuples_in_tuples_are_read_and_their_arrays_written() -> None:
    outer = make_outer()
    assert fill(outer, 3) == 48
    assert outer.inner.values.tolist() == [3, 9, 15, 21]
    # The next call may hand over other arrays and numbers.
    other = outer._replace(inner=Inner(np.zeros(3, np.int32), 5))
    assert fill(other, 2) == 45
    assert outer.inner.values.tolist() == [3, 9, 15, 21]


@kernel
def read(values: NDArray[np.int64], index: int) -> int:
    return int(values[index])


@pytest.mark.skipif(not config.BOUNDSCHECK, reason="indices are checked under make test-bounds only")
@pytest.mark.parametrize("index", [-1, 3])
def test_a_wrong_index_is_found_when_indices_are_checked(index: int) -> None:
    with pytest.raises(IndexError):
        read(np.arange(3), index)


@pytest.mark.skipif(bool(config.DISABLE_JIT or config.BOUNDSCHECK), reason="as boots are compiled")
def test_an_access_does_not_ask_whether_the_index_is_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cache_directory", lambda: None)  # code out of the cache cannot be looked at

    def last(values: NDArray[np.int64], index: int) -> int:
        return int(values[index])

    def asks(compiled: Any) -> bool:
        assert compiled(np.arange(3), 2) == 2
        [code] = compiled.inspect_llvm().values()
        assert "getelementptr" in code
        return "icmp slt i64 %arg.index, 0" in code

    assert asks(numba.njit(last))
    assert not asks(kernel(last))
