"""The register tile: the one place that knows the machine's vectors.

Everything above works on rows padded to :data:`ALIGNMENT` bytes, a multiple of every vector width,
so a layout does not depend on the machine and no kernel has remainder columns.
"""

import platform
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.extending import intrinsic

ALIGNMENT = 64
"""Bytes to which every row of every matrix is padded."""


def _host_features() -> set[str]:
    """Name the CPU features Numba compiles for, as ``{"avx2", "fma", ...}``."""
    if numba.config.CPU_FEATURES is not None:
        listed = numba.config.CPU_FEATURES.split(",")
        return {name[1:] for name in listed if name.startswith("+")}
    try:
        return {name for name, present in llvm.get_host_cpu_features().items() if present}
    except RuntimeError:  # LLVM cannot tell on this system: the narrowest width is right anywhere
        return set()


def _tile_shape() -> tuple[int, int, int, tuple[int, ...]]:
    """Choose bytes per vector, rows and vectors of the tile, and the vectors of one-row tiles.

    A tile needs rows x vectors accumulators, one register for each vector of ``b`` and one for the
    broadcast element of ``a``. Six rows of four vectors use 29 of AVX-512's and NEON's 32 registers
    and ran at 95% of one Zen 5 core's peak, against 75-90% for 4 x 4 and 50% for 12 x 2. With 16
    registers (AVX2, SSE) six rows of two vectors use 15.
    """
    features = _host_features()
    if "avx512f" in features:
        return 64, 6, 4, (8, 16)
    if "neon" in features:
        return 16, 6, 4, (8, 16)
    if "avx" in features:
        return 32, 6, 2, (4, 8)
    return 16, 6, 2, (4, 8)


VECTOR_BYTES, TILE_ROWS, TILE_VECTORS, WIDE_VECTORS = _tile_shape()


def _fmuladd(builder: Any, kind: Any, name: str) -> Any:
    """Declare LLVM's multiply-add of ``kind``: fused wherever the target has the instruction."""
    signature = ir.FunctionType(kind, [kind] * 3)
    return cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.{name}")


def fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """Emit x·y + z of vectors, rounded once where the CPU fuses."""
    kind = x.type
    name = f"v{kind.count}f{32 if isinstance(kind.element, ir.FloatType) else 64}"
    return builder.call(_fmuladd(builder, kind, name), [x, y, z])


def splat(builder: Any, scalar: Any, vector: Any) -> Any:
    """Emit a vector that holds ``scalar`` in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    lane0 = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(lane0, undefined, zeros)


@intrinsic
def fma(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x·y + z, rounded once where the CPU fuses, so that the compiler never decides."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(_fmuladd(builder, args[0].type, f"f{x.bitwidth}"), args)

    return x(x, x, x), codegen


_FP_CONTROL = {"x86_64": 0x1F80, "AMD64": 0x1F80, "aarch64": 0, "arm64": 0}
"""Default of the control register: nearest rounding, subnormals kept, no exception trapped."""


def _control_register(builder: Any) -> tuple[Any, Any]:
    """Return functions that emit a read and a write of the floating-point control register."""
    if platform.machine() in ("x86_64", "AMD64"):
        byte_pointer = ir.IntType(8).as_pointer()
        access = ir.FunctionType(ir.VoidType(), [byte_pointer])
        module = builder.module
        store = cgutils.get_or_insert_function(module, access, "llvm.x86.sse.stmxcsr")
        load = cgutils.get_or_insert_function(module, access, "llvm.x86.sse.ldmxcsr")

        def read() -> Any:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.call(store, [builder.bitcast(slot, byte_pointer)])
            return builder.zext(builder.load(slot, typ=ir.IntType(32)), ir.IntType(64))

        def write(value: Any) -> None:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(value, ir.IntType(32)), slot)
            builder.call(load, [builder.bitcast(slot, byte_pointer)])

        return read, write
    word = ir.IntType(64)

    def read_arm() -> Any:
        return builder.asm(ir.FunctionType(word, []), "mrs $0, fpcr", "=r", [], True)

    def write_arm(value: Any) -> None:
        builder.asm(ir.FunctionType(ir.VoidType(), [word]), "msr fpcr, $0", "r", [value], True)

    return read_arm, write_arm


@intrinsic
def default_fp_mode(typingctx: Any) -> Any:
    """Set this thread's floating-point mode to IEEE's default; return what it was.

    Other libraries set a thread to flush subnormals (torch.set_flush_denormal does), and a thread
    of a pool may differ from its caller: results would depend on both.
    """
    default = _FP_CONTROL.get(platform.machine())

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if default is None:  # a register we do not know is left alone
            return context.get_constant(types.int64, 0)
        read, write = _control_register(builder)
        before = read()
        write(ir.IntType(64)(default))
        return before

    return types.int64(), codegen


@intrinsic
def restore_fp_mode(typingctx: Any, mode: Any) -> Any:
    """Give this thread the mode back that :func:`default_fp_mode` returned."""
    known = platform.machine() in _FP_CONTROL

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if known:
            _control_register(builder)[1](args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def lanes(typingctx: Any, address: Any) -> Any:
    """Return how many elements a vector holds, a constant to the compiler."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, VECTOR_BYTES * 8 // address.dtype.bitwidth)

    return types.intp(address), codegen


