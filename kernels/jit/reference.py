"""Named tuples that kernels take by one pointer: what is made of Numba's documented extension interface alone."""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_cast,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)


class Reference(numba.types.Type):  # type: ignore[misc]  # numba has no types
    """A named tuple of arrays and numbers, handed to a kernel as one pointer.

    Numba hands over each element of a tuple by itself, an array as seven words: the state of a boot is 300 of them, and
    one call took 100 ns. Kernels see no difference: they read the same elements, and never change what is an element.
    """

    def __init__(self, record: Any) -> None:
        """To a named tuple of the type `record`."""
        self.record = record
        super().__init__(name=f"Reference({record})")

    @property
    def key(self) -> Any:
        """What makes two of them the same: the class of the tuple, too."""
        return self.record

    def element(self, name: str) -> Any:
        """The type of an element; of a tuple, that of a reference to it."""
        return by_reference(self.record[self.record.fields.index(name)])


def by_reference(kind: Any) -> Any:
    """The type that a kernel takes in place of `kind`: of a named tuple, that of a reference to it."""
    return Reference(kind) if isinstance(kind, numba.types.BaseNamedTuple) else kind


def take_by_reference(function: Callable[..., Any]) -> None:
    """Let Python hand over the named tuples that `function` takes, as its annotations say, by reference."""
    for kind in function.__annotations__.values():
        if isinstance(kind, type) and issubclass(kind, tuple):
            typeof_impl.register(kind)(lambda value, purpose: Reference(_record(value, purpose)))


def _record(value: Any, purpose: Any) -> Any:
    if not hasattr(value, "_fields"):
        return typeof_impl(value, purpose)
    return numba.types.BaseTuple.from_types(tuple(_record(each, purpose) for each in value), type(value))


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
def _read_element(context: Any, builder: Any, reference: Any, pointer: Any, name: str) -> Any:
    zero, place = _int32(0), _int32(reference.record.fields.index(name))
    element, kind = builder.gep(pointer, [zero, place], inbounds=True), reference.element(name)
    return element if isinstance(kind, Reference) else _borrowed(context, builder, kind, _load(builder, element))


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


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The value without an owner, where references are counted: the caller of the kernel holds the tuple."""
    if not (context.enable_nrt and isinstance(kind, numba.types.Array)):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


def _int32(value: int) -> Any:
    return ir.Constant(ir.IntType(32), value)


@lower_cast(numba.types.NamedTuple, Reference)
@lower_cast(numba.types.NamedUniTuple, Reference)
def _point_at(_: Any, builder: Any, __: Any, ___: Any, value: Any) -> Any:
    return cgutils.alloca_once_value(builder, value)


@unbox(Reference)
def _unbox(reference: Any, object_: Any, python: Any) -> Any:
    native = python.unbox(reference.record, object_)
    pointer = cgutils.alloca_once_value(python.builder, native.value)

    def cleanup() -> None:
        if native.cleanup is not None:
            native.cleanup()
        if (
            python.context.enable_nrt
        ):  # Numba gives back what it counts of an argument, but does not look behind a pointer
            python.context.nrt.decref(python.builder, reference.record, native.value)

    return NativeValue(pointer, cleanup=cleanup, is_error=native.is_error)
