"""Sparse data: CSR rows go through the first linear map without ever being made dense.

A batch's rows are packed where the batch is gathered: a row's list (how many entries, then their
features) and its values. For the weight gradient they are sorted by feature, each thread those of
its share. Either way one output row is a sum over a list, which the one-row register tile computes;
entries that are not stored are left out whatever the weights.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.gather import sample_of
from fastfcn_kernels.masks import DENSE_COST
from fastfcn_kernels.memory import advance, int32s, int64s, reals
from fastfcn_kernels.scans import GROUP
from fastfcn_kernels.stages import place, stage_at


@helper
def _entries_of(frame, sample):
    """Return where a sample's entries begin and end in the data."""
    ends = carray(int64s(frame[t.X_INDPTR]), (sample + 2,))
    return ends[sample], ends[sample + 1]


@helper
def _entries_before(frame, first, i):
    """Return how many entries the first i rows of a batch have together."""
    total = 0
    for row in range(first, first + i):
        begin, end = _entries_of(frame, sample_of(frame, row))
        total += end - begin
    return total


@native("fpnnnnn")
def pack_rows(frame_at, work, first, i0, i1, target, at):
    """Pack rows i0:i1 of a batch.

    Parameters
    ----------
    frame_at : pointer to int64
        X, X_INDICES, X_INDPTR, AFFINE, ORDER                             [in]
    work : pointer
        Not read.
    first : int
        The batch's first row in the epoch.
    i0, i1 : int
        Rows of the batch.
    target : int
        Row of the workspace that row i0 becomes; ROW_AT, ROW_LISTS and ROW_VALUES hold it  [out]
    at : int
        Where the first row's entries go; -1: after those of the batch's rows before it.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    if at < 0:
        at = _entries_before(frame, first, i0)
    indices = int32s(frame[t.X_INDICES])
    lists, values = int32s(frame[t.ROW_LISTS]), reals(frame[t.ROW_VALUES], work)
    row_at = carray(int64s(frame[t.ROW_AT]), (target + i1 - i0,))
    affine = carray(reals(frame[t.AFFINE], work), (2,))
    for i in range(i0, i1):
        begin, end = _entries_of(frame, sample_of(frame, first + i))
        count, row = end - begin, target + i - i0
        row_at[row] = at
        # A place for the length goes before each row's entries.
        listed = carray(advance(lists, at + row), (1 + count,))
        features = carray(advance(indices, begin), (count,))
        listed[0] = count
        for e in range(count):
            listed[1 + e] = features[e]
        packed = advance(values, at)
        address = frame[t.X] + begin * frame[t.X_COLUMN_STRIDE]
        stride = frame[t.X_COLUMN_STRIDE]
        call(frame[t.CONVERT], (packed, address, stride, count, affine[0], affine[1]))
        at += count


@native("fpnnppp")
def sparse_forward(frame_at, work, i0, i1, z, start, weight):
    """First affine map of packed rows i0:i1: z = a W + b over the entries that are there.

    Parameters
    ----------
    frame_at, work : pointer
        The frame; of the workspace nothing is read.
    i0, i1 : int
        Rows.
    z : pointer
        Row i0 of z                                                       [out]
    start, weight : pointer
        What sums begin with, the bias or zeros; the weight               [in]
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, 0)
    lists, values = int32s(frame[t.ROW_LISTS]), reals(frame[t.ROW_VALUES], work)
    row_at = carray(int64s(frame[t.ROW_AT]), (i1,))
    ld, ld_weight, n = stage[t.LD], stage[t.LD_WEIGHT], stage[t.OUT]
    for i in range(i0, i1):
        listed = advance(lists, row_at[i] + i)
        a = advance(values, row_at[i])
        call(
            frame[t.LISTED],
            (advance(z, (i - i0) * ld), start, a, weight, ld_weight, n, listed),
        )


