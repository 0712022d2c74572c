"""Where compiled kernels are kept: a folder whose name holds all that they depend on, and that is this user's alone."""

import errno
import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from platformdirs import user_cache_dir

PLAIN = "MCSIM_PLAIN_NUMBA"  # an environment variable: 1 keeps to what is public of Numba (`compile`)
KERNELS = Path(__file__).parents[1]
config: Any = numba.config  # its attributes are set at run time


@cache
def _sources() -> dict[Path, bytes]:
    """The SHA-256 of every kernel source file, in name order, as they were when this process began to load them."""
    return {path: hash_of(path) for path in sorted(KERNELS.rglob("*.py"))}


def hash_of(path: Path) -> bytes:
    """SHA-256 of a file."""
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
    if path.is_relative_to(KERNELS) and hash_of(path) != _sources().get(path):
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
        os.environ.get(PLAIN, ""),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    refused = ""
    for folder, is_named in _places():
        try:
            _make_private(folder / key)
            tempfile.TemporaryFile(dir=folder / key).close()
        except (OSError, ValueError) as error:
            if is_named or os.path.lexists(folder / key):
                refused += f"{folder / key}: {getattr(error, 'strerror', None) or error}; "
            continue
        if refused:
            say(f"{refused}compiled kernels are kept in {folder / key}")
        return folder / key
    say(f"{refused}compiled kernels are not kept, so that each command compiles them (NUMBA_CACHE_DIR names a folder)")
    return None


def _places() -> Iterator[tuple[Path, bool]]:
    """Where the directory may lie, the best place first; whether somebody has named it.

    None in the common folder for temporary files: what is to be found there again has a name that others can take.
    """
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named).absolute(), True
    with suppress(RuntimeError):  # HOME is not set, and the system does not know the user
        yield Path(user_cache_dir("mcsim")), bool(os.environ.get("XDG_CACHE_HOME"))


def _make_private(folder: Path) -> None:
    """Make a folder, if need be, that nobody else can write to. Raises OSError or ValueError if that is not so."""
    if not folder.is_absolute():  # older releases of platformdirs let ~ stand where there is no HOME
        raise ValueError("is no absolute path")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not (stat.S_ISDIR(status.st_mode) and is_private(status)):
        raise PermissionError(errno.EPERM, "is not this user's, or others may write there")


def is_private(status: os.stat_result) -> bool:
    """Whether a file is this user's, and nobody else can write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cpu_name() -> str:
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_name())


@cache
def say(words: str) -> None:
    """One line for the user, once; workers leave it to their parent."""
    if current_process().name == "MainProcess":
        print(f"mcsim: {words}", file=sys.stderr)
