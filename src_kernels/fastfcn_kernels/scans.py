"""Passes over memory, a vector at a time: what is not zero, what is not finite, a transpose."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfcn_kernels.simd import VECTOR_BYTES, splat


def _compressed(builder: Any, values: Any, mask: Any) -> Any:
    """Emit the values under a mask, moved together to the front."""
    kind, bits = values.type, mask.type
    compress = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind, bits, kind]),
        f"llvm.experimental.vector.compress.v{kind.count}i{kind.element.width}",
    )
    return builder.call(compress, [values, mask, ir.Constant(kind, ir.Undefined)])


def _count_ones(builder: Any, mask: Any, index: Any) -> Any:
    """Emit how many bits of a mask are set, as an ``index``."""
    word = ir.IntType(mask.type.count)
    popcount = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(word, [word]), f"llvm.ctpop.i{word.width}"
    )
    return builder.zext(builder.call(popcount, [builder.bitcast(mask, word)]), index)


GROUP = 16
"""Columns that are looked at at once, and rows that are listed at once: a bit each."""


@intrinsic
def nonzero_columns(
    typingctx: Any, x: Any, ld: Any, rows: Any, columns: Any, out: Any, bits: Any, ldb: Any
) -> Any:
    """List the columns in which some row is not zero; return how many they are.

    Parameters
    ----------
    x, ld, rows : pointer, int, int
        (rows, columns), row stride ld; read up to a whole group          [in]
    columns : int
        Columns.
    out : pointer to int32
        The list, with room for a group more than it gets                 [out]
    bits, ldb : pointer to int16, int
        (groups, rows), row stride ldb: a bit for each column of a group that is not zero in a row
                                                                          [out]

    Notes
    -----
    -0 counts as not zero, which costs a product and changes nothing.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, stride, row_count, end, target, notes, note_stride = args
        size = x.dtype.bitwidth
        index, word, short = end.type, ir.IntType(32), ir.IntType(GROUP)
        words, places = ir.VectorType(ir.IntType(size), GROUP), ir.VectorType(word, GROUP)
        entry = builder.block
        head, column, row, each, filled, done = (
            builder.append_basic_block(f"nonzero.{name}")
            for name in ("head", "column", "row", "each", "filled", "done")
        )
        builder.branch(head)
        builder.position_at_end(head)
        j, found, note = (builder.phi(index) for _ in range(3))
        builder.cbranch(builder.icmp_signed("<", j, end), column, done)
        builder.position_at_end(column)
        at_column, at_note = builder.gep(base, [j]), builder.gep(notes, [note])
        steps = ir.Constant(places, list(range(GROUP)))
        here = builder.add(splat(builder, builder.trunc(j, word), places), steps)
        inside = builder.icmp_signed("<", here, splat(builder, builder.trunc(end, word), places))
        builder.branch(row)
        builder.position_at_end(row)
        i, some = builder.phi(index), builder.phi(short)
        builder.cbranch(builder.icmp_signed("<", i, row_count), each, filled)
        builder.position_at_end(each)
        address = builder.gep(at_column, [builder.mul(i, stride)])
        value = builder.load(builder.bitcast(address, words.as_pointer()), typ=words)
        value.align = size // 8
        counts = builder.icmp_unsigned("!=", value, ir.Constant(words, None))
        counted = builder.bitcast(builder.and_(counts, inside), short)
        builder.store(counted, builder.gep(at_note, [i]))
        for phi, start, then in (
            (i, index(0), builder.add(i, index(1))),
            (some, short(0), builder.or_(some, counted)),
        ):
            phi.add_incoming(start, column)
            phi.add_incoming(then, each)
        builder.branch(row)
        builder.position_at_end(filled)
        mask = builder.bitcast(some, ir.VectorType(ir.IntType(1), GROUP))
        packed = _compressed(builder, here, mask)
        to = builder.bitcast(builder.gep(target, [found]), places.as_pointer())
        builder.store(packed, to).align = 4
        more = _count_ones(builder, mask, index)
        for phi, start, then in (
            (j, index(0), builder.add(j, index(GROUP))),
            (found, index(0), builder.add(found, more)),
            (note, index(0), builder.add(note, note_stride)),
        ):
            phi.add_incoming(start, entry)
            phi.add_incoming(then, filled)
        builder.branch(head)
        builder.position_at_end(done)
        return found

    return n(x, n, n, n, out, bits, n), codegen


