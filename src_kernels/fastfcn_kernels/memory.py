"""Addresses and pointers: how kernels reach what a frame points at."""

from typing import Any

from numba import types
from numba.extending import intrinsic


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
