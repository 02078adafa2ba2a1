"""The machine's vectors: the one place that knows them.

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
    if platform.machine() in {"aarch64", "arm64"}:  # every one has it; not every LLVM says so
        return {"neon"}
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

MASKED_VECTORS = 8
"""Vectors of a tile with a mask, at most: so many sums keep two multipliers busy whose results take
four cycles, and 64 rows of so many vectors fit a first-level cache."""
PAIR_VECTORS = 8 if TILE_VECTORS == 4 else 4
"""Those of one of two rows: as many sums as there are registers for."""

MASKED_TILE_ROWS = tuple(
    min(TILE_ROWS, MASKED_VECTORS // max(v, 1)) for v in range(MASKED_VECTORS + 1)
)
"""Rows of a tile with a mask, by its vectors: one, or so many that there are enough sums."""

REGISTER = "w" if "neon" in _host_features() else {64: "v"}.get(VECTOR_BYTES, "x")
"""How an assembly statement names a vector register."""


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
    # Intrinsics: an instruction spelt out would need an assembler, which Numba does not set up.
    word = ir.IntType(64)
    reads, writes = ir.FunctionType(word, []), ir.FunctionType(ir.VoidType(), [word])
    get = cgutils.get_or_insert_function(builder.module, reads, "llvm.aarch64.get.fpcr")
    put = cgutils.get_or_insert_function(builder.module, writes, "llvm.aarch64.set.fpcr")

    def read_arm() -> Any:
        return builder.call(get, [])

    def write_arm(value: Any) -> None:
        builder.call(put, [value])

    return read_arm, write_arm


@intrinsic
def ticks(typingctx: Any) -> Any:
    """Read the processor's clock, in units of its own; 0 where we do not know how."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(word, [])
            read = cgutils.get_or_insert_function(builder.module, kind, "llvm.readcyclecounter")
            return builder.call(read, [])
        if platform.machine() in ("aarch64", "arm64"):  # the other counter is not for programs
            kind = ir.FunctionType(word, [ir.MetaDataType()])
            name = "llvm.read_volatile_register.i64"
            read = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(read, [builder.module.add_metadata(["cntvct_el0"])])
        return word(0)

    return types.int64(), codegen


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
