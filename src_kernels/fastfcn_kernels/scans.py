"""Passes over memory, a vector at a time: what is not zero, what is not finite, a transpose."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.extending import intrinsic

from fastfcn_kernels.simd import VECTOR_BYTES

GROUP = 16
"""Elements that are looked at at once."""


@intrinsic
def count_ones(typingctx: Any, word: Any) -> Any:
    """Return how many bits of an int64 are set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        name = f"llvm.ctpop.i{kind.width}"
        ones = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        return builder.call(ones, args)

    return word(word), codegen


@intrinsic
def nonzero_bits(typingctx: Any, x: Any, elements: Any) -> Any:
    """Return which of a constant number of elements are not zero, the first one's bit the lowest.

    -0 counts as not zero, which costs a product and changes nothing.
    """
    if not isinstance(elements, types.IntegerLiteral):
        raise errors.RequireLiteralValue("elements must be a constant")
    count = elements.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = x.dtype.bitwidth
        words = ir.VectorType(ir.IntType(size), count)
        value = builder.load(builder.bitcast(args[0], words.as_pointer()), typ=words)
        value.align = size // 8
        counts = builder.icmp_unsigned("!=", value, ir.Constant(words, None))
        word = builder.bitcast(counts, ir.IntType(count))
        return word if count == 64 else builder.zext(word, ir.IntType(64))

    return types.int64(x, elements), codegen


@intrinsic
def transpose_bits(typingctx: Any, words: Any) -> Any:
    """Transpose a square of 64 x 64 bits in place: bit j of word i becomes bit i of word j.

    References
    ----------
    Warren, Hacker's Delight, 2nd edition, 2012, section 7-3.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        vector = ir.VectorType(word, 8)

        def row(i: int) -> Any:
            address = builder.gep(args[0], [ir.IntType(64)(8 * i)])
            return builder.bitcast(address, vector.as_pointer())

        rows = [builder.load(row(i), typ=vector) for i in range(8)]
        for value in rows:
            value.align = 8

        def exchange(above: Any, below: Any, size: int) -> tuple[Any, Any]:
            """Swap the upper bits of pairs of squares above with the lower ones below."""
            lower = sum(1 << j for j in range(64) if j & size == 0)
            kept, steps = (ir.Constant(vector, [n] * 8) for n in (lower, size))
            swapped = builder.and_(builder.xor(builder.lshr(above, steps), below), kept)
            return builder.xor(above, builder.shl(swapped, steps)), builder.xor(below, swapped)

        for size in (32, 16, 8):
            apart = size // 8
            for i in range(8):
                if i & apart == 0:
                    rows[i], rows[i + apart] = exchange(rows[i], rows[i + apart], size)
        kind = ir.VectorType(ir.IntType(32), 8)
        for size in (4, 2, 1):
            # Words that are exchanged lie in one vector: two vectors are sorted into halves first.
            for i in range(0, 8, 2):
                first, second = rows[i], rows[i + 1]
                upper = [j for j in range(16) if j & size == 0]
                lower = [j + size for j in upper]
                above, below = (
                    builder.shuffle_vector(first, second, ir.Constant(kind, places))
                    for places in (upper, lower)
                )
                above, below = exchange(above, below, size)
                back = [upper.index(j) if j & size == 0 else 8 + lower.index(j) for j in range(16)]
                for half in range(2):
                    places = ir.Constant(kind, back[8 * half : 8 * half + 8])
                    rows[i + half] = builder.shuffle_vector(above, below, places)
        for i, value in enumerate(rows):
            builder.store(value, row(i)).align = 8
        return context.get_dummy_value()

    return types.void(words), codegen


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
