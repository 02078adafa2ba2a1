"""The register tile: the piece of code that every product is made of."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfcn_kernels.memory import ask_for
from fastfcn_kernels.simd import (
    MASKED_TILE_ROWS,
    MASKED_VECTORS,
    PAIR_VECTORS,
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


class _Vectors:
    """Emits what tiles do with the vectors of their operands."""

    def __init__(self, builder: Any, element: Any, index: Any) -> None:
        self._builder, self._element, self._index = builder, element, index
        self._size = 4 if isinstance(element, ir.FloatType) else 8
        self._lanes = VECTOR_BYTES // self._size
        self.kind = ir.VectorType(element, self._lanes)

    def _address(self, base: Any, row: Any, ld: Any, v: int) -> Any:
        builder = self._builder
        offset = builder.add(builder.mul(row, ld), self._index(v * self._lanes))
        return builder.bitcast(builder.gep(base, [offset]), self.kind.as_pointer())

    def load(self, base: Any, row: Any, ld: Any, v: int) -> Any:
        """Emit a load of vector v of a row."""
        value = self._builder.load(self._address(base, row, ld, v), typ=self.kind)
        value.align = self._size
        return value

    def broadcast(self, base: Any, offset: Any) -> Any:
        """Emit a load of one element into every lane."""
        scalar = self._builder.load(self._builder.gep(base, [offset]), typ=self._element)
        scalar.align = self._size
        return splat(self._builder, scalar, self.kind)

    def store_sums(self, sums: Any, rows: int, c: Any, ldc: Any) -> None:
        """Emit the end of a tile: its sums, row after row, go to c."""
        # -0 + 0 is 0: a sum that is zero has one sign, whichever zero products were left out of it.
        zero = ir.Constant(self.kind, [0.0] * self._lanes)
        vectors = len(sums) // rows
        for i, total in enumerate(sums):
            value = self._builder.fadd(total, zero)
            address = self._address(c, self._index(i // vectors), ldc, i % vectors)
            self._builder.store(value, address).align = self._size


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

    ``listed`` is None, or a pointer to indices: step s then takes row listed[s] of b. One index
    beyond the last is read and not used. ``ahead`` is None, or (pointer, stride): each step asks
    for a line there.
    """
    c, ldc, start, lds, a, rsa, csa, b, ldb, depth = args
    index = depth.type
    at = _Vectors(builder, element, index)
    starts = [at.load(start, index(r), lds, v) for r in range(rows) for v in range(vectors)]
    row_of_a = [builder.gep(a, [builder.mul(index(r), rsa)]) for r in range(rows)]

    def row_of_b(step: Any) -> Any:
        """Return the row of b for a step of the list."""
        return builder.sext(builder.load(builder.gep(listed, [step])), index)

    first_row = index(0) if listed is None else row_of_b(index(0))
    first_a, first_b = index(0), builder.mul(first_row, ldb)
    entry = builder.block
    head = builder.append_basic_block("tile.head")
    body = builder.append_basic_block("tile.body")
    done = builder.append_basic_block("tile.done")
    builder.branch(head)

    builder.position_at_end(head)
    step, a_offset, b_offset = (builder.phi(index) for _ in range(3))
    sums = [builder.phi(at.kind) for _ in starts]
    builder.cbranch(builder.icmp_signed("<", step, depth), body, done)

    builder.position_at_end(body)
    next_step = builder.add(step, index(1))
    b_row = builder.gep(b, [b_offset])
    b_vectors = [at.load(b_row, index(0), index(0), v) for v in range(vectors)]
    if ahead is not None:
        ask_for(builder, builder.gep(ahead[0], [builder.mul(step, ahead[1])]))
    following = []
    for r in range(rows):
        a_vector = at.broadcast(row_of_a[r], a_offset)
        for v in range(vectors):
            total = fused(builder, a_vector, b_vectors[v], sums[r * vectors + v])
            following.append(_settle(builder, total))
    next_a = builder.add(a_offset, csa)
    # A step ahead of its use: off the critical path.
    next_b = builder.add(b_offset, ldb) if listed is None else builder.mul(row_of_b(next_step), ldb)
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
    at.store_sums(sums, rows, c, ldc)


def _emit_masked_tile(builder: Any, element: Any, rows: int, vectors: int, args: Any) -> None:
    """Emit one tile whose k are the bits of a mask, in ascending order."""
    c, ldc, start, lds, a, rsa, csa, b, ldb, mask = args
    index = mask.type
    at = _Vectors(builder, element, index)
    starts = [at.load(start, index(r), lds, v) for r in range(rows) for v in range(vectors)]
    row_of_a = [builder.gep(a, [builder.mul(index(r), rsa)]) for r in range(rows)]
    place_of = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(index, [index, ir.IntType(1)]), f"llvm.cttz.i{index.width}"
    )
    entry = builder.block
    head = builder.append_basic_block("masked.head")
    body = builder.append_basic_block("masked.body")
    done = builder.append_basic_block("masked.done")
    builder.branch(head)

    builder.position_at_end(head)
    left = builder.phi(index)
    sums = [builder.phi(at.kind) for _ in starts]
    builder.cbranch(builder.icmp_signed("!=", left, index(0)), body, done)

    builder.position_at_end(body)
    k = builder.call(place_of, [left, ir.IntType(1)(1)])
    row_of_b = builder.gep(b, [builder.mul(k, ldb)])
    a_offset = builder.mul(k, csa)
    a_vectors = [at.broadcast(row, a_offset) for row in row_of_a]
    following = list(sums)
    for v in range(vectors):
        b_vector = at.load(row_of_b, index(0), index(0), v)
        for r in range(rows):
            total = fused(builder, a_vectors[r], b_vector, sums[r * vectors + v])
            following[r * vectors + v] = _settle(builder, total)
    loop_end = builder.block
    without = builder.and_(left, builder.sub(left, index(1)))  # the lowest bit
    for phi, first, then in [(left, mask, without), *zip(sums, starts, following, strict=True)]:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop_end)
    builder.branch(head)

    builder.position_at_end(done)
    at.store_sums(sums, rows, c, ldc)