_REGISTER = {64: "v", 32: "x", 16: "x"}.get(VECTOR_BYTES)
if "neon" in _host_features():
    _REGISTER = "w"


def _settle(builder: Any, value: Any) -> Any:
    """Have ``value`` computed before any load that follows; return it.

    Left alone, the compiler unrolls the tile's loop and loads all that a step needs at once: it
    runs out of registers, and a sum that lives in memory takes longer than the step it is part of.
    This is an empty instruction that has the value as input and output, touches memory as far as
    the compiler knows, and must not be duplicated.
    """
    kind = ir.FunctionType(value.type, [value.type])
    nothing = ir.InlineAsm(kind, "", f"={_REGISTER},0,~{{memory}}", side_effect=True)
    return builder.call(nothing, [value], attrs=("convergent",))


def _emit_tile(
    builder: Any, element: Any, rows: int, vectors: int, args: Any, listed: Any = None
) -> None:
    """Emit one tile: ``rows`` x ``vectors`` accumulators live in registers over the whole of k.

    ``listed`` is None, or (indices, stride): step s then takes row indices[s] of b, and the column
    of a that lies at indices[s]·csa + s·stride. One index beyond the last is read and not used.
    """
    c, ldc, start, lds, a, rsa, csa, b, ldb, depth = args
    size = 4 if isinstance(element, ir.FloatType) else 8
    lanes = VECTOR_BYTES // size
    vector = ir.VectorType(element, lanes)
    index = depth.type

    def vector_at(base: Any, row: Any, ld: Any, v: int) -> Any:
        offset = builder.add(builder.mul(row, ld), index(v * lanes))
        return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

    def load(address: Any) -> Any:
        value = builder.load(address, typ=vector)
        value.align = size
        return value

    starts = [load(vector_at(start, index(r), lds, v)) for r in range(rows) for v in range(vectors)]
    row_of_a = [builder.gep(a, [builder.mul(index(r), rsa)]) for r in range(rows)]

    def row_of_b(step: Any) -> Any:
        """Return the row of b for a step of the list."""
        return builder.sext(builder.load(builder.gep(listed[0], [step])), index)

    first_row = index(0) if listed is None else row_of_b(index(0))
    first_a, first_b = builder.mul(first_row, csa), builder.mul(first_row, ldb)
    entry = builder.block
    head = builder.append_basic_block("tile.head")
    body = builder.append_basic_block("tile.body")
    done = builder.append_basic_block("tile.done")
    builder.branch(head)

    builder.position_at_end(head)
    step, a_offset, b_offset = (builder.phi(index) for _ in range(3))
    sums = [builder.phi(vector) for _ in starts]
    builder.cbranch(builder.icmp_signed("<", step, depth), body, done)

    builder.position_at_end(body)
    next_step = builder.add(step, index(1))
    b_row = builder.gep(b, [b_offset])
    b_vectors = [load(vector_at(b_row, index(0), index(0), v)) for v in range(vectors)]
    following = []
    for r in range(rows):
        scalar = builder.load(builder.gep(row_of_a[r], [a_offset]), typ=element)
        scalar.align = size
        a_vector = splat(builder, scalar, vector)
        for v in range(vectors):
            total = fused(builder, a_vector, b_vectors[v], sums[r * vectors + v])
            following.append(_settle(builder, total))
    if listed is None:
        next_a, next_b = builder.add(a_offset, csa), builder.add(b_offset, ldb)
    else:
        next_row = row_of_b(next_step)  # a step ahead: off the critical path
        packed = builder.mul(next_step, listed[1])
        next_a, next_b = builder.add(builder.mul(next_row, csa), packed), builder.mul(next_row, ldb)
    loop_end = builder.block
    for phi, first, then in [
        (step, index(0), next_step),
        (a_offset, first_a, next_a),
        (b_offset, first_b, next_b),
        *zip(sums, starts, following, strict=True),
    ]:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop_end)
    builder.branch(head)

    builder.position_at_end(done)
    # -0 + 0 is 0: a sum that is zero has one sign, whichever zero products were left out of it.
    zero = ir.Constant(vector, [0.0] * lanes)
    for r in range(rows):
        for v in range(vectors):
            value = builder.fadd(sums[r * vectors + v], zero)
            builder.store(value, vector_at(c, index(r), ldc, v)).align = size


