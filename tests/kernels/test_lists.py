"""Zero-skipping, piece by piece: what lists hold, products over them."""

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
from fastfcn_kernels import passes, scans
from fastfcn_kernels import sparse as sparse_kernels
from fastfcn_kernels import table as t
from fastfcn_kernels.lists import DENSE, DENSE_COST, EVERY_BIT, list_samples, list_stride
from kernels.calls import INDICES, N, compiled
from kernels.operands import DTYPES, ROWS, lanes, operands, product, same_bits

BEYOND = 1 << 29
"""An index that must not be followed."""


def lists_of(a, dense=(), tile_rows=ROWS):
    """What a product over a may be given: for each tile of rows, the k that count."""
    tiles = [a[i : i + tile_rows] for i in range(0, len(a), tile_rows)]
    lists = np.full((len(tiles), a.shape[1] + 2), BEYOND, np.int32)
    for i, tile in enumerate(tiles):
        counted = np.flatnonzero((tile != 0).any(axis=0))
        lists[i, 0] = DENSE if i in dense else counted.size
        lists[i, 1 : 1 + counted.size] = counted
    return lists


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
    elif pattern == "negative zeros":
        a[a == 0.0] = -0.0
    elif pattern == "dense":
        a = rng.normal(size=(m, k))
    return a.astype(dtype)


PATTERNS = ["random", "one-hot", "zero rows", "zero columns", "negative zeros", "dense"]


