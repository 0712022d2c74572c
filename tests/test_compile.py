"""How kernels are compiled: never stale or damaged, state handed over whole, no question about negative indices."""

import errno
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from mcsim.kernels.jit import cache
from mcsim.kernels.jit.compile import config, inlined_kernel, kernel, seldom_kernel
from mcsim.run import compiling

CALLEE = """
from mcsim.kernels.jit.compile import kernel

@kernel
def step(x: int) -> int:
    return x + {step}
"""
CALLER = """
from mcsim.kernels.callee import step
from mcsim.kernels.jit.compile import kernel

@kernel
def twice(x: int) -> int:
    return step(step(x))

print(twice(1), sum(twice.stats.cache_hits.values()))
"""


def start_caller(folder: Path, limit: int = resource.RLIM_INFINITY, **variables: str) -> "subprocess.Popen[str]":
    """The caller in a process of its own, which writes files of at most `limit` bytes."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment |= {"NUMBA_DISABLE_JIT": "0", **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "mcsim.kernels.caller"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def end(process: "subprocess.Popen[str]") -> tuple[list[str], str]:
    """What the caller prints, its result and how often the cache had it, and what it says on stderr."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.split(), errors


def run_caller(folder: Path, **variables: str) -> list[str]:
    printed, errors = end(start_caller(folder, **variables))
    assert errors == ""
    return printed


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Kernels of their own: a caller and a callee."""
    package = tmp_path / "mcsim" / "kernels"
    shutil.copytree(Path(cache.__file__).parent, package / "jit")
    for each in (package.parent, package):
        (each / "__init__.py").touch()
    (package / "callee.py").write_text(CALLEE.format(step=1))
    (package / "caller.py").write_text(CALLER)
    return package


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_an_edit_of_a_callee_is_seen_although_the_caller_was_cached(package: Path, variable: str) -> None:
    folder, cache_there = package.parents[1], {variable: str(package.parents[1] / "there")}
    assert run_caller(folder, **cache_there) == ["3", "0"]
    assert run_caller(folder, **cache_there) == ["3", "1"]
    (package / "callee.py").write_text(CALLEE.format(step=10))
    assert run_caller(folder, **cache_there) == ["21", "0"]


def test_a_kernel_file_that_is_edited_while_the_process_runs_is_refused(package: Path) -> None:
    edit = f"import pathlib; pathlib.Path({str(package / 'caller.py')!r}).open('a').write('# later')"
    command = f"import mcsim.kernels.callee; {edit}; import mcsim.kernels.caller"
    done = subprocess.run([sys.executable, "-c", command], cwd=package.parents[1], capture_output=True, text=True)
    assert done.returncode == 1
    assert "caller.py was edited while this process ran: start it again" in done.stderr
    assert done.stdout == ""


def test_two_processes_that_compile_at_once_are_both_right(package: Path) -> None:
    both = [start_caller(package.parents[1]), start_caller(package.parents[1])]
    assert [end(each)[0][0] for each in both] == ["3", "3"]
    assert run_caller(package.parents[1]) == ["3", "1"]


def test_a_full_disk_is_one_line_and_the_result_is_right(package: Path) -> None:
    printed, errors = end(start_caller(package.parents[1], limit=1000))
    assert printed == ["3", "0"]
    assert len(errors.splitlines()) == 1
    assert "compiled kernels are not kept" in errors
    assert os.strerror(errno.EFBIG) in errors
    [folder] = (package.parents[1] / "cache" / "mcsim").iterdir()
    assert list(folder.iterdir()) == []


def test_numba_users_in_the_same_process_keep_their_own_cache() -> None:
    assert os.environ.get("NUMBA_CACHE_DIR", "") == config.CACHE_DIR


def double(value: int) -> int:
    return 2 * value


def triple(value: int) -> int:
    return 3 * value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process keeps compiled kernels during a test."""
    monkeypatch.setattr(cache, "cache_directory", lambda: tmp_path)
    return tmp_path


def hits(compiled: Any) -> int:
    return sum(compiled.stats.cache_hits.values())


def flipped(content: bytes) -> bytes:
    place = random.Random(1).randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


needs_compiler = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")


