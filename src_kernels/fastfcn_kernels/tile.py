"""The register tile: the piece of code that every product is made of."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastfcn_kernels.memory import ask_for
from fastfcn_kernels.simd import (
    REGISTER,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    WIDE_VECTORS,
    fused,
    splat,
)


def _settle(builder: Any, value: Any) -> Any:
    """Have ``value`` computed before any load that follows; return it.

    Left alone, the compiler unrolls the tile's loop and loads all that a step needs at once: it
    runs out of registers, and a sum that lives in memory takes longer than the step it is part of.
    This is an empty instruction that has the value as input and output, touches memory as far as
    the compiler knows, and must not be duplicated.
    """
    kind = ir.FunctionType(value.type, [value.type])
    nothing = ir.InlineAsm(kind, "", f"={REGISTER},0,~{{memory}}", side_effect=True)
    return builder.call(nothing, [value], attrs=("convergent",))


def _emit_tile(
    builder: Any,
    element: Any,
    rows: int,
    vectors: int,
    args: Any,
    listed: Any = None,
    ahead: Any = None,
) -> None:
    """Emit one tile: ``rows`` x ``vectors`` accumulators live in registers over the whole of k.

    ``listed`` is None, or (indices, stride): step s then takes row indices[s] of b, and the column
    of a that lies at indices[s]·csa + s·stride. One index beyond the last is read and not used.
    ``ahead`` is None, or (pointer, stride): each step asks for a line there.
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
    if ahead is not None:
        ask_for(builder, builder.gep(ahead[0], [builder.mul(step, ahead[1])]))
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


def _emit_tiles(
    context: Any, builder: Any, element_type: Any, args: Any, listed: Any = None, ahead: Any = None
) -> Any:
    """Emit every shape of tile and the choice between them.

    ``ahead`` is None, or (asks, pointer, stride): whole tiles ask for lines where asks is not 0.
    """
    element = context.get_value_type(element_type)
    rows, vectors, *rest = args
    most = max(v for _, v in _SHAPES) + 1
    shape = builder.add(builder.mul(rows, rows.type(most)), vectors)
    asking = (TILE_ROWS + 1) * most  # beyond every shape
    if ahead is not None:
        whole = builder.icmp_signed("==", shape, shape.type(TILE_ROWS * most + TILE_VECTORS))
        asks = builder.and_(whole, builder.icmp_signed("!=", ahead[0], ahead[0].type(0)))
        shape = builder.select(asks, shape.type(asking), shape)
    done = builder.append_basic_block("tiles.done")
    switch = builder.switch(shape, done)
    for r, v in _SHAPES:
        block = builder.append_basic_block(f"tile.{r}x{v}")
        switch.add_case(shape.type(r * most + v), block)
        builder.position_at_end(block)
        _emit_tile(builder, element, r, v, rest, listed)
        builder.branch(done)
    if ahead is not None:
        block = builder.append_basic_block("tile.asking")
        switch.add_case(shape.type(asking), block)
        builder.position_at_end(block)
        _emit_tile(builder, element, TILE_ROWS, TILE_VECTORS, rest, ahead=ahead[1:])
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
    asks: Any,
    ahead: Any,
    lda: Any,
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
    asks : int
        1 to bring what comes next to the second-level cache; a whole tile does.
    ahead, lda : pointer, int
        (depth,) lines of it, row stride lda.

    Notes
    -----
    Every element is one chain of fused multiply-adds in ascending k, whatever the tile's shape: the
    same bits come from every remainder. A sum that is zero is +0. Strides count elements.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_tiles(context, builder, c.dtype, args[:-3], ahead=args[-3:])

    return types.void(n, n, c, n, c, n, c, n, n, c, n, n, n, c, n), codegen


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
