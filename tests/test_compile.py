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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from mcsim.kernels.jit import cache, keep, private, rng
from mcsim.kernels.jit import compile as policy
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
        assert keep.KernelCache(double).load_overload(signature, compiled.targetctx) is None
    file.write_bytes(whole)
    assert keep.KernelCache(double).load_overload(signature, compiled.targetctx) is not None


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
        cache.say.cache_clear()
        self.home = tmp_path / "home" / ".cache" / "mcsim"

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

    def test_an_empty_name_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        in_home = self.choose()
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv("NUMBA_CACHE_DIR", "")
        assert self.choose() == in_home

    def refused(self, capsys: pytest.CaptureFixture[str]) -> str:
        """What is said when nothing is kept: one line."""
        assert self.choose() is None
        [line] = capsys.readouterr().err.splitlines()
        assert "compiled kernels are not kept" in line
        return line

    def test_a_file_in_place_of_home_is_no_place(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "home").touch()
        self.refused(capsys)

    def test_without_home_no_folder_of_that_name_is_made_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the system does not know the user
        self.refused(capsys)
        assert list(tmp_path.iterdir()) == []

    def test_the_common_folder_for_temporary_files_is_no_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "home").touch()
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        self.refused(capsys)
        assert list((tmp_path / "temporary").iterdir()) == []

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_a_folder_that_others_may_write_is_not_used(self, mode: int, capsys: pytest.CaptureFixture[str]) -> None:
        in_home = self.choose()
        assert in_home is not None
        in_home.chmod(mode)
        assert str(in_home) in self.refused(capsys)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_somebody_else_is_not_used(self, capsys: pytest.CaptureFixture[str]) -> None:
        in_home = self.choose()
        assert in_home is not None
        os.chown(in_home, 54321, 54321)
        assert "not this user's" in self.refused(capsys)

    def test_a_link_is_not_used(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        in_home = self.choose()
        assert in_home is not None
        in_home.rename(tmp_path / "elsewhere")
        in_home.symlink_to(tmp_path / "elsewhere")
        assert str(in_home) in self.refused(capsys)

    def test_where_the_named_folder_is_not_safe_the_usual_one_is_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
        named = self.choose()
        assert named is not None
        named.chmod(0o777)
        assert self.choose() == self.home / named.name
        [line] = capsys.readouterr().err.splitlines()
        assert str(named) in line
        assert f"kept in {self.home / named.name}" in line

    def test_plainly_compiled_kernels_lie_in_a_folder_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usual = self.choose()
        monkeypatch.setenv(cache.PLAIN, "1")
        assert self.choose() != usual


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


@needs_compiler
@pytest.mark.parametrize("at_once", [False, True], ids=["called by the kernel", "in another thread"])
def test_others_keep_their_negative_indices_while_a_kernel_is_compiled(at_once: bool) -> None:
    numbers = np.array([7, 1, 2, 3])[1:]  # at [-1], were it not the last one, is 7

    @numba.njit
    def last(values: NDArray[np.int64]) -> int:
        return int(values[-1])

    @numba.njit
    def last_of_all(values: NDArray[np.int64]) -> int:
        return int(values[-1])

    def called_by_the_kernel(values: NDArray[np.int64]) -> int:
        return last(values)

    with ThreadPoolExecutor() as pool:
        other = pool.submit(last_of_all, numbers) if at_once else None
        assert kernel(called_by_the_kernel)(numbers) == 3
        assert last(numbers) == 3
        assert (other.result() if other else last_of_all(numbers)) == 3


@needs_compiler
def test_inner_functions_of_numba_are_not_shared_with_others() -> None:
    """Those that are compiled for a kernel do not know of negative indices."""

    def at(values: NDArray[np.int64], index: int) -> int:
        return int(values[index])

    target = numba.njit(at).targetctx
    before = dict(target.cached_internal_func)
    assert kernel(fill.py_func)(make_outer(), 3) == 48  # type: ignore[attr-defined]
    assert target.cached_internal_func == before


class TestFallback:
    """Kernels compiled by public Numba alone: where it is asked for, and where this release lacks something."""

    SCRIPT = """
import sys
import numpy as np
from mcsim.kernels.jit import compile
from tests import test_compile

outer = test_compile.make_outer()
arrays = (outer.inner.values, outer.table)
before = [sys.getrefcount(array) for array in arrays]
for _ in range(10):
    total = test_compile.fill(outer, 3)
assert [sys.getrefcount(array) for array in arrays] == before
print(total, *outer.inner.values, *test_compile.words(), compile._compiler() is None)
"""

    def run(self, tmp_path: Path, **variables: str) -> tuple[list[str], str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **variables}
        environment.pop("NUMBA_CACHE_DIR", None)
        done = subprocess.run([sys.executable, "-c", self.SCRIPT], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    @needs_compiler
    def test_it_gives_the_same_bits_and_says_so_once(self, tmp_path: Path) -> None:
        expected = list(map(str, (48, 3, 9, 15, 21, *words())))
        for _ in range(2):  # out of the cache, too
            printed, said = self.run(tmp_path, MCSIM_PLAIN_NUMBA="1")
            assert printed == [*expected, "True"]
            [line] = said.splitlines()
            assert "MCSIM_PLAIN_NUMBA" in line
            assert "results are the same" in line

    @pytest.mark.parametrize("module", [private, keep])
    def test_nothing_is_missing_in_a_release_that_pyproject_allows(self, module: ModuleType) -> None:
        assert module.missing() == []

    @pytest.mark.parametrize(
        ("owner", "name", "found"),
        [
            pytest.param(private.JITCodeLibrary, "_finalize_final_module", "_finalize_final_module", id="a method"),
            pytest.param(private.CPUTargetOptions, "_nrt", "CPUTargetOptions._nrt", id="an option"),
            pytest.param(private.Compiler, "compile_extra", "Compiler.compile_extra", id="a method that is called"),
        ],
    )
    def test_what_is_missing_is_found_and_named(
        self, owner: Any, name: str, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        holder = next(each for each in owner.__mro__ if name in vars(each))
        monkeypatch.delattr(holder, name)
        [missing] = private.missing()
        assert found in missing
        monkeypatch.delenv(cache.PLAIN, raising=False)
        assert policy._compiler.__wrapped__() is None
        [line] = capsys.readouterr().err.splitlines()
        assert missing in line

    def test_a_changed_signature_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(private.Compiler, "__init__", lambda self, everything: None)
        assert private.missing() == ["Compiler.__init__"]

    def test_a_module_that_cannot_be_imported_is_as_good_as_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "mcsim.kernels.jit.keep", None)
        assert policy._keeper.__wrapped__() is None
        assert "each command compiles them" in capsys.readouterr().err


def words() -> list[int]:
    """Some random numbers."""
    found = np.zeros(4, np.uint64)
    rng.philox4x32(np.uint64(1), np.uint64(2), 3, 4, 5, found)
    return [*map(int, found), int(rng.random_below(1, 2, 3, 4, 5, 1000, found)), int(rng.scale(12345, 67890))]