_SHAPES = [(r, v) for r in range(1, TILE_ROWS + 1) for v in range(1, TILE_VECTORS + 1)] + [
    (1, v) for v in WIDE_VECTORS
]
"""Shapes of tiles: every remainder, and wide ones for one row, whose chains would else be few."""


def _emit_tiles(context: Any, builder: Any, element_type: Any, args: Any, listed: Any) -> Any:
    """Emit every shape of tile and the choice between them."""
    element = context.get_value_type(element_type)
    rows, vectors, *rest = args
    most = max(v for _, v in _SHAPES) + 1
    shape = builder.add(builder.mul(rows, rows.type(most)), vectors)
    done = builder.append_basic_block("tiles.done")
    switch = builder.switch(shape, done)
    for r, v in _SHAPES:
        block = builder.append_basic_block(f"tile.{r}x{v}")
        switch.add_case(shape.type(r * most + v), block)
        builder.position_at_end(block)
        _emit_tile(builder, element, r, v, rest, listed)
        builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


@intrinsic
def tile(
    typingctx: Any,
    rows: Any,
    vectors: Any,
    c: Any,
    ldc: Any,
    start: Any,
    lds: Any,
    a: Any,
    rsa: Any,
    csa: Any,
    b: Any,
    ldb: Any,
    depth: Any,
) -> Any:
    """One register tile: c = start + a b.

    Parameters
    ----------
    rows, vectors : int
        Shape of the tile: up to TILE_ROWS x TILE_VECTORS vectors, or 1 x one of WIDE_VECTORS.
    c, ldc : pointer, int
        (rows, vectors·lanes), row stride ldc                            [out]
    start, lds : pointer, int
        What the sums begin with; lds = 0 repeats one row; may be c      [in]
    a, rsa, csa : pointer, int, int
        (rows, depth), element (i, k) at i·rsa + k·csa                   [in]
    b, ldb : pointer, int
        (depth, vectors·lanes), row stride ldb                           [in]
    depth : int
        Length of the sums.

    Notes
    -----
    Every element is one chain of fused multiply-adds in ascending k, whatever the tile's shape: the
    same bits come from every remainder. A sum that is zero is +0. Strides count elements.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_tiles(context, builder, c.dtype, args, None)

    return types.void(n, n, c, n, c, n, c, n, n, c, n, n), codegen


@intrinsic
def listed_tile(
    typingctx: Any,
    rows: Any,
    vectors: Any,
    c: Any,
    ldc: Any,
    start: Any,
    lds: Any,
    a: Any,
    rsa: Any,
    csa: Any,
    b: Any,
    ldb: Any,
    depth: Any,
    indices: Any,
    stride: Any,
) -> Any:
    """One register tile over chosen k: c = start + Σ a[:, k] b[k], k in a list.

    Parameters
    ----------
    depth : int
        Length of the list.
    indices : pointer to int32
        (depth + 1,), ascending: the k whose column of a is not all zero; one more is read, and
        not used                                                          [in]
    stride : int
        Element (i, k) of a, at place s of the list, lies at i·rsa + k·csa + s·stride: a matrix is
        read at csa, values that lie packed as the list does at stride.

    Others as :func:`tile`.

    Notes
    -----
    The bits of :func:`tile` where b is finite: a product with zero changes no sum but a zero's
    sign, and that is +0 in both.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_tiles(context, builder, c.dtype, args[:-2], args[-2:])

    return types.void(n, n, c, n, c, n, c, n, n, c, n, n, indices, n), codegen


