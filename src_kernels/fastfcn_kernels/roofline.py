"""What the machine can do: the rates that other kernels are measured against."""

from typing import Any

from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from fastfcn_kernels.compilation import call, helper, parallel
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


@helper
def _cut(n, thread, n_threads):
    """Return the range i0, i1 of n that falls to a thread."""
    return n * thread // n_threads, n * (thread + 1) // n_threads


@helper
def _share(buffer, thread, n_threads):
    """Return a thread's range as an array: indices from 0 on, so that loops are vectorised."""
    i0, i1 = _cut(buffer.size, thread, n_threads)
    return buffer[i0:i1]


@helper
def _read_words(words, sums, rounds, thread, n_threads):
    own = _share(words, thread, n_threads)
    for _ in range(rounds):
        total = 0
        for i in range(own.size):  # integers: sums of floats would wait for each other
            total += own[i]
        sums[8 * thread] += total


@parallel
def read_words(words, sums, rounds, n_threads):
    """Read a buffer from one end to the other: the rate of memory alone.

    Parameters
    ----------
    words : int64 (n,)
        A range for each thread                                           [in]
    sums : int64 (8·threads,)
        What each thread read, a cache line apart                         [out]
    rounds : int
        How often.
    n_threads : int
        Threads to use.
    """
    if n_threads == 1:
        _read_words(words, sums, rounds, 0, 1)
        return
    for thread in prange(n_threads):
        _read_words(words, sums, rounds, thread, n_threads)


@helper
def _scale(values, factor, rounds, thread, n_threads):
    own = _share(values, thread, n_threads)
    for _ in range(rounds):
        for i in range(own.size):
            own[i] *= factor


@parallel
def scale(values, factor, rounds, n_threads):
    """Read a buffer and write it back: every byte that moves is one of its own.

    Writing to another buffer than was read would read that one too, unseen.

    Parameters
    ----------
    values : float64 (n,)
        A range for each thread                                           [in, out]
    factor : float
    rounds : int
        How often.
    n_threads : int
        Threads to use.
    """
    if n_threads == 1:
        _scale(values, factor, rounds, 0, 1)
        return
    for thread in prange(n_threads):
        _scale(values, factor, rounds, thread, n_threads)


@intrinsic
def _pointer(typingctx: Any, address: Any) -> Any:
    """Return an address as a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), codegen


@helper
def _products(matmul, c, start, a, row, column, b, sizes, rounds, thread, n_threads):
    ld, m, n, depth, itemsize = sizes
    i0, i1 = _cut(m, thread, n_threads)
    at_c, at_a = _pointer(c + i0 * ld * itemsize), _pointer(a + i0 * row * itemsize)
    at_start, at_b = _pointer(start), _pointer(b)
    for _ in range(rounds):
        call(matmul, (at_c, ld, at_start, 0, at_a, row, column, at_b, ld, i1 - i0, n, depth))


@parallel
def products(matmul, c, start, a, row, column, b, ld, m, n, depth, itemsize, rounds, n_threads):
    """Matrix product c = start + a b, its rows handed to threads as a training step does.

    Parameters
    ----------
    matmul : int
        Address of :func:`~fastfcn_kernels.matmul.matmul` in the matrices' precision.
    c, start, b : int
        Addresses of (m, n) [out], one row of n [in] and (depth, n) [in], row stride ld.
    a, row, column : int
        Address of (m, depth), element (i, k) at i·row + k·column         [in]
    ld, m, n, depth, itemsize : int
        Row stride of c and b, sizes, and bytes of an element.
    rounds : int
        How often.
    n_threads : int
        Threads to use.
    """
    sizes = (ld, m, n, depth, itemsize)
    if n_threads == 1:
        _products(matmul, c, start, a, row, column, b, sizes, rounds, 0, 1)
        return
    for thread in prange(n_threads):
        _products(matmul, c, start, a, row, column, b, sizes, rounds, thread, n_threads)
