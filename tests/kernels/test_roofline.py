"""The measuring kernels do the work that their rates are computed from."""

import numpy as np
import pytest

from fastfcn.buffers import aligned_zeros
from fastfcn_kernels import roofline
from fastfcn_kernels.matmul import matmul


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_word_is_read_in_every_round(threads):
    words = np.random.default_rng(0).integers(0, 1000, 1001)
    sums = np.zeros(8 * threads, np.int64)
    roofline.read_words(words, sums, 3, threads)
    assert sums.sum() == 3 * words.sum()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_element_is_scaled_in_every_round(threads):
    values = np.random.default_rng(0).normal(size=1001)
    expected = values * 0.5**3
    roofline.scale(values, 0.5, 3, threads)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_products_are_matrix_products(dtype, transposed, threads):
    m, n, depth = 25, 32, 19
    rng = np.random.default_rng(0)

    def aligned(rows, columns):
        matrix = aligned_zeros(rows * columns, np.dtype(dtype)).reshape(rows, columns)
        matrix[...] = rng.normal(size=matrix.shape)
        return matrix

    a = aligned(depth, 32) if transposed else aligned(m, 32)
    start, b, c = aligned(1, n), aligned(depth, n), aligned(m, n)
    strides = (1, 32) if transposed else (32, 1)
    at = [matrix.ctypes.data for matrix in (c, start, a)]
    size = np.dtype(dtype).itemsize
    roofline.products(
        matmul.address(c.dtype), *at, *strides, b.ctypes.data, n, m, n, depth, size, 2, threads
    )
    left = a[:, :m].T if transposed else a[:, :depth]
    expected = start + left.astype(np.float64) @ b
    np.testing.assert_allclose(c, expected, atol=64 * np.finfo(dtype).eps)