@helper
def _first_entry(features, count, k):
    """Return the place of the first of ascending features that is at least k."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if features[middle] < k:
            low = middle + 1
        else:
            high = middle
    return low


@native("fpnnnl")
def sort_by_feature(frame_at, work, count, k0, k1, costs_at):
    """Sort the packed entries of features k0:k1 by feature, within one by sample.

    Parameters
    ----------
    frame_at : pointer to int64
        ROW_AT, ROW_LISTS, ROW_VALUES of the batch [in]; FEATURE_AT, where a feature's entries
        begin, FEATURE_LISTS, their samples after their number, FEATURE_VALUES  [out]
    count, k0, k1 : int
        Rows of the batch; features.
    work : pointer
        Not read.
    costs_at : pointer to int32
        (groups,): what a feature of each group costs, of DENSE_COST       [out]
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    costs = carray(costs_at, ((k1 + GROUP - 1) // GROUP,))
    lists, values = int32s(frame[t.ROW_LISTS]), reals(frame[t.ROW_VALUES], work)
    row_at = carray(int64s(frame[t.ROW_AT]), (count,))
    begins = carray(int64s(frame[t.FEATURE_AT]), (k1,))
    begins[k0:k1] = 0
    before = 0  # entries of features that other threads sort before ours
    for i in range(count):
        listed = advance(lists, row_at[i] + i)
        entries = carray(listed, (1,))[0]
        features = carray(advance(listed, 1), (entries,))
        e = _first_entry(features, entries, k0)
        before += e
        while e < entries and features[e] < k1:
            begins[features[e]] += 1
            e += 1
    at = before
    samples_at, sorted_values = int32s(frame[t.FEATURE_LISTS]), reals(frame[t.FEATURE_VALUES], work)
    for k in range(k0, k1):
        entries = begins[k]
        begins[k] = at
        carray(advance(samples_at, at + k), (1,))[0] = 0
        at += entries
    for k in range(k0, k1, GROUP):  # a group together: a feature alone would often round to 0
        end = begins[k + GROUP] if k + GROUP < k1 else at
        costs[k // GROUP] = (end - begins[k]) * DENSE_COST // (count * min(GROUP, k1 - k))
    for i in range(count):
        listed = advance(lists, row_at[i] + i)
        entries = carray(listed, (1,))[0]
        features = carray(advance(listed, 1), (entries,))
        packed = carray(advance(values, row_at[i]), (entries,))
        e = _first_entry(features, entries, k0)
        while e < entries and features[e] < k1:
            k = features[e]
            samples = advance(samples_at, begins[k] + k)
            place = carray(samples, (1,))[0]
            carray(samples, (2 + place,))[1 + place] = i
            carray(samples, (1,))[0] = place + 1
            carray(sorted_values, (begins[k] + place + 1,))[begins[k] + place] = packed[e]
            e += 1


@native("fpnnp")
def sparse_gradient(frame_at, work, k0, rows, gradient):
    """Rows k0:k0 + rows of the first weight's gradient: dW = aᵀ δ over the entries there are.

    Parameters
    ----------
    frame_at, work : pointer
        The frame, with the entries of :func:`sort_by_feature`; the workspace, with δ  [in]
    k0, rows : int
        Features.
    gradient : pointer
        Row k0 of the gradient                                            [out]
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, 0)
    delta, zeros = place(work, stage, t.DELTA, 0, t.LD), advance(work, frame[t.ZEROS])
    samples_at, values = int32s(frame[t.FEATURE_LISTS]), reals(frame[t.FEATURE_VALUES], work)
    begins = carray(int64s(frame[t.FEATURE_AT]), (k0 + rows,))
    ld, ld_weight, n = stage[t.LD], stage[t.LD_WEIGHT], stage[t.OUT]
    for r in range(rows):
        k = k0 + r
        listed = advance(samples_at, begins[k] + k)
        a = advance(values, begins[k])
        c = advance(gradient, r * ld_weight)
        call(frame[t.LISTED], (c, zeros, a, delta, ld, n, listed))
