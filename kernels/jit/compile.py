"""The one place for Numba policy: how kernels are compiled."""

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

from mcsim.kernels.jit.cache import PLAIN, check_source, say
from mcsim.kernels.jit.reference import take_by_reference

config: Any = numba.config  # its attributes are set at run time


@cache
def _compiler() -> Any:
    """The module that compiles kernels with what Numba calls its own; None where that is not wanted, or not there."""
    slow = "kernels are compiled by its public part alone, which takes minutes; results are the same"
    if os.environ.get(PLAIN, "0") not in ("", "0"):
        say(f"{PLAIN} is set: {slow}")
        return None
    return _private("private", slow)


@cache
def _keeper() -> Any:
    """The module that keeps them on disk; None where that is not there."""
    return _private("keep", "compiled kernels are not kept, so that each command compiles them")


def _private(name: str, without_it: str) -> Any:
    """A module that uses what Numba calls its own; None, with a word to the user, where that is missing."""
    try:
        module = import_module(f"mcsim.kernels.jit.{name}")
        missing = module.missing()
    except (ImportError, AttributeError, TypeError) as error:
        missing = [str(error)]
    if not missing:
        return module
    say(f"numba {numba.__version__} lacks what mcsim uses of it ({', '.join(missing)}): {without_it}")
    return None


def _plainly_compiled(function: Callable[..., Any]) -> Any:
    """The same kernel by public Numba alone: it takes several times as long to compile, and longer to run."""
    take_by_reference(function)
    return numba.njit(nogil=True, error_model="numpy")(function)


def _compile(function: Callable[..., Any], **how: bool) -> Callable[..., Any]:
    check_source(Path(function.__code__.co_filename))
    if config.DISABLE_JIT:
        return function
    compiler, keeper = _compiler(), _keeper()
    compiled = compiler.compiled(function, **how) if compiler else _plainly_compiled(function)
    if keeper and function.__closure__ is None:
        compiled._cache = keeper.KernelCache(function)
    kernel_function: Callable[..., Any] = compiled
    return kernel_function


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as every kernel is compiled: no Python objects, no GIL, no allocation, kept on disk.

    Under NUMBA_DISABLE_JIT=1 the function stays plain Python and gives the same results.
    """
    return _compile(function)


def inlined_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for the steps of a hot path: put into the caller."""
    return _compile(function, inlined=True)


def seldom_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for what a hot path seldom needs: not put into the caller, where it would take registers and cache."""
    return _compile(function, seldom=True)
