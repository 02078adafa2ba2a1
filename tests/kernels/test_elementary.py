"""Exponentials against arbitrary precision, and at the edges of the range."""

import mpmath
import numba
import numpy as np
import pytest

from fastfcn_kernels import elementary

DTYPES = [np.float32, np.float64]


def vectorised(function):
    """Compile a helper into a loop, as kernels use it."""

    @numba.njit(error_model="numpy")
    def loop(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = function(x[i])
        return out

    return loop


EXP, EXPM1, SIGMOID, TANH, SOFTPLUS = (
    vectorised(f)
    for f in (
        elementary.exp,
        elementary.expm1,
        elementary.sigmoid,
        elementary.tanh,
        elementary.softplus,
    )
)


def ulps(got, exact, dtype):
    """Errors in units in the last place of the exact values."""
    spacing = np.spacing(np.abs(exact.astype(dtype))).astype(np.float64)
    return np.abs(got.astype(np.longdouble) - exact) / spacing


def exactly(function, x):
    with mpmath.workdps(40):
        return np.array([np.longdouble(mpmath.nstr(function(mpmath.mpf(float(v))), 25)) for v in x])


def points(low, high, dtype):
    rng = np.random.default_rng(0)
    tiny = rng.uniform(-1, 1, 50) * 10.0 ** -rng.integers(1, 9, 50)
    values = np.concatenate([rng.uniform(low, high, 300), tiny])
    return values[(values >= low) & (values <= high)].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("compiled", "exact", "range32", "range64", "bound"),
    [
        (EXP, mpmath.exp, (-87, 88), (-708, 709), 1.5),
        (EXPM1, mpmath.expm1, (-60, 80), (-60, 80), 2.0),
        (SIGMOID, lambda v: 1 / (1 + mpmath.exp(-v)), (-80, 80), (-700, 700), 3.0),
        (TANH, mpmath.tanh, (-30, 30), (-30, 30), 3.0),
        (SOFTPLUS, lambda v: mpmath.log1p(mpmath.exp(v)), (-80, 80), (-700, 700), 3.0),
    ],
    ids=["exp", "expm1", "sigmoid", "tanh", "softplus"],
)
def test_error_is_within_units_in_the_last_place(compiled, exact, range32, range64, bound, dtype):
    x = points(*(range32 if dtype == np.float32 else range64), dtype)
    assert ulps(compiled(x), exactly(exact, x), dtype).max() <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_pass_as_ieee_says(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0], dtype)
    np.testing.assert_array_equal(EXP(x), [np.nan, np.inf, 0.0, 1.0])
    np.testing.assert_array_equal(SIGMOID(x), [np.nan, 1.0, 0.0, 0.5])
    np.testing.assert_array_equal(TANH(x), [np.nan, 1.0, -1.0, 0.0])
    np.testing.assert_array_equal(SOFTPLUS(x)[:3], [np.nan, np.inf, 0.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_reaches_subnormals_and_overflows_where_it_must(dtype):
    info = np.finfo(dtype)
    low = np.log(np.float64(info.smallest_subnormal))
    x = np.array([low + 3, low - 2, np.log(np.float64(info.max)) + 0.1], dtype)
    got = EXP(x)
    assert 0 < got[0] < info.smallest_normal
    assert got[1] == 0
    assert got[2] == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compiled", [EXP, EXPM1, SIGMOID, TANH, SOFTPLUS])
def test_bits_do_not_depend_on_the_position_in_an_array(compiled, dtype):
    x = np.random.default_rng(1).uniform(-20, 20, 67).astype(dtype)
    alone = np.concatenate([compiled(x[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(compiled(x), alone)
