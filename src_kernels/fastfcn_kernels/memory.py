"""Addresses and pointers: how kernels reach what a frame points at."""

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfcn_kernels.compilation import helper

LINE_BYTES = 64
"""Bytes of a cache line."""


def _pointers_to(kind: Any) -> Any:
    """Make the intrinsic that takes an address for a pointer to ``kind``."""

    @intrinsic
    def pointer_at(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return pointer_at


int32s = _pointers_to(types.int32)
int64s = _pointers_to(types.int64)
float64s = _pointers_to(types.float64)
bools = _pointers_to(types.boolean)


@intrinsic
def reals(typingctx: Any, address: Any, like: Any) -> Any:
    """Return a pointer to ``address``, of the kind of ``like``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return like(types.int64, like), codegen


@intrinsic
def advance(typingctx: Any, pointer: Any, elements: Any) -> Any:
    """Return the pointer that lies ``elements`` further on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


_BYTE = ir.IntType(8).as_pointer()


def _emit_request(builder: Any, at: Any, nearness: int) -> None:
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [at, number(0), number(nearness), number(1)])


def ask_for(builder: Any, pointer: Any) -> None:
    """Emit a request for a cache line, to come to the second-level cache."""
    _emit_request(builder, builder.bitcast(pointer, _BYTE), 2)


@intrinsic
def prefetch(typingctx: Any, place: Any) -> Any:
    """Ask for the cache line at a pointer or address; nothing happens where there is no memory."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        is_pointer = isinstance(place, types.CPointer)
        at = builder.bitcast(args[0], _BYTE) if is_pointer else builder.inttoptr(args[0], _BYTE)
        _emit_request(builder, at, 3)
        return context.get_dummy_value()

    return types.void(place), codegen


@helper
def copy_elements(source, target, size):
    """Copy ``size`` elements, in ascending order."""
    values, copies = carray(source, (size,)), carray(target, (size,))
    for j in range(size):
        copies[j] = values[j]
