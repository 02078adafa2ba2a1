"""The matrix product, called by its address as the kernels call it."""

import numpy as np
import pytest

from fastfcn_kernels import simd
from fastfcn_kernels.matmul import BLOCK_ELEMENTS, DEPTH_BLOCK
from kernels.operands import (
    DTYPES,
    ROWS,
    framed,
    inside,
    into,
    lanes,
    operands,
    product,
    same_bits,
    within_bound,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 1, 64])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("k", [1, 2, 17, 100])
def test_error_is_within_the_bound_and_no_store_strays(m, k, vectors, dtype):
    n = vectors * lanes(dtype)
    a, b, start = operands(m, k, n, dtype)
    assert within_bound(product(a, b, start, n), a, b, start)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [1, 2, -1])
@pytest.mark.parametrize("vectors", [1, 2, 4, 5])
def test_columns_need_not_fill_a_vector(vectors, missing, dtype):
    n = vectors * lanes(dtype) - missing % lanes(dtype)
    a, b, start = operands(ROWS + 1, 30, n, dtype)
    got = product(a, b, start, n)
    assert within_bound(got, a, b, start)
    whole = product(a, b, start, b.shape[1])
    assert same_bits(got, whole[:, :n])


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_terms_leave_the_start(dtype):
    for m in (1, ROWS, 4 * ROWS):
        a, b, start = operands(m, 0, 40, dtype)
        assert (product(a, b, start, 40) == start[:40]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_operand_gives_the_bits_of_its_copy(dtype):
    a, b, start = operands(23, 31, 80, dtype)
    assert same_bits(product(a, b, start, 80), product(a, b, start, 80, transposed=True))


def row_by_row(a, b, start, n):
    return np.concatenate([product(a[i : i + 1], b, start, n) for i in range(len(a))])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_in_every_tile(dtype):
    a, b, start = operands(3 * ROWS + 2, 50, 110, dtype)
    assert same_bits(product(a, b, start, 110), row_by_row(a, b, start, 110))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", range(1, 41))
def test_one_row_is_right_and_has_the_bits_of_narrow_tiles_at_every_width(vectors, dtype):
    n = vectors * lanes(dtype)
    a, b, start = operands(1, 19, n, dtype)
    got = product(a, b, start, n)
    assert within_bound(got, a, b, start)
    for first in range(0, n, lanes(dtype)):
        piece = slice(first, first + lanes(dtype))
        assert same_bits(got[:, piece], product(a, b[:, piece], start[piece], lanes(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", range(1, 2 * simd.TILE_VECTORS + 2))
@pytest.mark.parametrize(
    ("m", "k"),
    [
        (1, 2 * DEPTH_BLOCK + 1),
        (ROWS + 1, 2 * DEPTH_BLOCK),
        (ROWS + 1, 3 * DEPTH_BLOCK // 2),
        (5 * ROWS, 3 * DEPTH_BLOCK // 2 + 1),
        (ROWS - 1, 3 * DEPTH_BLOCK + 37),
        (BLOCK_ELEMENTS // DEPTH_BLOCK + 1, 2 * DEPTH_BLOCK + 1),
    ],
)
def test_cutting_a_long_product_changes_no_bit(m, k, vectors, dtype):
    n = vectors * lanes(dtype) - 1
    a, b, start = operands(m, k, n, dtype)
    got = product(a, b, start, n)
    assert within_bound(got, a, b, start)
    frame = framed(m, n, dtype)
    for first in range(0, k, 700):  # pieces that are not cut
        piece = slice(first, first + 700)
        into(a[:, piece], b[piece], start if first == 0 else None, n, frame)
    assert same_bits(got, inside(frame, n))
    assert same_bits(got, product(a, b, start, n, transposed=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k"), [(13, 40), (13, 2 * DEPTH_BLOCK + 40)])
def test_accumulating_continues_the_chain_of_sums(m, k, dtype):
    a, b, start = operands(m, k, 90, dtype)
    frame = framed(m, 90, dtype)
    into(a[:, :15], b[:15], start, 90, frame)
    into(a[:, 15:], b[15:], None, 90, frame)
    assert same_bits(inside(frame, 90), product(a, b, start, 90))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize(("m", "k"), [(9, 20), (4 * ROWS, 2 * DEPTH_BLOCK + 20)])
def test_nan_and_infinity_reach_exactly_their_row(m, k, poison, dtype):
    a, b, start = operands(m, k, 60, dtype)
    a[4, 7] = poison
    finite = np.isfinite(product(a, b, start, 60)).all(axis=1)
    assert finite.tolist() == [i != 4 for i in range(m)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k"), [(1, 3), (ROWS + 1, 3), (4 * ROWS, 2 * DEPTH_BLOCK + 3)])
def test_a_zero_sum_is_plus_zero(m, k, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    for left, right, begin in [
        (tiny, -tiny, 0.0),  # products that underflow to -0
        (tiny, -tiny, -0.0),
        (0.0, -1.0, -0.0),
        (-0.0, 1.0, -0.0),
        (-0.0, -0.0, -0.0),
    ]:
        a, b, start = operands(m, k, 70, dtype)
        a[...], b[...], start[...] = left, right, begin
        got = product(a, b, start, 70)
        assert (got == 0.0).all() and not np.signbit(got).any()
        empty = product(a[:, :0], b[:0], start, 70)
        assert (empty == 0.0).all() and not np.signbit(empty).any()
