"""How kernels are compiled with what Numba calls its own: sooner by far, and to faster code.

`missing` says what of it a release of Numba lacks. Then `compile` does without this module, with the same results.
"""

import copy
import inspect
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, Flags
from numba.core.cpu import CPUContext, CPUTargetOptions

from mcsim.kernels.jit.reference import by_reference

# Without `_nrt`, Numba's memory management, no references are counted: doing that for each array of each argument takes
# longer than most kernels. So a kernel cannot make arrays, nor copy one slice to another.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "forceinline": False,  # said outright: what an inlined kernel calls first would inherit it
}


def missing() -> list[str]:
    """What this module takes from Numba and this release does not have, or not with these parameters."""
    dispatcher: Any = numba.njit(missing)  # never compiled
    target = dispatcher.targetctx
    library = JITCodeLibrary(target.codegen(), "probe")
    attributes = (
        (Linkage, "linkonce_odr"),
        (CPUTargetOptions, " ".join(OPTIONS)),
        (Flags, "no_compile no_cpython_wrapper"),
        (CompileResult, "signature entry_point fndesc library"),
        (target, "cached_internal_func"),
        (library, "_final_module _finalized _optimize_final_module _finalize_final_module"),
        (dispatcher, "overloads"),
    )
    calls = (  # and how many arguments each is given
        (Compiler, "__init__", 8),
        (Compiler, "compile_extra", 2),
        (JITCodeLibrary, "enable_object_caching", 1),
        (JITCodeLibrary, "add_ir_module", 2),
        (CPUContext, "get_function", 4),
        (CPUContext, "insert_user_function", 4),
        (dispatcher, "get_call_template", 2),
        (dispatcher, "get_overload", 1),
        (dispatcher, "add_overload", 1),
    )
    lacking = [
        f"{_name(owner)}.{each}" for owner, names in attributes for each in names.split() if not has(owner, each)
    ]
    return lacking + [f"{_name(owner)}.{each}" for owner, each, count in calls if not has(owner, each, count)]


def has(owner: Any, name: str, arguments: int | None = None) -> bool:
    """Whether there is such an attribute; with `arguments`, whether it can be called with so many."""
    found = getattr(owner, name, None)
    if arguments is None:
        return hasattr(owner, name)
    try:
        inspect.signature(found).bind(*range(arguments))  # type: ignore[arg-type]  # TypeError if it is None
    except (TypeError, ValueError):
        return False
    return True


def _name(owner: Any) -> str:
    return str(getattr(owner, "__name__", type(owner).__name__))


class _Context(CPUContext):  # type: ignore[misc]  # numba has no types
    """Compiles array[index] without the question whether a negative index counts from the end: none does in kernels.

    It takes three instructions of each access, in the chain of loads that a walk along a list waits for; Numba itself
    does not ask it of an unsigned index. One that is negative by mistake is found under NUMBA_BOUNDSCHECK=1.
    """

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """What compiles `fn` for the types of `sig`: of an access to an array, that for unsigned indices."""
        args, operation = sig.args, getattr(fn, "typing_key", fn)
        if operation not in (operator.getitem, operator.setitem) or not isinstance(args[0], numba.types.Buffer):
            return super().get_function(fn, sig, _firstcall)
        index, unsigned = args[1], _unsigned(args[1])
        compile_it = super().get_function(operation, sig.replace(args=(args[0], unsigned, *args[2:])), _firstcall)

        def cast_and_compile(builder: Any, values: Any) -> Any:
            place = self.cast(builder, values[1], index, unsigned)
            return compile_it(builder, (values[0], place, *values[2:]))

        return cast_and_compile


def _unsigned(index: Any) -> Any:
    if isinstance(index, numba.types.BaseTuple):
        parts: Any = index  # its stub knows of no parts
        return numba.types.BaseTuple.from_types(tuple(map(_unsigned, parts.types)))
    return numba.types.uintp if isinstance(index, numba.types.Integer) else index