_ROWS = [(1, v) for v in (*range(1, TILE_VECTORS + 1), *WIDE_VECTORS)]
"""Shapes of one row: wide ones besides, whose chains would else be few."""

_SHAPES = [(r, v) for r in range(2, TILE_ROWS + 1) for v in range(1, TILE_VECTORS + 1)] + _ROWS
"""Shapes of tiles: the whole one, every remainder of it, and those of one row."""

_MASKED_SHAPES = sorted(
    {(r, v) for v in range(1, MASKED_VECTORS + 1) for r in (1, MASKED_TILE_ROWS[v])}
    | {(2, v) for v in range(1, PAIR_VECTORS + 1)}
    | {(1, WIDE_VECTORS[-1])}
)
"""Shapes of tiles with a mask: see ``_masked_width`` and ``_masked_panel`` in ``matmul.py``."""


def _emit_choice(
    builder: Any,
    rows: Any,
    vectors: Any,
    shapes: Sequence[tuple[int, int]],
    emit: Callable[[int, int], None],
) -> None:
    """Emit every shape of tile and the choice between them."""
    most = max(v for _, v in shapes) + 1
    shape = builder.add(builder.mul(rows, rows.type(most)), vectors)
    done = builder.append_basic_block("tiles.done")
    switch = builder.switch(shape, done)
    for r, v in shapes:
        block = builder.append_basic_block(f"tile.{r}x{v}")
        switch.add_case(shape.type(r * most + v), block)
        builder.position_at_end(block)
        emit(r, v)
        builder.branch(done)
    builder.position_at_end(done)


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
        height, width, *operands, asking, lines, line_stride = args
        element = context.get_value_type(c.dtype)

        def emit(r: int, v: int) -> None:
            if (r, v) != (TILE_ROWS, TILE_VECTORS):
                _emit_tile(builder, element, r, v, operands)
                return
            asked = builder.icmp_signed("!=", asking, asking.type(0))
            with builder.if_else(asked) as (with_asking, without):
                with with_asking:
                    _emit_tile(builder, element, r, v, operands, ahead=(lines, line_stride))
                with without:
                    _emit_tile(builder, element, r, v, operands)

        _emit_choice(builder, height, width, _SHAPES, emit)
        return context.get_dummy_value()

    return types.void(n, n, c, n, c, n, c, n, n, c, n, n, n, c, n), codegen


@intrinsic
def masked_tile(
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
    mask: Any,
) -> Any:
    """One register tile over the bits of a mask: c = start + Σ a[:, k] b[k], k set in the mask.

    Parameters
    ----------
    rows, vectors : int
        Shape of the tile: one row or MASKED_TILE_ROWS of up to MASKED_VECTORS, two of up
        to PAIR_VECTORS, or one of the widest of WIDE_VECTORS.
    mask : int
        Bits of the k whose column of a is not all zero.

    Others as :func:`tile`.

    Notes
    -----
    The bits of :func:`tile` where b is finite: a product with zero changes no sum but a zero's
    sign, and that is +0 in both.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        height, width, *operands = args
        element = context.get_value_type(c.dtype)

        def emit(r: int, v: int) -> None:
            _emit_masked_tile(builder, element, r, v, operands)

        _emit_choice(builder, height, width, _MASKED_SHAPES, emit)
        return context.get_dummy_value()

    return types.void(n, n, c, n, c, n, c, n, n, c, n, n), codegen


@intrinsic
def listed_tile(
    typingctx: Any,
    vectors: Any,
    c: Any,
    start: Any,
    a: Any,
    b: Any,
    ldb: Any,
    depth: Any,
    indices: Any,
) -> Any:
    """One row of sums over chosen rows of b: c = start + Σ a[s] b[indices[s]].

    Parameters
    ----------
    vectors : int
        Width: up to TILE_VECTORS vectors, or one of WIDE_VECTORS.
    c, start : pointer
        (vectors·lanes,) [out]; what the sums begin with, may be c        [in]
    a : pointer
        (depth,): the numbers that are not zero                           [in]
    b, ldb : pointer, int
        Rows of vectors·lanes, row stride ldb                             [in]
    depth : int
        Length of the list.
    indices : pointer to int32
        (depth + 1,), ascending; one more is read, and not used           [in]

    Notes
    -----
    The bits of :func:`tile`, as :func:`masked_tile`'s are.
    """
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width, out, begin, numbers, right, stride, steps, listed = args
        element = context.get_value_type(c.dtype)
        zero, one = width.type(0), width.type(1)

        def emit(_: int, v: int) -> None:
            given = (out, zero, begin, zero, numbers, zero, one, right, stride, steps)
            _emit_tile(builder, element, 1, v, given, listed)

        _emit_choice(builder, one, width, _ROWS, emit)
        return context.get_dummy_value()

    return types.void(n, c, c, c, c, n, n, indices), codegen
