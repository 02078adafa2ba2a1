"""Zero-skipping: lists of the inputs that are not zero, a tile at a time.

Adding a product with zero changes no sum (but a zero's sign, and the register tile gives every zero
sum one sign), so a tile need only go through those k for which its part of the input is not all
zero. Pixels, one-hot columns and word counts are mostly zeros: of MNIST's, six rows together still
leave out more than half.

A list is int32: its length, then its entries in ascending order; DENSE in place of the length says
that leaving out does not pay. Lists are made where a batch is gathered, and again, by samples, for
the weight gradient.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper
from fastfcn_kernels.memory import advance, int32s
from fastfcn_kernels.scans import nonzero_columns, nonzero_rows
from fastfcn_kernels.simd import TILE_ROWS

DENSE = -1
"""In place of a list's length: everything counts."""

PROBE = 16
"""Samples, the first of a batch, that must not all count for a tile's list to be made."""

ROOM = 24
"""Places of a list beyond its entries: its length, and the last vector stored."""

DENSE_COST = 128
"""Cost of a row of a tile that goes through all samples."""

CACHE_LINE = 16
"""int32 between one thread's flags and the next's, so that no two share a cache line."""


def list_stride(features: int) -> int:
    """Return the int32 that a row's share of its tile's list takes."""
    return -(-(features + ROOM) // TILE_ROWS)


@helper
def _pays(count, entries):
    """Tell whether a list of ``count`` of ``entries`` saves more than indirection costs."""
    return 16 * count < 15 * entries


@helper
def row_lists(frame, thread, stage, x, rows, i0):
    """Make a list of features for each tile of rows; return where they are, and whether any pays.

    Parameters
    ----------
    frame, stage : int64                                                  [in]
    thread : int
        Whose place for lists to use.
    x : pointer
        (rows, IN), row stride LD_IN                                      [in]
    rows, i0 : int
        Rows; the first one's place in the workspace.

    Returns
    -------
    pointer to int32, int, bool
        The lists, their stride, whether any is not DENSE.
    """
    n, ld = stage[t.IN], stage[t.LD_IN]
    stride = (n + ROOM + TILE_ROWS - 1) // TILE_ROWS
    # Each thread's last tile may have fewer rows but needs a whole list's room.
    lists = advance(int32s(frame[t.LISTS]), (i0 + TILE_ROWS * thread) * stride)
    stride *= TILE_ROWS
    some = False
    for i in range(0, rows, TILE_ROWS):
        tile_rows = min(TILE_ROWS, rows - i)
        at = advance(x, i * ld)
        listed = advance(lists, i // TILE_ROWS * stride)
        entries = advance(listed, 1)
        count = nonzero_columns(at, ld, tile_rows, n, entries)
        pays = _pays(count, n)
        carray(listed, (1,))[0] = count if pays else DENSE
        some |= pays
        if not some:  # dense data: its other rows are taken to be like the first
            break
    return lists, stride, some


@helper
def feature_lists(frame, stage, x, batch, k0, k1, costs):
    """Make a list of samples for each tile of the features k0:k1; tell whether any pays.

    Parameters
    ----------
    frame, stage : int64                                                  [in]
    x : pointer
        (batch, IN), row stride LD_IN                                     [in]
    batch, k0, k1 : int
        Samples; features, from a whole tile on.
    costs : int32 (tiles,)
        What a row of each tile costs: its share of the samples, times DENSE_COST  [out]

    Returns
    -------
    pointer to int32, int, bool
        The lists of every tile of features, their stride, whether any of these is not DENSE.
    """
    n, ld = stage[t.IN], stage[t.LD_IN]
    stride = batch + 1
    lists = int32s(frame[t.LISTS])
    some = False
    for k in range(k0, k1, TILE_ROWS):
        listed = advance(lists, k // TILE_ROWS * stride)
        entries, columns = advance(listed, 1), min(TILE_ROWS, n - k)
        at = advance(x, k)
        count = nonzero_rows(at, ld, min(batch, PROBE), columns, entries)
        if count < min(batch, PROBE):
            count = nonzero_rows(at, ld, batch, columns, entries)
        else:
            count = batch
        pays = _pays(count, batch)
        carray(listed, (1,))[0] = count if pays else DENSE
        costs[k // TILE_ROWS] = count * DENSE_COST // batch
        some |= pays
    return lists, stride, some


WEIGHTS, FIRST_DELTA, INPUT = 0, 1, 2
"""What a thread's flags speak of: the first weight, its delta, the data. 1: all are finite."""

LOOK, TRUST = 1, 2
"""Values of SKIPS, beside 0, never: see whether the first weight is finite; it is known to be."""


@helper
def set_flag(frame, thread, kind, value):
    """Set a thread's flag."""
    carray(int32s(frame[t.FINITE]), ((thread + 1) * CACHE_LINE,))[thread * CACHE_LINE + kind] = (
        value
    )


@helper
def all_flags(frame, n_threads, kind):
    """Tell whether every thread's flag is set."""
    flags = carray(int32s(frame[t.FINITE]), (n_threads * CACHE_LINE,))
    every = True
    for thread in range(n_threads):
        every &= flags[thread * CACHE_LINE + kind] != 0
    return every
