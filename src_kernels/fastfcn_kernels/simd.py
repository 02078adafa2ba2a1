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
from numba.core import cgutils
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


def _tile_shape() -> tuple[int, int, int]:
    """Choose bytes per vector, rows and vectors of the tile.

    A tile needs rows x vectors accumulators, one register for each vector of ``b`` and one for the
    broadcast element of ``a``. Six rows of four vectors use 29 of AVX-512's and NEON's 32 registers
    and ran at 95% of one Zen 5 core's peak, against 75-90% for 4 x 4 and 50% for 12 x 2. With 16
    registers (AVX2, SSE) six rows of two vectors use 15.
    """
    features = _host_features()
    if "avx512f" in features:
        return 64, 6, 4
    if "neon" in features:
        return 16, 6, 4
    if "avx" in features:
        return 32, 6, 2
    return 16, 6, 2


VECTOR_BYTES, TILE_ROWS, TILE_VECTORS = _tile_shape()


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
def pointer(typingctx: Any, array: Any, i: Any, j: Any) -> Any:
    """Return the address of ``array[i, j]`` of a matrix with contiguous rows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(array)(context, builder, args[0])
        row_bytes = builder.extract_value(view.strides, 0)
        base = cgutils.pointer_add(builder, view.data, builder.mul(row_bytes, args[1]))
        return builder.gep(base, [args[2]])

    return types.CPointer(array.dtype)(array, types.intp, types.intp), codegen


@intrinsic
def advance(typingctx: Any, address: Any, elements: Any) -> Any:
    """Return the address that lies ``elements`` further on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return address(address, types.intp), codegen


@intrinsic
def lanes(typingctx: Any, address: Any) -> Any:
    """Return how many elements a vector holds, a constant to the compiler."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, VECTOR_BYTES * 8 // address.dtype.bitwidth)

    return types.intp(address), codegen


def _emit_tile(builder: Any, element: Any, rows: int, vectors: int, args: Any) -> None:
    """Emit one tile: ``rows`` x ``vectors`` accumulators live in registers over the whole of k."""
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

    entry = builder.block
    head = builder.append_basic_block("tile.head")
    body = builder.append_basic_block("tile.body")
    done = builder.append_basic_block("tile.done")
    builder.branch(head)

    builder.position_at_end(head)
    step = builder.phi(index)
    a_offset = builder.phi(index)
    b_offset = builder.phi(index)
    sums = [builder.phi(vector) for _ in starts]
    builder.cbranch(builder.icmp_signed("<", step, depth), body, done)

    builder.position_at_end(body)
    b_row = builder.gep(b, [b_offset])
    b_vectors = [load(vector_at(b_row, index(0), index(0), v)) for v in range(vectors)]
    following = []
    for r in range(rows):
        scalar = builder.load(builder.gep(row_of_a[r], [a_offset]), typ=element)
        scalar.align = size
        a_vector = splat(builder, scalar, vector)
        for v in range(vectors):
            following.append(fused(builder, a_vector, b_vectors[v], sums[r * vectors + v]))
    loop_end = builder.block
    for phi, first, then in [
        (step, index(0), builder.add(step, index(1))),
        (a_offset, index(0), builder.add(a_offset, csa)),
        (b_offset, index(0), builder.add(b_offset, ldb)),
        *zip(sums, starts, following, strict=True),
    ]:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop_end)
    builder.branch(head)

    builder.position_at_end(done)
    for r in range(rows):
        for v in range(vectors):
            address = vector_at(c, index(r), ldc, v)
            builder.store(sums[r * vectors + v], address).align = size


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
        Shape of the tile, up to TILE_ROWS x TILE_VECTORS vectors.
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
    same bits come from every remainder. Strides count elements.
    """
    element_type = c.dtype
    counts = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(element_type)
        shape = builder.add(builder.mul(args[0], args[1].type(TILE_VECTORS + 1)), args[1])
        done = builder.append_basic_block("tiles.done")
        switch = builder.switch(shape, done)
        for r in range(1, TILE_ROWS + 1):
            for v in range(1, TILE_VECTORS + 1):
                block = builder.append_basic_block(f"tile.{r}x{v}")
                switch.add_case(shape.type(r * (TILE_VECTORS + 1) + v), block)
                builder.position_at_end(block)
                _emit_tile(builder, element, r, v, args[2:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    signature = types.void(
        counts, counts, c, counts, c, counts, c, counts, counts, c, counts, counts
    )
    return signature, codegen
