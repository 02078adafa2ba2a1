"""L-BFGS's kernels: directions, sums, and what they leave alone."""

import math

import numpy as np
import pytest

import reference.lbfgs
from fastfcn_kernels import lbfgs as kernels
from kernels.fp_mode import knows_the_register, subnormals_flushed

DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
SIZES = [1, 15, kernels.BLOCK - 1, kernels.BLOCK, kernels.BLOCK + 1, 1000]


def call(kernel, dtype, *arguments):
    """Call a kernel with arrays for their addresses."""
    given = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    kernel.function(dtype)(*given)


def guarded(size, dtype):
    """An output filled with NaN, and what follows it."""
    room = np.full(size + 16, np.nan, dtype)
    return room[:size], room[size:]


def vectors(count, size, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(dtype)


@pytest.mark.parametrize("pairs", [0, 1, 4, 5, 13])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_direction_is_minus_the_inverse_hessian_times_the_gradient(dtype, size, pairs):
    places = 5
    rng = np.random.default_rng(size)
    memory = np.full((2, places, size), np.nan, dtype)
    kept = []
    curvature = 10.0 ** rng.uniform(-1, 1, size)  # y = A s with a diagonal A: sᵀy > 0
    for pair in range(pairs):
        s = rng.normal(size=size).astype(dtype)
        y = (curvature * s).astype(dtype)
        memory[:, pair % places] = s, y
        kept.append((s.astype(np.float64), y.astype(np.float64)))
    (gradient,) = vectors(1, size, dtype, seed=1)
    direction, beyond = guarded(size, dtype)
    room = np.full(2 * places, np.nan)
    call(kernels.find_direction, dtype, gradient, memory, size, places, pairs, direction, room)
    expected = -gradient.astype(np.float64)
    if kept:
        expected = -reference.lbfgs.inverse_hessian(kept[-places:], size) @ gradient
    bound = 500 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(direction, expected, rtol=0, atol=bound)
    assert np.isnan(beyond).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_those_of_float64(dtype, size):
    a, b = vectors(2, size, dtype)
    found = np.full(2, np.nan)
    call(kernels.multiply, dtype, a, b, size, found)
    products = a.astype(np.float64) * b.astype(np.float64)
    bound = (size / kernels.BLOCK + kernels.BLOCK) * 2.0**-53 * np.abs(products).sum()
    assert abs(found[0] - math.fsum(products)) <= bound
    assert np.isnan(found[1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slope_and_lengths_are_measured(dtype, size):
    g, d = vectors(2, size, dtype)
    found = np.full(5, np.nan)
    call(kernels.measure, dtype, g, d, size, found)
    exact = g.astype(np.float64)
    np.testing.assert_allclose(found[kernels.SLOPE], exact @ d, rtol=1e-12, atol=1e-13)
    assert found[kernels.STEEPEST] == np.abs(g).max() and found[kernels.LONGEST] == np.abs(d).max()
    np.testing.assert_allclose(found[kernels.TOTAL], np.abs(exact).sum(), rtol=1e-13)
    for vector, value in ((g, np.nan), (d, np.inf)):
        before, vector[size // 2] = vector[size // 2], value
        call(kernels.measure, dtype, g, d, size, found)
        assert not np.isfinite(found[kernels.SLOPE])
        vector[size // 2] = before
    assert np.isnan(found[4])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_penalty_is_added_to_gradient_and_value(dtype, size):
    theta, g = vectors(2, size, dtype)
    g[0] = -0.0
    total = np.array([2.0])
    out, beyond = guarded(size, dtype)
    call(kernels.penalise, dtype, theta, g, out, 0.0, size, total)
    assert out.tobytes() == g.tobytes() and total[0] == 2.0
    call(kernels.penalise, dtype, theta, g, out, 0.3, size, total)
    exact = theta.astype(np.float64)
    assert (out == (g + 0.3 * exact).astype(dtype)).all()
    np.testing.assert_allclose(total[0], 2.0 + 0.15 * (exact @ exact), rtol=1e-13)
    assert np.isnan(beyond).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moves_and_pairs_are_rounded_once(dtype, size):
    start, direction, g, old = vectors(4, size, dtype)
    out, beyond = guarded(size, dtype)
    call(kernels.move, dtype, start, direction, out, 0.3, size)
    assert (out == (start + 0.3 * direction.astype(np.float64)).astype(dtype)).all()
    assert np.isnan(beyond).all()
    s, y = direction.copy(), old.copy()
    call(kernels.make_pair, dtype, g, y, s, 0.3, size)
    assert (y == g - old).all()
    assert (s == (0.3 * direction.astype(np.float64)).astype(dtype)).all()


@knows_the_register
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_count_whatever_the_callers_floating_point_mode(dtype):
    size, tiny = 40, np.finfo(dtype).smallest_subnormal
    ones, small = np.ones(size, dtype), np.full(size, 8 * tiny, dtype)
    out, found = np.zeros(size, dtype), np.zeros(5)
    with subnormals_flushed():
        call(kernels.move, dtype, 0 * small, small, out, 0.5, size)
        call(kernels.multiply, dtype, ones, small, size, found)
        call(kernels.measure, dtype, small, ones, size, found[1:])
    assert (out == small / 2).all()
    assert found[0] == found[1] == size * float(small[0])
