"""The one place for Numba policy: how kernels are compiled and where the compiled code is kept."""

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np


def source_hash() -> str:
    """SHA-256 (hex) over the text of every kernel source file, in name order."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_directory() -> Path:
    """The directory of the compiled kernels.

    Numba's own cache does not see an edit in a callee of another module, so the directory's name holds all that the
    machine code depends on: kernel sources, numba, numpy, interpreter, CPU.
    """
    parts = (
        source_hash(),
        numba.__version__,
        np.__version__,
        platform.python_version(),
        platform.machine(),
        numba.core.config.CPU_NAME or _cpu_name(),
        str(numba.core.config.BOUNDSCHECK),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcsim"
    try:
        (root / key).mkdir(parents=True, exist_ok=True)
        if os.access(root / key, os.W_OK):
            return root / key
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"mcsim-{os.getuid()}" / key


def _cpu_name() -> str:
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_name())


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.core.config.CACHE_DIR = str(cache_directory())


OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as every kernel is compiled: no Python objects, no GIL, no allocation, cached on disk.

    Without `_nrt`, Numba's memory management, no references are counted: doing that for each array of each
    argument takes longer than most kernels. So a kernel cannot make arrays, nor copy one slice to another.
    Under NUMBA_DISABLE_JIT=1 the function stays plain Python and gives the same results.
    """
    compiled: Callable[..., Any] = numba.njit(**OPTIONS)(function)
    return compiled


def inlined_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for the steps of a hot path: put into the caller, as a call with all its arrays takes 12 ns."""
    compiled: Callable[..., Any] = numba.njit(forceinline=True, **OPTIONS)(function)
    return compiled
