"""Zero-skipping: lists of the inputs that are not zero, a tile at a time.

Adding a product with zero changes no sum (but a zero's sign, and the register tile gives every zero
sum one sign), so a tile need only go through those k for which its part of the input is not all
zero. Pixels, one-hot columns and word counts are mostly zeros: of MNIST's, six rows together still
leave out more than half.

A list is int32: its length, then its entries in ascending order; DENSE in place of the length says
that leaving out does not pay. Lists are made where a batch is gathered; what was seen there is kept
as a bit an element, from which the weight gradient's lists, by samples, are made.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper
from fastfcn_kernels.memory import advance, int16s, int32s
from fastfcn_kernels.scans import GROUP, nonzero_columns, note_places
from fastfcn_kernels.simd import TILE_ROWS

DENSE = -1
"""In place of a list's length: everything counts."""

LIST_FEATURES = 4
"""Features that share a list: fewer samples have a number in one of four than of six, and a tile of
four rows is as fast where what it multiplies with is near. In the forward pass it is not."""

DENSE_COST = 128
"""Cost of a feature that goes through all samples."""
LIST_COST = 32
"""Cost of a feature's part in a list: it is made, and begun anew for each panel of columns."""

LIST_MASK = 2**LIST_FEATURES - 1
"""Bits of the features of a group's first list."""
EVERY_BIT = -1
"""Bits of a group all of whose columns count; a bit for no column does no harm."""

ROOM = 24
"""Places of a list beyond its entries: its length, and the last vector stored."""

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
def row_lists(frame, thread, stage, x, rows, i0, skips):
    """Make a list of features for each tile of rows; return where they are, and whether any pays.

    Notes what is not zero in BITS as well, from which :func:`feature_lists` makes its lists.

    Parameters
    ----------
    frame, stage : int64
        LISTS and BITS of these rows                                      [out]
    thread : int
        Whose place for lists to use.
    x : pointer
        (rows, IN), row stride LD_IN                                      [in]
    rows, i0 : int
        Rows; the first one's place in the workspace.
    skips : int
        0: nothing may be left out.

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
    bits, ldb = advance(int16s(frame[t.BITS]), i0), frame[t.LD_BITS]
    some = False
    i = 0
    # Where the first tile is dense, the other rows are taken to be like it.
    while i < rows and skips != 0 and (some or i == 0):
        tile_rows = min(TILE_ROWS, rows - i)
        listed = advance(lists, i // TILE_ROWS * stride)
        entries, noted = advance(listed, 1), advance(bits, i)
        count = nonzero_columns(advance(x, i * ld), ld, tile_rows, n, entries, noted, ldb)
        pays = _pays(count, n)
        carray(listed, (1,))[0] = count if pays else DENSE
        some |= pays
        i += tile_rows
    if i < rows:
        for group in range((n + GROUP - 1) // GROUP):
            carray(advance(bits, group * ldb), (rows,))[i:] = EVERY_BIT
    return lists, stride, some


@helper
def feature_lists(frame, stage, batch, k0, k1, costs):
    """Make a list of samples for each LIST_FEATURES of the features k0:k1; tell whether any pays.

    Parameters
    ----------
    frame, stage : int64
        BITS of all samples [in]; LISTS                                   [out]
    batch, k0, k1 : int
        Samples; features, from a whole group on.
    costs : int32 (groups,)
        What a feature of each group costs, on the scale of DENSE_COST    [out]

    Returns
    -------
    pointer to int32, int, bool
        The lists of all features, their stride, whether any of these is not DENSE.
    """
    stride = batch + ROOM
    lists, bits = int32s(frame[t.LISTS]), int16s(frame[t.BITS])
    some = False
    for k in range(k0, k1, GROUP):
        group = k // GROUP
        group_bits = advance(bits, group * frame[t.LD_BITS])
        columns = min(GROUP, stage[t.IN] - k)
        cost = 0
        for first in range(0, columns, LIST_FEATURES):
            listed = advance(lists, (k + first) // LIST_FEATURES * stride)
            count = list_samples(group_bits, LIST_MASK << first, batch, advance(listed, 1))
            pays = _pays(count, batch)
            carray(listed, (1,))[0] = count if pays else DENSE
            cost += count * DENSE_COST // batch + (LIST_COST if pays else 0)
            some |= pays
        costs[group] = cost * LIST_FEATURES // columns
    return lists, stride, some


@helper
def list_samples(bits, pattern, batch, entries):
    """List the samples whose bits share one with a pattern; return how many they are.

    Bits are read, and entries written, up to a whole group.
    """
    count = 0
    for i in range(0, batch, GROUP):
        count += note_places(advance(bits, i), pattern, i, batch, advance(entries, count))
    return count


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
