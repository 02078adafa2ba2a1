"""The way in: rows of the data set become rows of the workspace.

Data stays in its own type, order and strides, mapped from disk or not. It is passed as an address,
so that one compilation serves every layout.
"""

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native, call, helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.flags import DENSE, set_flag
from fastfcn_kernels.masks import are_dense, mask_row, mask_whole_row, words_of
from fastfcn_kernels.memory import LINE_BYTES, advance, int64s, prefetch, reals

AHEAD = 4
"""Rows before its turn that a sample is asked for from memory."""
DENSE_ROWS = 8
"""Rows from which on those after them are taken to be dense where all so far together are."""
LABEL_BYTES = 8
"""Of a label, int64."""
EARLY_BYTES = 131_072
"""Bytes of the next batch that a thread asks for while it works on this one."""


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


def _converter(read: Any, size: int, name: str) -> Native:
    def convert(row_at, address, stride, n, scale, shift):
        row = carray(row_at, (n,))
        if stride == size:  # a constant stride lets the compiler vectorise
            for j in range(n):
                row[j] = like(scale, read(address, j)) * scale + shift
        else:
            for j in range(n):
                row[j] = like(scale, read(address + j * stride, 0)) * scale + shift

    convert.__name__ = convert.__qualname__ = f"convert_{name}"
    return Native(convert, "pnnnrr")


CONVERT = {
    "uint8": _converter(_read_uint8, 1, "uint8"),
    "float32": _converter(_read_float32, 4, "float32"),
    "float64": _converter(_read_float64, 8, "float64"),
}
"""Types that are read as they lie; for each the kernel that reads n values from an address on,
``stride`` bytes apart: row = value·scale + shift."""


@helper
def sample_of(frame, row):
    """Return the sample that is row ``row`` of the epoch."""
    if frame[t.ORDER] == 0:
        return row
    return carray(int64s(frame[t.ORDER]), (row + 1,))[row]


@helper
def _ask_for_row(frame, sample, size):
    """Ask for a sample from memory, ``size`` bytes, and for its label: the loss reads it soon."""
    address = frame[t.X] + sample * frame[t.X_ROW_STRIDE]
    for offset in range(0, size, LINE_BYTES):
        prefetch(address + offset)
    if frame[t.LABELS] != 0:
        prefetch(frame[t.LABELS] + LABEL_BYTES * sample)


@helper
def ask_for_part(frame, first, i0, i1, part, parts):
    """Ask for a part of some rows of the epoch, those of a batch to come, from memory.

    The samples come in no order that the processor could foresee, and memory is slower than the
    cores gather: asked for between products, they are there when their turn comes.

    Parameters
    ----------
    frame : int64
        X, ORDER, N_ORDER                                                 [in]
    first, i0, i1 : int
        The batch's first row in the epoch; rows of the batch. Those beyond the epoch, or beyond
        EARLY_BYTES, are left out.
    part, parts : int
        Which part of how many.
    """
    stage = carray(int64s(frame[t.STAGES]), (t.COLUMNS,))
    size = stage[t.IN] * frame[t.X_COLUMN_STRIDE]
    if frame[t.ORDER] == 0 or frame[t.X_INDPTR] != 0 or size <= 0:
        return
    i1 = max(i0, min(i1, frame[t.N_ORDER] - first, i0 + EARLY_BYTES // size))
    order = carray(int64s(frame[t.ORDER]), (first + i1,))
    for i in range(i0 + (i1 - i0) * part // parts, i0 + (i1 - i0) * (part + 1) // parts):
        _ask_for_row(frame, order[first + i], size)


@native("fpnnnnn")
def gather_rows(frame_at, work, thread, first, i0, i1, target):
    """Read rows of an epoch: row i of the batch = x[sample]·scale + shift.

    Parameters
    ----------
    frame_at : pointer to int64
        X and AFFINE; ORDER gives the sample of each row of the epoch [in]; where SKIPS is not 0,
        MASKS of the rows, and the thread's flag whether they are dense   [out]
    work : pointer
        The first stage's input in it                                     [out]
    thread : int
        Whose flag.
    first : int
        The batch's first row in the epoch.
    i0, i1 : int
        Rows of the batch.
    target : int
        Where row i0 goes in the input.

    Notes
    -----
    A value is converted to the network's precision first, then scaled. Once some rows are dense
    together, zeros of the others are not looked for.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = carray(int64s(frame[t.STAGES]), (t.COLUMNS,))
    n, ld = stage[t.IN], stage[t.LD_IN]
    rows = advance(work, stage[t.INPUT] + target * ld)
    affine = carray(reals(frame[t.AFFINE], work), (2,))
    scale, shift = affine[0], affine[1]
    order = carray(int64s(frame[t.ORDER]), (first + i1,))
    size = n * frame[t.X_COLUMN_STRIDE]
    words, looks, count = words_of(n), True, 0
    masks = advance(int64s(frame[t.MASKS]), target * words)
    for i in range(i0, i1):
        sample = order[first + i] if frame[t.ORDER] != 0 else first + i
        address = frame[t.X] + sample * frame[t.X_ROW_STRIDE]
        if frame[t.ORDER] != 0 and i + AHEAD < i1:
            _ask_for_row(frame, order[first + i + AHEAD], size)
        row = advance(rows, (i - i0) * ld)
        call(frame[t.CONVERT], (row, address, frame[t.X_COLUMN_STRIDE], n, scale, shift))
        if frame[t.SKIPS] != 0:
            row_masks = advance(masks, (i - i0) * words)
            if looks:  # while the row is in the first-level cache
                count += mask_row(row, n, row_masks)
                seen = i + 1 - i0
                looks = seen < DENSE_ROWS or not are_dense(count, seen * n)
            else:
                mask_whole_row(n, row_masks)
    set_flag(frame, thread, DENSE, not looks or are_dense(count, (i1 - i0) * n))
