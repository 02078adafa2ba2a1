"""Zero-skipping, piece by piece: masks, CSR's lists, products over them."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import carray, types
from scipy.sparse import csr_array

from fastfcn import nn
from fastfcn.frame import source
from fastfcn_kernels import masks, passes, scans
from fastfcn_kernels import sparse as sparse_kernels
from fastfcn_kernels import table as t
from fastfcn_kernels.flags import DENSE
from fastfcn_kernels.gather import DENSE_ROWS
from fastfcn_kernels.masks import DENSE_COST, MASK_COST, WORD
from fastfcn_kernels.matmul import MASKED_ROWS, listed_row
from kernels.calls import INDICES, NUMBERS, N, compiled
from kernels.operands import (
    DTYPES,
    EDGE,
    framed,
    inside,
    lanes,
    masks_of,
    operands,
    product,
    same_bits,
)

BEYOND = 1 << 29
"""An index that must not be followed."""


def sparse(m, k, density, pattern, dtype, rng):
    """A matrix most of whose elements may be zero."""
    a = rng.normal(size=(m, k)) * (rng.random((m, k)) < density)
    if pattern == "one-hot":
        a = np.zeros((m, k))
        a[np.arange(m), rng.integers(0, k, m)] = 1.0
    elif pattern == "zero rows":
        a[rng.random(m) < 0.5] = 0.0
    elif pattern == "zero columns":
        a[:, rng.random(k) < 0.5] = 0.0
    elif pattern == "dense words":
        dense = np.repeat(rng.random(-(-k // WORD)) < 0.5, WORD)[:k]
        a[:, dense] = rng.normal(size=(m, dense.sum()))
    elif pattern == "negative zeros":
        a[a == 0.0] = -0.0
    elif pattern == "dense":
        a = rng.normal(size=(m, k))
    return a.astype(dtype)


PATTERNS = [
    "random",
    "one-hot",
    "zero rows",
    "zero columns",
    "dense words",
    "negative zeros",
    "dense",
]


@settings(deadline=None, max_examples=200)
@given(
    m=st.integers(1, 30) | st.integers(MASKED_ROWS - 1, MASKED_ROWS + 2),
    k=st.integers(1, 400),
    n=st.integers(1, 300),
    density=st.floats(0, 1),
    pattern=st.sampled_from(PATTERNS),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
    pairs=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_leaving_zeros_out_gives_the_bits_of_the_whole_product(
    m, k, n, density, pattern, dtype, transposed, pairs, seed
):
    rng = np.random.default_rng(seed)
    _, b, start = operands(m, k, n, dtype, seed)
    b[rng.random(k) < 0.1] = -0.0
    start[rng.random(start.size) < 0.3] = -0.0
    a = sparse(m, k, density, pattern, dtype, rng)
    how = {"transposed": transposed, "masks": masks_of(a), "pairs": pairs}
    assert same_bits(product(a, b, start, n, **how), product(a, b, start, n))


@pytest.mark.parametrize("pairs", [False, True])
def test_a_mask_may_name_elements_that_are_zero(pairs):
    rng = np.random.default_rng(0)
    _, b, start = operands(7, 140, 33, np.float32)
    a = sparse(7, 140, 0.1, "random", np.float32, rng)
    named = masks_of((a != 0) | (rng.random(a.shape) < 0.2))
    how = {"masks": named, "pairs": pairs}
    assert same_bits(product(a, b, start, 33, **how), product(a, b, start, 33))


def test_products_that_a_mask_leaves_out_are_not_computed():
    """Equal results alone would not tell."""
    _, b, start = operands(3, 200, 20, np.float32)
    a = np.zeros((3, 200), np.float32)
    a[:, [5, 70, 199]] = 1.0
    expected = product(a, b, start, 20, masks=masks_of(a))
    b[[0, 71, 198]] = np.nan
    assert same_bits(product(a, b, start, 20, masks=masks_of(a)), expected)
    assert np.isnan(product(a, b, start, 20)).all()


@settings(deadline=None, max_examples=60)
@given(
    k=st.integers(1, 100),
    n=st.integers(1, 300),
    density=st.floats(0, 1),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_a_row_by_its_list_has_the_bits_of_the_whole_product(k, n, density, dtype, seed):
    rng = np.random.default_rng(seed)
    _, b, start = operands(1, k, n, dtype, seed)
    a = sparse(1, k, density, "random", dtype, rng)
    places = np.flatnonzero(a)
    listed = np.array([places.size, *places, BEYOND], np.int32)
    values = np.append(a[0, places], np.nan).astype(dtype)
    frame = framed(1, n, dtype)
    given = (frame[1:, EDGE:], start, values, b)
    addresses = [array.ctypes.data for array in given]
    listed_row.function(np.dtype(dtype))(*addresses, b.shape[1], n, listed.ctypes.data)
    assert same_bits(inside(frame, n), product(a, b, start, n))


# ---- what makes the masks ------------------------------------------------------------------------


def each_precision(make):
    return {np.dtype(d): make(types.CPointer(numba.from_dtype(np.dtype(d)))) for d in DTYPES}


def _row(real):
    @compiled(real, N, NUMBERS, NUMBERS)
    def run(x, n, out, count):
        carray(count, (1,))[0] = masks.mask_row(x, n, out)

    return run


def _finite(real):
    @compiled(real, N, INDICES)
    def run(values, elements, out):
        carray(out, (1,))[0] = 1 if scans.all_finite(values, elements) else 0

    return run


def _transpose(real):
    @compiled(real, N, real, N)
    def run(target, ldt, origin, lds):
        scans.transpose_block(target, ldt, origin, lds)

    return run


@compiled(NUMBERS)
def transpose_bits(words):
    scans.transpose_bits(words)


@compiled(N, NUMBERS)
def mask_whole_row(n, out):
    masks.mask_whole_row(n, out)


ROW, FINITE, TRANSPOSE = map(each_precision, (_row, _finite, _transpose))


def values(dtype):
    """What an input may hold: zeros mostly."""
    info = np.finfo(dtype)
    return np.array(
        [0, 0, 0, 0, 0, 0, 0, 0, 1, -1, info.smallest_subnormal, np.nan, np.inf, -np.inf], dtype
    )


@settings(deadline=None)
@given(n=st.integers(1, 300), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**31))
def test_a_mask_has_a_bit_for_each_element_that_is_not_zero(n, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice(values(dtype), n)
    room = np.append(x, np.ones(scans.GROUP, dtype))  # read, and of no account
    out, count = np.full(-(-n // WORD) + 1, -5), np.zeros(1, np.int64)
    ROW[x.dtype](room, n, out, count)
    assert out[:-1].tolist() == masks_of(x[None])[0].tolist()
    assert count[0] == np.count_nonzero(x)
    assert out[-1] == -5


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 200])
def test_a_whole_row_has_a_bit_for_each_element_and_no_other(n):
    out = np.full(-(-n // WORD) + 1, -5)
    mask_whole_row(n, out)
    assert out[:-1].tolist() == masks_of(np.ones((1, n)))[0].tolist()
    assert out[-1] == -5


def test_negative_zero_counts_in_a_mask():
    x, out, count = np.full(16, -0.0, np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64)
    ROW[x.dtype](x, 16, out, count)
    assert out[0] == (1 << 16) - 1
    assert count[0] == 16


@settings(deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_square_of_bits_is_transposed_and_nothing_else_is_written(seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((WORD, WORD)) < rng.random()
    words = np.append(masks_of(bits)[:, 0], -5)
    transpose_bits(words)
    assert words[:-1].tolist() == masks_of(np.ascontiguousarray(bits.T))[:, 0].tolist()
    assert words[-1] == -5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 16, 48, 1024])
def test_every_element_that_is_not_finite_is_found(size, dtype):
    info = np.finfo(dtype)
    extremes = np.array([0, -0.0, 1, info.max, info.min, info.smallest_subnormal], dtype)
    x = np.random.default_rng(0).choice(extremes, size)
    found = np.zeros(1, np.int32)
    FINITE[x.dtype](x, size, found)
    assert found[0] == 1
    for place, poison in itertools.product(range(size), (np.nan, -np.nan, np.inf, -np.inf)):
        kept, x[place] = x[place], poison
        FINITE[x.dtype](x, size, found)
        assert found[0] == 0
        x[place] = kept


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_is_transposed_and_nothing_else_is_written(dtype):
    width = lanes(dtype)
    origin = np.random.default_rng(0).normal(size=(width, width + 3)).astype(dtype)
    target = np.full((width + 1, width + 5), -7.0, dtype)
    TRANSPOSE[origin.dtype](target, width + 5, origin, width + 3)
    assert (target[:width, :width] == origin[:, :width].T).all()
    target[:width, :width] = -7.0
    assert (target == -7.0).all()


# ---- where they are made -------------------------------------------------------------------------


def _after_forward(x, threads=1, units=8):
    """A workspace that a batch went forward in, and its masks (rows, words)."""
    batch, features = x.shape
    plan = nn.Sequential(nn.Linear(features, units, dtype=x.dtype)).plan()
    space = plan.workspace(batch, True, threads)
    space.frame.read(source(x, x.dtype))
    space.run(passes.forward, 0, batch, threads)
    return space, space.frame.array(t.MASKS).reshape(batch, -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_are_masked_where_they_are_gathered(threads, dtype):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one thread here")
    x = sparse(53, 100, 0.02, "random", dtype, np.random.default_rng(0))
    space, made = _after_forward(x, threads)
    assert made.tolist() == masks_of(x).tolist()
    flags = space.frame.array(t.FLAGS)
    assert not flags[:threads, DENSE].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_begin_dense_are_not_searched_for_zeros(dtype):
    x = np.ones((4 * DENSE_ROWS, 100), dtype)
    x[DENSE_ROWS:] = 0.0
    space, made = _after_forward(x)
    assert made.tolist() == masks_of(np.ones_like(x)).tolist()
    assert space.frame.array(t.FLAGS)[0, DENSE]
    of_ones, of_zeros = np.split(space.matrix(-1, t.A, t.LD, len(x)), [DENSE_ROWS])
    assert (of_ones == of_ones[0]).all() and (of_zeros == of_zeros[0]).all()
    assert (of_ones[0] != of_zeros[0]).any()


@pytest.mark.parametrize("rows", [1, DENSE_ROWS - 1])
def test_few_rows_may_be_dense_too(rows):
    """Too few to be taken for dense on the way, but the weight gradient need not look at them."""
    space, made = _after_forward(np.ones((rows, 100), np.float32))
    assert made.tolist() == masks_of(np.ones((rows, 100))).tolist()
    assert space.frame.array(t.FLAGS)[0, DENSE]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread here")
def test_a_thread_without_rows_does_not_keep_others_from_being_dense():
    space, _ = _after_forward(np.ones((1, 100), np.float32), threads=2)
    assert space.frame.array(t.FLAGS)[:2, DENSE].all()


def mask_features(space, thread, batch, k0, k1, costs):
    kernel = masks.mask_features.function(np.dtype(np.float32))
    kernel(space.frame.address, space.address, thread, batch, k0, k1, costs.ctypes.data)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 200),
    features=st.integers(1, 300),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_masks_of_features_are_those_of_rows_transposed(batch, features, density, seed, data):
    x = sparse(batch, features, density, "random", np.float32, np.random.default_rng(seed))
    plan = nn.Sequential(nn.Linear(features, 8)).plan()
    space = plan.workspace(batch, True, 2)
    space.frame.point(t.MASKS, np.ascontiguousarray(masks_of(x)))
    words, blocks = -(-features // WORD), -(-batch // WORD)
    made = np.full((2, blocks, words * WORD), -5)
    space.frame.point(t.FEATURE_MASKS, made)
    groups = -(-features // scans.GROUP)
    k0 = data.draw(st.integers(0, groups - 1)) * scans.GROUP
    k1 = min(features, data.draw(st.integers(k0 // scans.GROUP + 1, groups)) * scans.GROUP)
    costs = np.full(groups, -5, np.int32)
    mask_features(space, 1, batch, k0, k1, costs)
    expected = masks_of(np.ascontiguousarray(x.T))
    assert (made[1, :, k0:k1] == expected[k0:k1].T).all()
    assert (made[0] == -5).all()
    inside_share = np.zeros(groups, bool)
    inside_share[k0 // scans.GROUP : -(-k1 // scans.GROUP)] = True
    assert (costs[~inside_share] == -5).all()
    assert ((costs[inside_share] > 0) & (costs[inside_share] <= DENSE_COST)).all()


def test_features_with_more_numbers_cost_more():
    x = np.zeros((128, 3 * scans.GROUP), np.float32)
    x[:32, scans.GROUP : 2 * scans.GROUP] = 1.0
    x[:, 2 * scans.GROUP :] = 1.0
    plan = nn.Sequential(nn.Linear(x.shape[1], 8)).plan()
    space = plan.workspace(128, True, 1)
    space.frame.point(t.MASKS, masks_of(x))
    costs = np.zeros(3, np.int32)
    mask_features(space, 0, 128, 0, x.shape[1], costs)
    none, quarter, whole = costs
    assert 0 < none < quarter < whole == DENSE_COST
    assert quarter == 32 + MASK_COST + 1  # one mask of two is empty


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_group_of_sparse_features_costs_its_share_of_the_samples(dtype):
    """Each has a handful of entries: taken alone, each would cost nothing."""
    batch, features = 128, 3 * scans.GROUP + 5
    x = sparse(batch, features, 0.1, "random", dtype, np.random.default_rng(0))
    x[:, : scans.GROUP] = 0.0
    given = csr_array(x)
    plan = nn.Sequential(nn.Linear(features, 8, dtype=dtype)).plan()
    space = plan.workspace(batch, True, 1, entries=given.nnz)
    space.frame.read(source(given, np.dtype(dtype)))
    costs = np.full(-(-features // scans.GROUP), -1, np.int32)
    frame = space.frame._address
    sparse_kernels.pack_rows.function(np.dtype(dtype))(frame, space.address, 0, 0, batch, 0, -1)
    sort = sparse_kernels.sort_by_feature.function(np.dtype(dtype))
    sort(frame, space.address, batch, 0, features, costs.ctypes.data)
    groups = np.split(x != 0, range(scans.GROUP, features, scans.GROUP), axis=1)
    assert costs.tolist() == [int(DENSE_COST * group.mean()) for group in groups]
    assert costs[0] == 0 and (costs[1:] > 0).all()
