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
from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

config: Any = numba.core.config  # its attributes are set at run time


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
        config.CPU_NAME or _cpu_name(),
        str(config.BOUNDSCHECK),
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
    config.CACHE_DIR = str(cache_directory())


# Without `_nrt`, Numba's memory management, no references are counted: doing that for each array of each argument takes
# longer than most kernels. So a kernel cannot make arrays, nor copy one slice to another.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
}


class _WholeLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """The code of a kernel that Python calls, with all that it calls: nobody else sees the inner functions.

    Only then may LLVM change how they are called. A state is some forty arrays, and Numba hands over seven words of
    each, most of which nobody reads; one call took 100 ns.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = "internal"
        super()._optimize_final_module()


class _WholeCompiler(Compiler):  # type: ignore[misc]  # numba has no types
    """Compiles a kernel that Python calls."""

    def __init__(self, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        whole = _WholeLibrary(target.codegen(), "kernel")
        whole.enable_object_caching()
        super().__init__(typing, target, whole, *rest)


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """The code of a kernel that another kernel calls: linked into that one, and optimised there, once."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _LinkedCompiler(Compiler):  # type: ignore[misc]  # numba has no types
    """Compiles a kernel for calls from other kernels only, to code that is linked but never run by itself.

    Numba would optimise and translate each kernel on its own, with all that it calls, again at each level of calls:
    three times as long in all.
    """

    def __init__(self, typing: Any, target: Any, _: Any, args: Any, result: Any, flags: Any, local: Any) -> None:
        flags.no_compile = True
        flags.no_cpython_wrapper = True
        super().__init__(typing, target, _LinkedLibrary(target.codegen(), "kernel"), args, result, flags, local)

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        """Make the code known to its callers. Its key is the entry point; there is none, so any object will do."""
        result = super().compile_extra(function)._replace(entry_point=object())
        self.state.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


def _plain_type(kind: Any) -> Any:
    """The type that a kernel is compiled for when another one passes `kind`: not a copy for each literal and width."""
    kind = numba.types.unliteral(kind)
    if kind in numba.types.signed_domain:
        return numba.types.int64
    return kind


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    if config.DISABLE_JIT:
        return function
    called_from_python: Any = numba.njit(cache=True, pipeline_class=_WholeCompiler, **options, **OPTIONS)(function)
    called_from_kernels: Any = numba.njit(pipeline_class=_LinkedCompiler, **options, **OPTIONS)(function)

    def get_call_template(args: Any, keywords: Any) -> Any:
        plain = {name: _plain_type(kind) for name, kind in keywords.items()}
        return called_from_kernels.get_call_template(tuple(_plain_type(kind) for kind in args), plain)

    def add_overload(result: Any) -> None:
        called_from_kernels.overloads[tuple(result.signature.args)] = result

    called_from_kernels.add_overload = add_overload
    called_from_python.get_call_template = get_call_template
    called_from_python.get_overload = called_from_kernels.get_overload
    kernel_function: Callable[..., Any] = called_from_python
    return kernel_function


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as every kernel is compiled: no Python objects, no GIL, no allocation, cached on disk.

    Under NUMBA_DISABLE_JIT=1 the function stays plain Python and gives the same results.
    """
    return _compile(function)


def inlined_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for the steps of a hot path: put into the caller, as a call with all its arrays takes 12 ns."""
    return _compile(function, forceinline=True)
