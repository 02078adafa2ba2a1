"""What the machine can do: the rates that other kernels are measured against."""

from typing import Any

from llvmlite import ir
from numba import prange
from numba.extending import intrinsic

from fastfcn_kernels.compilation import helper, parallel
from fastfcn_kernels.simd import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, fused, splat

ACCUMULATORS = TILE_ROWS * TILE_VECTORS
"""Independent chains of multiply-adds: as many as the register tile's, above latency x ports."""


def flops_per_round(itemsize: int) -> int:
    """Return the floating-point operations of one round of :func:`multiply_adds`."""
    return 2 * ACCUMULATORS * (VECTOR_BYTES // itemsize)


@intrinsic
def _rounds_of_multiply_adds(typingctx: Any, x: Any, y: Any, rounds: Any) -> Any:
    """Sum of ACCUMULATORS vectors after ``rounds`` times v ← v·x + y, all in registers."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = args[0].type
        vector = ir.VectorType(element, VECTOR_BYTES * 8 // x.bitwidth)
        index = args[2].type
        factor, term = (splat(builder, value, vector) for value in args[:2])
        start = builder.block
        body = builder.append_basic_block("rounds.body")
        done = builder.append_basic_block("rounds.done")
        builder.branch(body)
        builder.position_at_end(body)
        step = builder.phi(index)
        sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
        following = [fused(builder, value, factor, term) for value in sums]
        step_then = builder.add(step, index(1))
        for k, (phi, then) in enumerate(zip(sums, following, strict=True)):
            # Chains must differ, or the compiler keeps one of them for all.
            phi.add_incoming(ir.Constant(vector, [float(k)] * vector.count), start)
            phi.add_incoming(then, body)
        step.add_incoming(index(0), start)
        step.add_incoming(step_then, body)
        builder.cbranch(builder.icmp_signed("<", step_then, args[2]), body, done)
        builder.position_at_end(done)
        total = following[0]
        for value in following[1:]:
            total = builder.fadd(total, value)
        return builder.extract_element(total, index(0))

    return x(x, x, rounds), codegen


@helper
def _multiply_adds(results, thread, rounds):
    results[16 * (thread + 1)] = _rounds_of_multiply_adds(results[0], results[1], rounds)


@parallel
def multiply_adds(results, rounds, n_threads):
    """Fused multiply-adds from registers alone: the arithmetic the machine has.

    Parameters
    ----------
    results : real (16·(threads + 1),)
        Factor and term to begin with                                     [in]; from 16 on what
        each thread computed, so that nothing is optimised away           [out]
    rounds : int
        At least 1; :func:`flops_per_round` each.
    n_threads : int
        Threads to use.
    """
    if n_threads == 1:
        _multiply_adds(results, 0, rounds)
        return
    for thread in prange(n_threads):
        _multiply_adds(results, thread, rounds)