@intrinsic
def note_places(typingctx: Any, masks: Any, pattern: Any, first: Any, end: Any, out: Any) -> Any:
    """List the places of the masks that share a bit with a pattern; return how many they are.

    Parameters
    ----------
    masks : pointer to int16
        (GROUP,), all of which are read                                   [in]
    pattern : int
    first, end : int
        Place of the first mask; the place before which masks count.
    out : pointer to int32
        The list, with room for GROUP                                     [out]
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        short, long = ir.IntType(16), ir.IntType(32)
        shorts, places = ir.VectorType(short, GROUP), ir.VectorType(long, GROUP)
        value = builder.load(builder.bitcast(args[0], shorts.as_pointer()), typ=shorts)
        value.align = 2
        wanted = splat(builder, builder.trunc(args[1], short), shorts)
        shared = builder.and_(value, wanted)
        here = splat(builder, builder.trunc(args[2], long), places)
        here = builder.add(here, ir.Constant(places, list(range(GROUP))))
        inside = builder.icmp_signed(
            "<", here, splat(builder, builder.trunc(args[3], long), places)
        )
        mask = builder.icmp_unsigned("!=", shared, ir.Constant(shorts, None))
        mask = builder.and_(mask, inside)
        packed = _compressed(builder, here, mask)
        builder.store(packed, builder.bitcast(args[4], places.as_pointer())).align = 4
        return _count_ones(builder, mask, args[1].type)

    return n(masks, n, n, n, out), codegen


@intrinsic
def all_finite(typingctx: Any, values: Any, elements: Any) -> Any:
    """Tell whether no element is NaN or infinite; their number is a multiple of the vector."""
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, count = args
        bits = values.dtype.bitwidth
        exponent = 0x7F800000 if bits == 32 else 0x7FF << 52
        width = VECTOR_BYTES * 8 // bits
        word = ir.IntType(bits)
        words, index = ir.VectorType(word, width), count.type
        largest = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(words, [words, words]), f"llvm.umax.v{width}i{bits}"
        )
        over_lanes = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(word, [words]),
            f"llvm.vector.reduce.umax.v{width}i{bits}",
        )
        magnitude = ir.Constant(words, [2 ** (bits - 1) - 1] * width)
        most = cgutils.alloca_once_value(builder, ir.Constant(words, None))
        with cgutils.for_range_slice(builder, index(0), count, index(width)) as (j, _):
            address = builder.bitcast(builder.gep(base, [j]), words.as_pointer())
            value = builder.load(address, typ=words)
            value.align = bits // 8
            size = builder.and_(value, magnitude)
            builder.store(builder.call(largest, [builder.load(most, typ=words), size]), most)
        found = builder.call(over_lanes, [builder.load(most, typ=words)])
        return builder.icmp_unsigned("<", found, word(exponent))

    return types.boolean(values, n), codegen


@intrinsic
def transpose_block(typingctx: Any, target: Any, ldt: Any, source: Any, lds: Any) -> Any:
    """Transpose a square block, as wide as a vector, in registers: target[j, i] = source[i, j]."""
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = target.dtype.bitwidth // 8
        width = VECTOR_BYTES // size
        vector = ir.VectorType(context.get_value_type(target.dtype), width)
        index = args[1].type

        def row(base: Any, i: int, ld: Any) -> Any:
            address = builder.gep(base, [builder.mul(index(i), ld)])
            return builder.bitcast(address, vector.as_pointer())

        rows = [builder.load(row(args[2], i, args[3]), typ=vector) for i in range(width)]
        for value in rows:
            value.align = size
        # Swap the off-diagonal quarters of ever smaller squares.
        half = width // 2
        while half:
            kind = ir.VectorType(ir.IntType(32), width)
            low = [j if j & half == 0 else width + j - half for j in range(width)]
            high = [j + half if j & half == 0 else width + j for j in range(width)]
            for i in range(width):
                if i & half == 0:
                    above, below = rows[i], rows[i + half]
                    rows[i] = builder.shuffle_vector(above, below, ir.Constant(kind, low))
                    rows[i + half] = builder.shuffle_vector(above, below, ir.Constant(kind, high))
            half //= 2
        for i, value in enumerate(rows):
            builder.store(value, row(args[0], i, args[1])).align = size
        return context.get_dummy_value()

    return types.void(target, n, source, n), codegen
