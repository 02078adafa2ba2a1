"""Exponentials, written so that the compiler can vectorise them and every lane gives equal bits.

A call into the C library is one scalar at a time and differs between systems. These are plain
arithmetic: reduce x = n·ln 2 + r with ``|r|`` ≤ ln 2 / 2, sum the Taylor series of e^r - 1, scale
by 2^n.
"""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from fastfcn_kernels.compilation import helper
from fastfcn_kernels.simd import fma


@intrinsic
def like(typingctx: Any, x: Any, value: Any) -> Any:
    """Return ``value`` in the precision of x: literals would turn float32 into float64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[1], value, x)

    return x(x, value), codegen


@intrinsic
def _magnitude_bits(typingctx: Any, x: Any) -> Any:
    """Return the bits of x as a signed integer of its width."""
    integer = types.int32 if x == types.float32 else types.int64

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(integer))

    return integer(x), codegen


@intrinsic
def _power_of_two(typingctx: Any, n: Any, x: Any) -> Any:
    """Return 2^n in the precision of x, for n within the normal exponents."""
    bits, bias, mantissa = (32, 127, 23) if x == types.float32 else (64, 1023, 52)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = ir.IntType(bits)
        exponent = builder.add(
            context.cast(builder, args[0], n, types.Integer.from_bitwidth(bits, True)), width(bias)
        )
        return builder.bitcast(builder.shl(exponent, width(mantissa)), args[1].type)

    return x(n, x), codegen


@helper
def _series_32(r):
    """e^r - 1 for float32: terms to r^7/7!, remainder below 1e-8 relative."""
    s = like(r, 1.0 / 5040.0)
    s = fma(s, r, like(r, 1.0 / 720.0))
    s = fma(s, r, like(r, 1.0 / 120.0))
    s = fma(s, r, like(r, 1.0 / 24.0))
    s = fma(s, r, like(r, 1.0 / 6.0))
    s = fma(s, r, like(r, 0.5))
    return fma(s * r, r, r)


@helper
def _series_64(r):
    """e^r - 1 for float64: terms to r^13/13!, remainder below 1e-17 relative."""
    s = 1.0 / 6227020800.0
    s = fma(s, r, 1.0 / 479001600.0)
    s = fma(s, r, 1.0 / 39916800.0)
    s = fma(s, r, 1.0 / 3628800.0)
    s = fma(s, r, 1.0 / 362880.0)
    s = fma(s, r, 1.0 / 40320.0)
    s = fma(s, r, 1.0 / 5040.0)
    s = fma(s, r, 1.0 / 720.0)
    s = fma(s, r, 1.0 / 120.0)
    s = fma(s, r, 1.0 / 24.0)
    s = fma(s, r, 1.0 / 6.0)
    s = fma(s, r, 0.5)
    return fma(s * r, r, r)


def _reduce_and_sum(x):
    """Return (n, e^r - 1) with x = n·ln 2 + r."""
    raise NotImplementedError("compiled code only")


@overload(_reduce_and_sum)
def _reduce_and_sum_typed(x):
    # Adding 1.5·2^(mantissa bits) leaves the nearest integer in the low bits: no conversion
    # instruction, and NaN stays harmless. ln 2 comes in two parts, the first with enough trailing
    # zeros for n·high to be exact.
    if x == types.float32:
        magic, high, low, series = 12582912.0, 0.693359375, -2.12194440054690583e-4, _series_32
    elif x == types.float64:
        magic, high, low, series = (
            6755399441055744.0,
            0.693147180369123816490,
            1.90821492927058770002e-10,
            _series_64,
        )
    else:
        raise TypingError("float32 or float64 expected")
    log2_e = math.log2(math.e)

    def reduce_and_sum(x):
        shifted = x * like(x, log2_e) + like(x, magic)
        n = _magnitude_bits(shifted) - _magnitude_bits(like(x, magic))
        whole = shifted - like(x, magic)
        r = fma(-whole, like(x, high), x)
        r = fma(-whole, like(x, low), r)
        return n, series(r)

    return reduce_and_sum


def _exp_range(x):
    raise NotImplementedError("compiled code only")


@overload(_exp_range)
def _exp_range_typed(x):
    limits = (-104.0, 89.0) if x == types.float32 else (-746.0, 710.0)

    def exp_range(x):
        return limits

    return exp_range


@helper
def exp(x):
    """e^x: 0 and inf beyond the range, NaN for NaN, subnormal results rounded once."""
    lowest, highest = _exp_range(x)
    bounded = like(x, lowest) if x < like(x, lowest) else x
    bounded = like(x, highest) if bounded > like(x, highest) else bounded
    n, q = _reduce_and_sum(bounded)
    half = n >> 1  # 2^n itself may lie outside the normal range
    return (like(x, 1.0) + q) * _power_of_two(half, x) * _power_of_two(n - half, x)


@helper
def expm1(x):
    """e^x - 1 without cancellation, for x up to 80; -1 below -64."""
    bounded = like(x, -64.0) if x < like(x, -64.0) else x
    n, q = _reduce_and_sum(bounded)
    scale = _power_of_two(n, x)
    return fma(q, scale, scale - like(x, 1.0))


@helper
def sigmoid(x):
    """1 / (1 + e^-x), from e^-|x| alone: nothing overflows."""
    e = exp(-abs(x))
    numerator = e if x < like(x, 0.0) else like(x, 1.0)
    return numerator / (like(x, 1.0) + e)


@helper
def tanh(x):
    """(e^2|x| - 1) / (e^2|x| + 1) with the sign of x; 1 beyond 20, where it rounds to 1."""
    size = abs(x)
    size = like(x, 20.0) if size > like(x, 20.0) else size
    e = expm1(size + size)
    return math.copysign(e / (e + like(x, 2.0)), x)


@helper
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    above = like(x, 0.0) if x < like(x, 0.0) else x
    return above + math.log1p(exp(-abs(x)))


@helper
def normal_cdf(x):
    """Standard normal distribution function, by erfc: exact in the lower tail too."""
    return like(x, 0.5) * math.erfc(-x * like(x, math.sqrt(0.5)))


@helper
def normal_density(x):
    """Standard normal density."""
    return like(x, 1.0 / math.sqrt(2.0 * math.pi)) * exp(like(x, -0.5) * x * x)