@settings(deadline=None, max_examples=150)
@given(
    m=st.integers(1, 30),
    k=st.integers(1, 400),
    n=st.integers(1, 150),
    density=st.floats(0, 1),
    pattern=st.sampled_from(PATTERNS),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
    tile_rows=st.integers(1, ROWS),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_leaving_zeros_out_gives_the_bits_of_the_whole_product(
    m, k, n, density, pattern, dtype, transposed, tile_rows, seed, data
):
    rng = np.random.default_rng(seed)
    _, b, start = operands(m, k, n, dtype, seed)
    b[rng.random(k) < 0.1] = -0.0
    start[rng.random(start.size) < 0.3] = -0.0
    a = sparse(m, k, density, pattern, dtype, rng)
    expected = product(a, b, start, n)
    dense = data.draw(st.sets(st.integers(0, (m - 1) // tile_rows)))
    how = {"transposed": transposed, "lists": lists_of(a, dense, tile_rows), "tile_rows": tile_rows}
    assert same_bits(product(a, b, start, n, **how), expected)


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 20),
    k=st.integers(1, 100),
    n=st.integers(1, 150),
    density=st.floats(0, 1),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_values_that_lie_packed_as_their_list_give_the_same_bits(m, k, n, density, dtype, seed):
    rng = np.random.default_rng(seed)
    _, b, start = operands(m, k, n, dtype, seed)
    a = sparse(m, k, density, "random", dtype, rng)
    lists = lists_of(a)
    packed = np.full((m, k + 1), np.nan, dtype)
    for i in range(m):
        count = lists[i // ROWS, 0]
        packed[i, :count] = a[i, lists[i // ROWS, 1 : 1 + count]]
    expected = product(a, b, start, n)
    assert same_bits(product(a, b, start, n, lists=lists, packed=packed), expected)


def test_a_list_may_name_columns_that_are_zero():
    rng = np.random.default_rng(0)
    _, b, start = operands(7, 40, 33, np.float32)
    a = sparse(7, 40, 0.2, "random", np.float32, rng)
    lists = np.tile(np.array([40, *range(40), BEYOND], np.int32), (2, 1))
    assert same_bits(product(a, b, start, 33, lists=lists), product(a, b, start, 33))


# ---- what makes the lists ------------------------------------------------------------------------


def each_precision(make):
    return {np.dtype(d): make(types.CPointer(numba.from_dtype(np.dtype(d)))) for d in DTYPES}


BITS = types.CPointer(types.int16)


def _columns(real):
    @compiled(real, N, N, N, INDICES, BITS, N, INDICES)
    def run(x, ld, rows, columns, out, bits, ldb, count):
        carray(count, (1,))[0] = scans.nonzero_columns(x, ld, rows, columns, out, bits, ldb)

    return run


@compiled(BITS, N, N, INDICES, INDICES)
def samples_of(bits, pattern, batch, entries, count):
    carray(count, (1,))[0] = list_samples(bits, pattern, batch, entries)


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


COLUMNS, FINITE, TRANSPOSE = map(each_precision, (_columns, _finite, _transpose))


def values(dtype):
    """What an input may hold: zeros mostly."""
    info = np.finfo(dtype)
    return np.array(
        [0, 0, 0, 0, 0, 0, 0, 0, 1, -1, info.smallest_subnormal, np.nan, np.inf, -np.inf], dtype
    )


@settings(deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 200),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_columns_are_listed_in_which_some_row_is_not_zero(rows, columns, dtype, seed):
    rng = np.random.default_rng(seed)
    group = scans.GROUP
    groups = -(-columns // group)
    x = rng.choice(values(dtype), (rows, groups * group + 3))
    x[:, rng.random(x.shape[1]) < rng.random()] = 0.0
    room = np.concatenate([x.ravel(), np.ones(group, dtype)])  # read, and of no account
    out = np.full(columns + group + 1, -5, np.int32)
    bits = np.full((groups, rows + 1), -5, np.int16)
    count = np.zeros(1, np.int32)
    COLUMNS[x.dtype](room, x.shape[1], rows, columns, out, bits, rows + 1, count)
    counts = x[:, :columns] != 0
    assert out[: count[0]].tolist() == np.flatnonzero(counts.any(axis=0)).tolist()
    assert out[-1] == -5
    padded = np.pad(counts, ((0, 0), (0, groups * group - columns)))
    expected = padded.reshape(rows, groups, group) @ (1 << np.arange(group))
    assert (bits[:, :rows].astype(np.uint16) == expected.T).all()
    assert (bits[:, rows] == -5).all()


@settings(deadline=None)
@given(rows=st.integers(1, 300), pattern=st.integers(1, 2**16 - 1), seed=st.integers(0, 2**31))
def test_samples_are_listed_whose_bits_share_one_with_a_pattern(rows, pattern, seed):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**16, -(-rows // scans.GROUP) * scans.GROUP, np.uint16)
    bits[rng.random(bits.size) < rng.random()] = 0
    entries, count = np.full(rows + scans.GROUP + 1, -5, np.int32), np.zeros(1, np.int32)
    samples_of(bits.view(np.int16), pattern, rows, entries, count)
    assert entries[: count[0]].tolist() == np.flatnonzero(bits[:rows] & pattern).tolist()
    assert entries[-1] == -5


def test_negative_zero_counts_in_a_list():
    x, bits = np.full((1, 16), -0.0, np.float32), np.zeros(1, np.int16)
    out, count = np.zeros(32, np.int32), np.zeros(1, np.int32)
    COLUMNS[x.dtype](x, 16, 1, 16, out, bits, 1, count)
    assert count[0] == 16
    assert bits[0] == EVERY_BIT


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forward_pass_lists_the_columns_of_each_tile(threads, dtype):
    """Zeros are skipped in fact: equal results alone would not tell."""
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one thread here")
    batch, features = 8 * ROWS + 5, 100
    rng = np.random.default_rng(0)
    x = sparse(batch, features, 0.02, "random", dtype, rng)
    x[ROWS : 2 * ROWS] = 1.0
    plan = nn.Sequential(nn.Linear(features, 8, dtype=dtype)).plan()
    space = plan.workspace(batch, True, threads)
    stride = list_stride(features)
    lists = np.full((batch + ROWS * threads) * stride + 24, BEYOND, np.int32)
    space.frame.point(t.LISTS, lists)
    space.frame.read(source(x, np.dtype(dtype)))
    space.run(passes.forward, 0, batch, threads)
    for thread in range(threads):
        i0, i1 = batch * thread // threads, batch * (thread + 1) // threads
        for i in range(i0, i1, ROWS):
            listed = lists[(i + ROWS * thread) * stride :]
            if i == ROWS:
                assert listed[0] == DENSE
                continue
            expected = np.flatnonzero(x[i : min(i + ROWS, i1)].any(axis=0))
            assert listed[0] == expected.size < features
            assert (listed[1 : 1 + expected.size] == expected).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_begin_dense_are_not_searched_for_zeros(dtype):
    batch, features = 8 * ROWS, 100
    x = np.ones((batch, features), dtype)
    x[ROWS:] = 0.0
    net = nn.Sequential(nn.Linear(features, 8, dtype=dtype))
    space = net.plan().workspace(batch, True, 1)
    lists = np.full((batch + ROWS) * list_stride(features) + 24, BEYOND, np.int32)
    space.frame.point(t.LISTS, lists)
    space.frame.read(source(x, np.dtype(dtype)))
    space.run(passes.forward, 0, batch, 1)
    assert lists[0] == DENSE
    assert (lists[ROWS * list_stride(features) :] == BEYOND).all()
    bits = space.frame.array(t.BITS).reshape(-1, space.frame[t.LD_BITS])
    assert (bits[:, ROWS:batch] == EVERY_BIT).all()
    out = space.matrix(-1, t.A, t.LD, batch)[:, :8]
    np.testing.assert_array_equal(out[ROWS:], np.tile(net[0].bias, (batch - ROWS, 1)))


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