@intrinsic
def stack_room(typingctx: Any, like: Any, size: Any) -> Any:
    """Return a constant number of bytes on the stack, as a pointer of the kind of ``like``."""
    if not isinstance(size, types.IntegerLiteral):
        raise errors.RequireLiteralValue("size must be a constant")
    kind = ir.ArrayType(ir.IntType(8), size.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(kind)  # cgutils.alloca_once would clear it, on every call
        room.align = ALIGNMENT
        return builder.bitcast(room, args[0].type)

    return like(like, size), codegen


@intrinsic
def nonzero_columns(typingctx: Any, x: Any, ld: Any, rows: Any, columns: Any, out: Any) -> Any:
    """List the columns in which some row is not zero; return how many they are.

    Parameters
    ----------
    x, ld, rows : pointer, int, int
        (rows, columns up to a whole vector), row stride ld               [in]
    columns : int
        Columns; those of the padding are zero.
    out : pointer to int32
        The list, with room for a vector more than it gets                [out]

    Notes
    -----
    -0 counts as not zero, which costs a product and changes nothing.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, stride, row_count, end, target = args
        bits = x.dtype.bitwidth
        width = VECTOR_BYTES * 8 // bits
        index = end.type
        words = ir.VectorType(ir.IntType(bits), width)
        places = ir.VectorType(ir.IntType(32), width)
        mask_type = ir.VectorType(ir.IntType(1), width)
        compress = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(places, [places, mask_type, places]),
            f"llvm.experimental.vector.compress.v{width}i32",
        )
        popcount = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.IntType(width), [ir.IntType(width)]),
            f"llvm.ctpop.i{width}",
        )
        entry = builder.block
        head, column, row, each, filled, done = (
            builder.append_basic_block(f"nonzero.{name}")
            for name in ("head", "column", "row", "each", "filled", "done")
        )
        builder.branch(head)
        builder.position_at_end(head)
        j, found = builder.phi(index), builder.phi(index)
        builder.cbranch(builder.icmp_signed("<", j, end), column, done)
        builder.position_at_end(column)
        at_column = builder.gep(base, [j])
        builder.branch(row)
        builder.position_at_end(row)
        i, any_bits = builder.phi(index), builder.phi(words)
        builder.cbranch(builder.icmp_signed("<", i, row_count), each, filled)
        builder.position_at_end(each)
        address = builder.gep(at_column, [builder.mul(i, stride)])
        value = builder.load(builder.bitcast(address, words.as_pointer()), typ=words)
        value.align = bits // 8
        for phi, start, then in (
            (i, index(0), builder.add(i, index(1))),
            (any_bits, ir.Constant(words, None), builder.or_(any_bits, value)),
        ):
            phi.add_incoming(start, column)
            phi.add_incoming(then, each)
        builder.branch(row)
        builder.position_at_end(filled)
        mask = builder.icmp_unsigned("!=", any_bits, ir.Constant(words, None))
        steps = ir.Constant(places, list(range(width)))
        here = builder.add(splat(builder, builder.trunc(j, ir.IntType(32)), places), steps)
        packed = builder.call(compress, [here, mask, ir.Constant(places, ir.Undefined)])
        to = builder.bitcast(builder.gep(target, [found]), places.as_pointer())
        builder.store(packed, to).align = 4
        more = builder.call(popcount, [builder.bitcast(mask, ir.IntType(width))])
        more = builder.zext(more, index)
        for phi, start, then in (
            (j, index(0), builder.add(j, index(width))),
            (found, index(0), builder.add(found, more)),
        ):
            phi.add_incoming(start, entry)
            phi.add_incoming(then, filled)
        builder.branch(head)
        builder.position_at_end(done)
        return found

    return n(x, n, n, n, out), codegen


@intrinsic
def nonzero_rows(typingctx: Any, x: Any, ld: Any, rows: Any, columns: Any, out: Any) -> Any:
    """List the rows in which one of the first columns is not zero; return how many they are.

    Parameters
    ----------
    x, ld, rows : pointer, int, int
        (rows, 8), row stride ld; all 8 are read                          [in]
    columns : int
        At most TILE_ROWS.
    out : pointer to int32
        The list, with room for every row                                 [out]

    Notes
    -----
    -0 counts as not zero.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, stride, row_count, column_count, target = args
        bits = x.dtype.bitwidth
        words = ir.VectorType(ir.IntType(bits), 8)
        byte, place, index = ir.IntType(8), ir.IntType(32), row_count.type
        columns = builder.trunc(column_count, byte)
        wanted = builder.sub(builder.shl(byte(1), columns), byte(1))
        entry = builder.block
        head, body, done = (
            builder.append_basic_block(f"rows.{name}") for name in ("head", "body", "done")
        )
        builder.branch(head)
        builder.position_at_end(head)
        i, count, offset = (builder.phi(index) for _ in range(3))
        builder.cbranch(builder.icmp_signed("<", i, row_count), body, done)
        builder.position_at_end(body)
        address = builder.bitcast(builder.gep(base, [offset]), words.as_pointer())
        value = builder.load(address, typ=words)
        value.align = bits // 8
        mask = builder.icmp_unsigned("!=", value, ir.Constant(words, None))
        hits = builder.and_(builder.bitcast(mask, byte), wanted)
        # Stored in any case, and kept by counting it: no branch to mispredict.
        builder.store(builder.trunc(i, place), builder.gep(target, [count])).align = 4
        hit = builder.zext(builder.icmp_unsigned("!=", hits, byte(0)), index)
        for phi, then in (
            (i, builder.add(i, index(1))),
            (count, builder.add(count, hit)),
            (offset, builder.add(offset, stride)),
        ):
            phi.add_incoming(index(0), entry)
            phi.add_incoming(then, body)
        builder.branch(head)
        builder.position_at_end(done)
        return count

    return n(x, n, n, n, out), codegen


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
