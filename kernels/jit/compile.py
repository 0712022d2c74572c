"""The one place for Numba policy: how kernels are compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from llvmlite.binding import Linkage
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, lower_cast, lower_getattr_generic, models, register_model, unbox
from numba.np import arrayobj

from mcsim.kernels.jit.cache import KernelCache, check_source

config: Any = numba.core.config  # its attributes are set at run time


# Without `_nrt`, Numba's memory management, no references are counted: doing that for each array of each argument takes
# longer than most kernels. So a kernel cannot make arrays, nor copy one slice to another.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "forceinline": False,  # said outright: what an inlined kernel calls first would inherit it
}


class Reference(numba.types.Type):  # type: ignore[misc]  # numba has no types
    """A named tuple of arrays and numbers, handed to a kernel as one pointer.

    Numba hands over each element of a tuple by itself, an array as seven words: the state of a boot is 300 of them, and
    one call took 100 ns. Kernels see no difference: they read the same elements, and never change what is an element.
    """

    def __init__(self, record: Any) -> None:
        """To a named tuple of the type `record`."""
        self.record = record
        super().__init__(name=f"Reference({record})")

    def element(self, name: str) -> Any:
        """The type of an element; of a tuple, that of a reference to it."""
        return _by_reference(self.record[self.record.fields.index(name)])


def _by_reference(kind: Any) -> Any:
    return Reference(kind) if isinstance(kind, numba.types.BaseNamedTuple) else kind


@register_model(Reference)
class _ReferenceModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no types
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, manager.lookup(kind.record).get_value_type().as_pointer())


@infer_getattr
class _ReferenceElements(AttributeTemplate):  # type: ignore[misc]  # numba has no types
    key = Reference

    def generic_resolve(self, reference: Any, name: str) -> Any:  # type: ignore[override]
        return reference.element(name) if name in reference.record.fields else None


@lower_getattr_generic(Reference)
def _read_element(_: Any, builder: Any, reference: Any, pointer: Any, name: str) -> Any:
    zero, place = _int32(0), _int32(reference.record.fields.index(name))
    element = builder.gep(pointer, [zero, place], inbounds=True)
    return element if isinstance(reference.element(name), Reference) else _load(builder, element)


def _load(builder: Any, pointer: Any) -> Any:
    """Load a value member by member, so that what is not needed is not loaded; nobody ever changes it."""
    kind = pointer.type.pointee
    if not isinstance(kind, ir.Aggregate):
        value = builder.load(pointer)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value
    value = kind(ir.Undefined)
    for place in range(len(kind)):
        member = builder.gep(pointer, [_int32(0), _int32(place)], inbounds=True)
        value = builder.insert_value(value, _load(builder, member), place)
    return value


def _int32(value: int) -> Any:
    return ir.Constant(ir.IntType(32), value)


@lower_cast(numba.types.NamedTuple, Reference)
@lower_cast(numba.types.NamedUniTuple, Reference)
def _point_at(_: Any, builder: Any, __: Any, ___: Any, value: Any) -> Any:
    return cgutils.alloca_once_value(builder, value)


@unbox(Reference)
def _unbox(reference: Any, object_: Any, context: Any) -> Any:
    native = context.unbox(reference.record, object_)
    pointer = cgutils.alloca_once_value(context.builder, native.value)
    return NativeValue(pointer, cleanup=native.cleanup, is_error=native.is_error)


@contextmanager
def _indices_from_the_start() -> Iterator[None]:
    """Compile array[index] without the question whether a negative index counts from the end: none does in kernels.

    It takes three instructions of each access, in the chain of loads that a walk along a list waits for. An index
    that is negative by mistake is found under NUMBA_BOUNDSCHECK=1.
    """
    usual = arrayobj.fix_integer_index

    def cast(context: Any, builder: Any, kind: Any, index: Any, _: Any) -> Any:
        return context.cast(builder, index, kind, numba.types.intp if kind.signed else numba.types.uintp)

    arrayobj.fix_integer_index = cast
    try:
        yield
    finally:
        arrayobj.fix_integer_index = usual


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
        super().__init__(typing, target, whole, tuple(map(_by_reference, args)), *rest)

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        """Make the code known under the types of what Python hands over."""
        with _indices_from_the_start():
            result = super().compile_extra(function)
        return result._replace(signature=result.signature.replace(args=self._called_with))


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
        with _indices_from_the_start():
            result = super().compile_extra(function)._replace(entry_point=object())
        self.state.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


class _SeldomCompiler(_LinkedCompiler):
    """The same for a kernel that is never put into its callers."""

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        result = super().compile_extra(function)
        compiled = result.library._final_module.get_function(result.fndesc.llvm_func_name)
        compiled.add_function_attribute("noinline")
        compiled.add_function_attribute("cold")
        return result


def _plain_type(kind: Any) -> Any:
    """The type that a kernel is compiled for when another one passes `kind`: not a copy for each literal and width."""
    kind = numba.types.unliteral(kind)
    if kind in numba.types.signed_domain:
        return numba.types.int64
    return _by_reference(kind)


def _compile(
    function: Callable[..., Any], compiler: type[Compiler] = _LinkedCompiler, **options: Any
) -> Callable[..., Any]:
    check_source(Path(function.__code__.co_filename))
    if config.DISABLE_JIT:
        return function
    called_from_python: Any = numba.njit(pipeline_class=_WholeCompiler, **OPTIONS)(function)
    if function.__closure__ is None:
        called_from_python._cache = KernelCache(function)
    called_from_kernels: Any = numba.njit(pipeline_class=compiler, **(OPTIONS | options))(function)

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
    """Compile `function` as every kernel is compiled: no Python objects, no GIL, no allocation, kept on disk.

    Under NUMBA_DISABLE_JIT=1 the function stays plain Python and gives the same results.
    """
    return _compile(function)


def inlined_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for the steps of a hot path: put into the caller."""
    return _compile(function, forceinline=True)


def seldom_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for what a hot path seldom needs: not put into the caller, where it would take registers and cache."""
    return _compile(function, _SeldomCompiler)
