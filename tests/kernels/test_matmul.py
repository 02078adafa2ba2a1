"""The matrix product, called by its address as the kernels call it."""

import ctypes

import numpy as np
import pytest

from fastfcn_kernels import simd
from fastfcn_kernels.matmul import matmul

DTYPES = [np.float32, np.float64]
ROWS = simd.TILE_ROWS
MARK = -7.0
"""What surrounds every output; a stray store would change it."""


def product(a, b, start, lds, out, ldc, trans_a=False):
    """Run c = start + a b over whole matrices with padded rows."""
    kind = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
    pointer = ctypes.POINTER(kind)
    n = ctypes.c_ssize_t
    signature = [pointer, n, pointer, n, pointer, n, n, pointer, n, n, n, n]
    function = ctypes.CFUNCTYPE(None, *signature)(matmul.address(out.dtype))

    def at(array):
        return array.ctypes.data_as(pointer)

    lda = a.strides[0] // a.itemsize
    depth, width = b.shape
    m = a.shape[1] if trans_a else a.shape[0]
    strides = (1, lda) if trans_a else (lda, 1)
    function(at(out), ldc, at(start), lds, at(a), *strides, at(b), width, m, width, depth)


def case(m, k, vectors, dtype, seed=0):
    """Random operands, an output of NaN within a frame of marks, a start row."""
    rng = np.random.default_rng(seed)
    n = vectors * simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    frame = np.full((m + 2, n + 16), MARK, dtype)
    frame[1:-1, 8:-8] = np.nan
    return a, b, rng.normal(size=(1, n)).astype(dtype), frame


def assert_frame_untouched(frame):
    assert (frame[[0, -1]] == MARK).all()
    assert (frame[:, :8] == MARK).all()
    assert (frame[:, -8:] == MARK).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 1, 64])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("k", [1, 2, 17, 100])
def test_error_is_within_the_bound_and_no_store_strays(m, k, vectors, dtype):
    a, b, start, frame = case(m, k, vectors, dtype)
    product(a, b, start, 0, frame[1:, 8:], frame.shape[1])
    exact = start.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64)
    size = abs(start).astype(np.float64) + abs(a).astype(np.float64) @ abs(b).astype(np.float64)
    got = frame[1:-1, 8:-8]
    assert (abs(got - exact) <= 16 * np.finfo(dtype).eps * size).all()
    assert_frame_untouched(frame)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_operand_gives_the_bits_of_its_copy(dtype):
    a, b, start, frame = case(23, 31, 5, dtype)
    other = frame.copy()
    product(a, b, start, 0, frame[1:, 8:], frame.shape[1])
    product(np.ascontiguousarray(a.T), b, start, 0, other[1:, 8:], frame.shape[1], trans_a=True)
    np.testing.assert_array_equal(frame, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_in_every_tile(dtype):
    a, b, start, frame = case(3 * ROWS + 2, 50, 7, dtype)
    product(a, b, start, 0, frame[1:, 8:], frame.shape[1])
    for i in range(len(a)):
        alone = np.full((3, frame.shape[1]), MARK, dtype)
        product(a[i : i + 1], b, start, 0, alone[1:, 8:], frame.shape[1])
        np.testing.assert_array_equal(alone[1, 8:-8], frame[1 + i, 8:-8])


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulating_continues_the_chain_of_sums(dtype):
    a, b, start, frame = case(13, 40, 6, dtype)
    whole = frame.copy()
    ld = frame.shape[1]
    product(a, b, start, 0, whole[1:, 8:], ld)
    product(a[:, :15], b[:15], start, 0, frame[1:, 8:], ld)
    product(a[:, 15:], b[15:], frame[1:, 8:], ld, frame[1:, 8:], ld)
    np.testing.assert_array_equal(frame, whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_infinity_reach_exactly_their_row(poison, dtype):
    a, b, start, frame = case(9, 20, 4, dtype)
    a[4, 7] = poison
    product(a, b, start, 0, frame[1:, 8:], frame.shape[1])
    finite = np.isfinite(frame[1:-1, 8:-8]).all(axis=1)
    assert finite.tolist() == [i != 4 for i in range(9)]