@needs_compiler
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flipped, id="a bit"),
        pytest.param(lambda content: content[:-1], id="the end lost"),
        pytest.param(lambda content: content[:20], id="the beginning only"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content + b".", id="longer"),
    ],
)
def test_damaged_code_is_compiled_anew(
    damage: Callable[[bytes], bytes], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kernel(double)(4) == 8
    [file] = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again: Any = kernel(double)
    assert (again(4), hits(again)) == (8, 0)
    assert capsys.readouterr().err.count("\n") == 1
    third: Any = kernel(double)
    assert (third(4), hits(third)) == (8, 1)
    assert list(folder.iterdir()) == [file]


@needs_compiler
def test_no_flipped_bit_is_loaded(folder: Path) -> None:
    compiled: Any = kernel(double)
    assert compiled(4) == 8
    [file] = folder.iterdir()
    whole, [signature] = file.read_bytes(), compiled.signatures
    for bit in random.Random(2).sample(range(8 * len(whole)), 200):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        assert cache.KernelCache(double).load_overload(signature, compiled.targetctx) is None
    file.write_bytes(whole)
    assert cache.KernelCache(double).load_overload(signature, compiled.targetctx) is not None


@needs_compiler
def test_code_of_another_kernel_is_not_loaded(folder: Path) -> None:
    assert kernel(double)(4) == 8
    [file] = folder.iterdir()
    assert kernel(triple)(4) == 12
    [other] = set(folder.iterdir()) - {file}
    other.replace(file)
    again: Any = kernel(double)
    assert (again(4), hits(again)) == (8, 0)


@needs_compiler
@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_code_that_others_may_write_is_not_loaded(mode: int, folder: Path) -> None:
    assert kernel(double)(4) == 8
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(mode)
    again: Any = kernel(double)
    assert (again(4), hits(again)) == (8, 0)


@needs_compiler
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_code_of_somebody_else_is_not_loaded(folder: Path) -> None:
    assert kernel(double)(4) == 8
    [file] = folder.iterdir()
    os.chown(file, 54321, 54321)
    again: Any = kernel(double)
    assert (again(4), hits(again)) == (8, 0)


@needs_compiler
def test_where_nothing_can_be_kept_kernels_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cache_directory", lambda: None)
    for _ in range(2):
        compiled: Any = kernel(double)
        assert (compiled(4), hits(compiled)) == (8, 0)
    marker = compiling.compiled_marker("run")
    assert marker is not None
    assert not marker.exists()


class TestFolder:
    """Where compiled kernels are kept: the first place that nobody else can write to."""

    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        self.home = tmp_path / "home" / ".cache" / "mcsim"
        self.temporary = tmp_path / f"mcsim-{os.geteuid()}"

    def choose(self) -> Path | None:
        folder: Path | None = cache.cache_directory.__wrapped__()
        return folder

    def test_it_is_the_one_that_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        in_home = self.choose()
        assert in_home is not None
        assert in_home.parent == self.home
        assert stat.S_IMODE(in_home.stat().st_mode) == 0o700
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert self.choose() == tmp_path / "xdg" / "mcsim" / in_home.name
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
        assert self.choose() == tmp_path / "numba" / in_home.name

    def test_a_file_in_place_of_home_and_no_home_at_all_lead_to_a_private_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "home").touch()
        chosen = self.choose()
        assert chosen is not None
        assert chosen.parent == self.temporary
        assert stat.S_IMODE(chosen.stat().st_mode) == stat.S_IMODE(self.temporary.stat().st_mode) == 0o700

        def nobody() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nobody)
        assert self.choose() == chosen
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_a_folder_that_others_may_write_is_not_used(self, mode: int, capsys: pytest.CaptureFixture[str]) -> None:
        in_home = self.choose()
        assert in_home is not None
        in_home.chmod(mode)
        chosen = self.choose()
        assert chosen == self.temporary / in_home.name
        [line] = capsys.readouterr().err.splitlines()
        assert str(in_home) in line
        assert f"kept in {chosen}" in line

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_somebody_else_is_not_used(self, capsys: pytest.CaptureFixture[str]) -> None:
        in_home = self.choose()
        assert in_home is not None
        os.chown(in_home, 54321, 54321)
        assert self.choose() == self.temporary / in_home.name
        assert "not this user's" in capsys.readouterr().err

    def test_a_link_is_not_used(self, tmp_path: Path) -> None:
        in_home = self.choose()
        assert in_home is not None
        in_home.rename(tmp_path / "elsewhere")
        in_home.symlink_to(tmp_path / "elsewhere")
        assert self.choose() == self.temporary / in_home.name

    def test_without_a_safe_place_nothing_is_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "home").touch()
        self.temporary.mkdir()
        self.temporary.chmod(0o777)  # as somebody else would leave it, to put code into it
        assert self.choose() is None
        assert "compiled kernels are not kept" in capsys.readouterr().err
        assert list(self.temporary.iterdir()) == []


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
