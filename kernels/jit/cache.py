"""Where compiled kernels are kept: what is loaded is never stale, damaged, or somebody else's."""

import errno
import hashlib
import os
import pickle
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

KERNELS = Path(__file__).parents[1]
config: Any = numba.core.config  # its attributes are set at run time


@cache
def _sources() -> dict[Path, bytes]:
    """The SHA-256 of every kernel source file, in name order, as they were when this process began to load them."""
    return {path: _hash(path) for path in sorted(KERNELS.rglob("*.py"))}


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def source_hash() -> str:
    """SHA-256 (hex) over names and hashes of all kernel source files: of those that this process runs."""
    digest = hashlib.sha256()
    for path, content in _sources().items():
        digest.update(path.relative_to(KERNELS).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


@cache
def check_source(path: Path) -> None:
    """Refuse a kernel source file that was edited since: its code would be kept under the hash of the old one."""
    if path.is_relative_to(KERNELS) and _hash(path) != _sources().get(path):
        raise ImportError(f"{path} was edited while this process ran: start it again")


@cache
def cache_directory() -> Path | None:
    """The directory of the compiled kernels; None where they cannot be kept.

    Its name holds all that the machine code depends on: kernel sources, numba, numpy, interpreter, CPU. What lies there
    is run, so nobody else may write to it.
    """
    parts = (
        source_hash(),
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        platform.python_version(),
        platform.machine(),
        config.CPU_NAME or _cpu_name(),
        str(config.BOUNDSCHECK),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    refused = ""
    for folder, must_be_private, is_named in _places(key):
        try:
            for each in must_be_private:
                _make_private(each)
            tempfile.TemporaryFile(dir=folder).close()
        except (OSError, ValueError) as error:
            if is_named or os.path.lexists(folder):
                refused += f"{folder}: {getattr(error, 'strerror', None) or error}; "
            continue
        if refused:
            _say(f"{refused}compiled kernels are kept in {folder}")
        return folder
    _say(f"{refused}compiled kernels are not kept, so that each command compiles them")
    return None


def _places(key: str) -> Iterator[tuple[Path, list[Path], bool]]:
    """Where the directory may lie, the best place first; what must be private there; whether somebody has named it."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        folder = Path(named).absolute() / key
        yield folder, [folder], True
    if named := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(named).absolute() / "mcsim" / key
        yield folder, [folder], True
    else:
        with suppress(RuntimeError):  # HOME is not set, and the system does not know the user
            folder = Path.home() / ".cache" / "mcsim" / key
            yield folder, [folder], False
    with suppress(OSError):  # there is no folder for temporary files
        root = Path(tempfile.gettempdir()) / f"mcsim-{os.geteuid()}"  # a name that others can guess, too
        yield root / key, [root, root / key], False


def _make_private(folder: Path) -> None:
    """Make a folder, if need be, that nobody else can write to. Raises OSError or ValueError if that is not so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not (stat.S_ISDIR(status.st_mode) and _is_private(status)):
        raise PermissionError(errno.EPERM, "is not this user's, or others may write there")


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cpu_name() -> str:
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_name())


@cache
def _say(words: str) -> None:
    """One line for the user, once; workers leave it to their parent."""
    if current_process().name == "MainProcess":
        print(f"mcsim: {words}", file=sys.stderr)


class KernelCache(NullCache):  # type: ignore[misc]  # numba has no types
    """The compiled code of one kernel, in place of numba's own cache: a file for each signature, written and renamed.

    A file begins with the SHA-256 of what it is for and of what it holds. One that is damaged, or another kernel's, is
    found before anything in it is unpickled or run; then the kernel is compiled anew.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """`function` closes over nothing: what it does depends on its file, and on the kernel sources."""
        source = Path(function.__code__.co_filename)
        self._name = f"{source.stem}.{function.__qualname__.replace('<locals>.', '')}"
        self._what = f"{_hash(source).hex()} {function.__qualname__} {function.__code__.co_firstlineno}"

    @property
    def cache_path(self) -> str | None:
        """The folder, for `stats` of numba."""
        folder = cache_directory()
        return None if folder is None else str(folder)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The code for this signature, None if there is none."""
        target.refresh()
        path, key = self._place(signature, target)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                private, content = _is_private(os.fstat(file.fileno())), file.read()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        if not private or content[:size] != hashlib.sha256(key + content[size:]).digest():
            _say(f"{path}: damaged, or not this user's; {self._name} is compiled anew")
            return None
        try:
            result = CompileResult._rebuild(target, *pickle.loads(content[size:]))
        except (AttributeError, ImportError):  # a type that is named there is gone: of a kernel outside of this package
            return None
        # Types of one name need not be the same.
        return result if tuple(result.signature.args) == tuple(signature) else None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code, if there is a place and room for it."""
        path, key = self._place(signature, result.target_context)
        if path is None or result.library.has_dynamic_globals:
            return
        code = dumps(result._reduce())
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(key + code).digest() + code)
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            _say(f"{path.parent}: {error.strerror}; compiled kernels are not kept")

    def _place(self, signature: Any, target: Any) -> tuple[Path | None, bytes]:
        """The file for this signature, None if nothing is kept; and what the file is for."""
        folder = cache_directory()
        key = f"{self._what} {signature} {target.codegen().magic_tuple()}".encode()
        return folder and folder / f"{self._name}.{hashlib.sha256(key).hexdigest()[:16]}", key