@cache
def _context(target: Any) -> _Context:
    """Numba's context, seen as ours; others in this process go on with theirs, and share no inner function with it."""
    context: _Context = copy.copy(target)
    context.__class__ = _Context
    context.cached_internal_func = {}
    return context


class _WholeLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """The code of a kernel that Python calls, with all that it calls: nobody else sees the inner functions.

    Only then may LLVM change how they are called.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = "internal"
        super()._optimize_final_module()


class _WholeCompiler(Compiler):  # type: ignore[misc]  # numba has no types
    """Compiles a kernel that Python calls."""

    def __init__(self, typing: Any, target: Any, _: Any, args: Any, *rest: Any) -> None:
        whole = _WholeLibrary(target.codegen(), "kernel")
        whole.enable_object_caching()
        self._called_with = args
        super().__init__(typing, _context(target), whole, tuple(map(by_reference, args)), *rest)

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        """Make the code known under the types of what Python hands over."""
        result = super().compile_extra(function)
        return result._replace(signature=result.signature.replace(args=self._called_with))


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """The code of a kernel that another kernel calls: linked into that one, and optimised there, once."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _SeldomLibrary(_LinkedLibrary):
    """The same for a kernel that is never put into its callers."""

    def add_ir_module(self, module: Any) -> None:
        """Take what was made of the kernel."""
        for function in module.functions:
            if not function.is_declaration:
                function.attributes.add("noinline")
                function.attributes.add("cold")
        super().add_ir_module(module)


class _LinkedCompiler(Compiler):  # type: ignore[misc]  # numba has no types
    """Compiles a kernel for calls from other kernels only, to code that is linked but never run by itself.

    Numba would optimise and translate each kernel on its own, with all that it calls, again at each level of calls:
    three times as long in all.
    """

    LIBRARY: type[JITCodeLibrary] = _LinkedLibrary

    def __init__(self, typing: Any, target: Any, _: Any, args: Any, result: Any, flags: Any, local: Any) -> None:
        flags.no_compile = True
        flags.no_cpython_wrapper = True
        library = self.LIBRARY(target.codegen(), "kernel")
        super().__init__(typing, _context(target), library, args, result, flags, local)

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        """Make the code known to its callers. Its key is the entry point; there is none, so any object will do."""
        result = super().compile_extra(function)._replace(entry_point=object())
        self.state.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


class _SeldomCompiler(_LinkedCompiler):
    """The same for a kernel that is never put into its callers."""

    LIBRARY = _SeldomLibrary


def _plain_type(kind: Any) -> Any:
    """The type that a kernel is compiled for when another one passes `kind`: not a copy for each literal and width."""
    kind = numba.types.unliteral(kind)
    if kind in numba.types.signed_domain:
        return numba.types.int64
    return by_reference(kind)


def compiled(function: Callable[..., Any], *, inlined: bool = False, seldom: bool = False) -> Any:
    """A kernel that is compiled when it is called: as a whole from Python, to be linked from other kernels."""
    called_from_python: Any = numba.njit(pipeline_class=_WholeCompiler, **OPTIONS)(function)
    inner = _SeldomCompiler if seldom else _LinkedCompiler
    called_from_kernels: Any = numba.njit(pipeline_class=inner, **(OPTIONS | {"forceinline": inlined}))(function)

    def get_call_template(args: Any, keywords: Any) -> Any:
        plain = {name: _plain_type(kind) for name, kind in keywords.items()}
        return called_from_kernels.get_call_template(tuple(_plain_type(kind) for kind in args), plain)

    def add_overload(result: Any) -> None:
        called_from_kernels.overloads[tuple(result.signature.args)] = result

    called_from_kernels.add_overload = add_overload
    called_from_python.get_call_template = get_call_template
    called_from_python.get_overload = called_from_kernels.get_overload
    return called_from_python
