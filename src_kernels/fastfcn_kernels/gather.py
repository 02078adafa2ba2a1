"""The way in: rows of the data set become rows of the workspace.

Data stays in its own type, order and strides, mapped from disk or not. It is passed as an address,
so that one compilation serves every layout.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastfcn_kernels.compilation import helper, variant
from fastfcn_kernels.elementary import like

UINT8, FLOAT32, FLOAT64 = 0, 1, 2
"""Codes of the types that are read as they lie."""

# The source: one int64 vector.
ADDRESS, ROW_STRIDE, COLUMN_STRIDE, TYPE = 0, 1, 2, 3
"""Address of element (0, 0), strides in bytes, code of the type."""


def _reader(stored: Any) -> Any:
    @intrinsic
    def read(typingctx: Any, address: Any, element: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(stored)
            base = builder.inttoptr(args[0], ir.PointerType(kind))
            value = builder.load(builder.gep(base, [args[1]]), typ=kind)
            value.align = 1  # a view into a record array may lie at any address
            # Data does not change while it is trained on, so no store can alias it: without this
            # promise the loop would not be vectorised.
            value.set_metadata("invariant.load", builder.module.add_metadata([]))
            return value

        return stored(types.int64, types.intp), codegen

    return read


_read_uint8 = _reader(types.uint8)
_read_float32 = _reader(types.float32)
_read_float64 = _reader(types.float64)


def _converter(read: Any, size: int, name: str) -> Any:
    @variant(f"convert_{name}")
    def convert(row, address, stride, n, scale, shift):
        if stride == size:  # a constant stride lets the compiler vectorise
            for j in range(n):
                row[j] = like(scale, read(address, j)) * scale + shift
        else:
            for j in range(n):
                row[j] = like(scale, read(address + j * stride, 0)) * scale + shift

    return convert


_convert_uint8 = _converter(_read_uint8, 1, "uint8")
_convert_float32 = _converter(_read_float32, 4, "float32")
_convert_float64 = _converter(_read_float64, 8, "float64")


@helper
def gather_row(source, sample, row, n, scale, shift):
    """Read one sample: row[:n] = x[sample]·scale + shift.

    Parameters
    ----------
    source : int64 (4,)
        ADDRESS, ROW_STRIDE, COLUMN_STRIDE, TYPE of x                     [in]
    sample : int
        Row of x.
    row : real (≥ n,)                                                     [out]
    n : int
        Features.
    scale, shift : real
        In the precision of row; the value is converted first, then scaled.
    """
    address = source[ADDRESS] + sample * source[ROW_STRIDE]
    stride = source[COLUMN_STRIDE]
    if source[TYPE] == UINT8:
        _convert_uint8(row, address, stride, n, scale, shift)
    elif source[TYPE] == FLOAT32:
        _convert_float32(row, address, stride, n, scale, shift)
    else:
        _convert_float64(row, address, stride, n, scale, shift)
