"""Layers other than linear maps and activations: dropout, batch and layer normalisation.

Each has a forward and a backward kernel, called by their addresses for rows i0:i1 of a batch. What
the backward pass needs lies in SAVED: the mask of a dropout, the normalised input x̂ of the others.
Where a workspace is for predictions alone there is none.
"""

import math

import numpy as np
from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.memory import advance, reals
from fastfcn_kernels.stages import number_of, place, stage_at


@helper
def _mixed(x):
    """Return a 64-bit number in which every bit depends on every bit of x."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@helper
def _random_bits(low, high, j):
    """Return 32 random bits, a function of a 64-bit key and a counter."""
    x = np.uint32(low + np.uint32(j) * np.uint32(0x9E3779B9))
    x = np.uint32(x ^ (x >> np.uint32(16))) ^ high
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@native("fpnnnnnn")
def dropout_forward(frame_at, work, s, thread, i0, i1, first, count):
    """Dropout of rows i0:i1 in training mode: a = x ⊙ m, m 0 with probability p, else 1 / (1 - p).

    Parameters
    ----------
    frame_at, work : pointer
        The frame; the workspace, with the stage's INPUT [in], A and SAVED, m  [out]
    s : int
        Stage; its number is p.
    thread, count : int
        Not read.
    i0, i1 : int
        Rows.
    first : int
        The batch's first row in the epoch.

    Notes
    -----
    Random numbers are a function of (SEED, row of the epoch, stage, feature): no thread and no
    batch size changes them. Bits are mixed by multiplications and shifts; the tests look at their
    mean and at correlations between rows, features and stages.

    References
    ----------
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014, with
    the scale applied in training.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    ld, n = stage[t.LD], stage[t.OUT]
    x = carray(place(work, stage, t.INPUT, i0, t.LD), (i1 - i0, ld))
    a = carray(place(work, stage, t.A, i0, t.LD), (i1 - i0, ld))
    mask = carray(place(work, stage, t.SAVED, i0, t.LD), (i1 - i0, ld))
    p = number_of(frame, work, s, 0)
    kept = like(p, 1.0) / (like(p, 1.0) - p) if p < like(p, 1.0) else like(p, 0.0)
    dropped = np.uint32(min(np.float64(p) * 4294967296.0, 4294967295.0))
    if frame[t.TRAINING] == 0:
        kept, dropped = like(p, 1.0), np.uint32(0)
    for i in range(i1 - i0):
        key = _mixed(np.uint64(frame[t.SEED]) + np.uint64(s) * np.uint64(0x9E3779B97F4A7C15))
        key = _mixed(key + np.uint64(first + i0 + i))
        low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
        row, out, m = x[i], a[i], mask[i]
        for j in range(n):
            m[j] = kept if _random_bits(low, high, j) >= dropped else like(p, 0.0)
            out[j] = row[j] * m[j]
        for j in range(n, ld):
            m[j] = 0.0
            out[j] = 0.0


@native("fpnnnnnn")
def dropout_backward(frame_at, work, s, thread, i0, i1, first, count):
    """Delta of a dropout's input: δ ⊙ m. Parameters as :func:`dropout_forward`."""
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    size = (i1 - i0) * stage[t.LD]
    delta = carray(place(work, stage, t.DELTA, i0, t.LD), (size,))
    mask = carray(place(work, stage, t.SAVED, i0, t.LD), (size,))
    before = carray(place(work, stage, t.INPUT_DELTA, i0, t.LD), (size,))
    for j in range(size):
        before[j] = delta[j] * mask[j]


@helper
def _mean_and_variance(x, mean, variance, count, width, eps):
    """Mean and variance of each column, in two passes, in sample order."""
    share = like(eps, 1.0) / like(eps, count)
    for j in range(width):
        mean[j] = 0.0
        variance[j] = 0.0
    for i in range(count):
        row = x[i]
        for j in range(width):
            mean[j] += row[j]
    for j in range(width):
        mean[j] *= share
    for i in range(count):
        row = x[i]
        for j in range(width):
            d = row[j] - mean[j]
            variance[j] += d * d
    for j in range(width):
        variance[j] *= share


@native("fpnnnnnn")
def batch_norm_forward(frame_at, work, s, thread, i0, i1, first, count):
    """Batch normalisation of rows i0:i1: a = γ x̂ + β, x̂ = (x - μ) / √(σ² + eps), column by column.

    Parameters
    ----------
    frame_at, work : pointer
        The frame; the workspace, with the stage's INPUT for the whole batch [in], A, SAVED (x̂) and
        the thread's STATISTICS                                           [out]
    s : int
        Stage; its numbers are eps and the momentum of the running statistics.
    thread : int
        Whose copy of the statistics to write; thread 0 also moves the running ones.
    i0, i1 : int
        Rows to normalise.
    first : int
        Not read.
    count : int
        Rows of the batch.

    Notes
    -----
    μ and σ² are the batch's own in training mode, the running ones in evaluation mode. Every thread
    sums over the whole batch by itself, in sample order: the same bits, and one barrier less. The
    running variance is the unbiased one, as PyTorch's; one row has none, and leaves it alone.

    References
    ----------
    Ioffe and Szegedy, Batch normalization, 2015.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    ld, width, n = stage[t.LD], stage[t.LD_WEIGHT], stage[t.OUT]
    eps, momentum = number_of(frame, work, s, 0), number_of(frame, work, s, 1)
    params = reals(frame[t.PARAMS], work)
    statistics = carray(advance(work, stage[t.STATISTICS] + 3 * thread * ld), (3, ld))
    mean, inverse = statistics[0], statistics[1]
    running = carray(advance(params, stage[t.RUNNING]), (2, width))
    one = like(eps, 1.0)
    if frame[t.TRAINING] != 0:
        x = carray(place(work, stage, t.INPUT, 0, t.LD), (count, ld))
        _mean_and_variance(x, mean, inverse, count, width, eps)
        if thread == 0:
            unbiased = like(eps, count) / like(eps, max(count - 1, 1))
            for j in range(n):
                running[0, j] += momentum * (mean[j] - running[0, j])
            for j in range(n if count > 1 else 0):
                running[1, j] += momentum * (inverse[j] * unbiased - running[1, j])
    else:
        for j in range(width):
            mean[j], inverse[j] = running[0, j], running[1, j]
    for j in range(width):
        inverse[j] = one / math.sqrt(inverse[j] + eps)
    x = carray(place(work, stage, t.INPUT, i0, t.LD), (i1 - i0, ld))
    a = carray(place(work, stage, t.A, i0, t.LD), (i1 - i0, ld))
    scale = carray(advance(params, stage[t.WEIGHT]), (width,))
    shift = carray(advance(params, stage[t.BIAS]), (width,))
    for i in range(i1 - i0):
        row, out = x[i], a[i]
        for j in range(width):
            out[j] = (row[j] - mean[j]) * inverse[j]
    if stage[t.SAVED] >= 0:
        saved = carray(place(work, stage, t.SAVED, i0, t.LD), ((i1 - i0) * ld,))
        normalised = carray(place(work, stage, t.A, i0, t.LD), ((i1 - i0) * ld,))
        for j in range(saved.size):
            saved[j] = normalised[j]
    for i in range(i1 - i0):
        out = a[i]
        for j in range(width):
            out[j] = scale[j] * out[j] + shift[j]


@native("fpnnnnnn")
def batch_norm_backward(frame_at, work, s, thread, i0, i1, first, count):
    """Delta of a batch normalisation's input, for rows i0:i1.

    In training mode γ/σ · (δ - mean(δ) - x̂ · mean(δ x̂)), the means over the whole batch; in
    evaluation mode, where the statistics do not depend on the input, γ/σ · δ.

    Parameters as :func:`batch_norm_forward`, whose SAVED and STATISTICS are read.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    ld, width = stage[t.LD], stage[t.LD_WEIGHT]
    params = reals(frame[t.PARAMS], work)
    scale = carray(advance(params, stage[t.WEIGHT]), (width,))
    statistics = carray(advance(work, stage[t.STATISTICS] + 3 * thread * ld), (3, ld))
    # The mean of x is needed no more: that of δ takes its place, that of δ x̂ the last one.
    mean, inverse, product = statistics[0], statistics[1], statistics[2]
    for j in range(width):
        mean[j] = 0.0
        product[j] = 0.0
    if frame[t.TRAINING] != 0 and i1 > i0:
        all_delta = carray(place(work, stage, t.DELTA, 0, t.LD), (count, ld))
        all_saved = carray(place(work, stage, t.SAVED, 0, t.LD), (count, ld))
        for i in range(count):
            row, x = all_delta[i], all_saved[i]
            for j in range(width):
                mean[j] += row[j]
                product[j] += row[j] * x[j]
        share = like(inverse[0], 1.0) / like(inverse[0], count)
        for j in range(width):
            mean[j] *= share
            product[j] *= share
    delta = carray(place(work, stage, t.DELTA, i0, t.LD), (i1 - i0, ld))
    saved = carray(place(work, stage, t.SAVED, i0, t.LD), (i1 - i0, ld))
    before = carray(place(work, stage, t.INPUT_DELTA, i0, t.LD), (i1 - i0, ld))
    for i in range(i1 - i0):
        row, x, out = delta[i], saved[i], before[i]
        for j in range(width):
            out[j] = scale[j] * inverse[j] * (row[j] - mean[j] - x[j] * product[j])


@native("fpnnnnnn")
def layer_norm_forward(frame_at, work, s, thread, i0, i1, first, count):
    """Layer normalisation of rows i0:i1: a = γ x̂ + β, x̂ = (x - μ) / √(σ² + eps), row by row.

    Parameters
    ----------
    frame_at, work : pointer
        The frame; the workspace, with the stage's INPUT [in], A, SAVED (x̂) and STATISTICS  [out]
    s : int
        Stage; its number is eps.
    i0, i1 : int
        Rows.
    thread, first, count : int
        Not read.

    References
    ----------
    Ba, Kiros and Hinton, Layer normalization, 2016.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    ld, n = stage[t.LD], stage[t.OUT]
    eps = number_of(frame, work, s, 0)
    params = reals(frame[t.PARAMS], work)
    scale = carray(advance(params, stage[t.WEIGHT]), (n,))
    shift = carray(advance(params, stage[t.BIAS]), (n,))
    x = carray(place(work, stage, t.INPUT, i0, t.LD), (i1 - i0, ld))
    a = carray(place(work, stage, t.A, i0, t.LD), (i1 - i0, ld))
    share = 1.0 / n
    for i in range(i1 - i0):
        row, out = x[i], a[i]
        total = 0.0
        for j in range(n):
            total += row[j]
        mean = total * share
        squares = 0.0
        for j in range(n):
            d = row[j] - mean
            squares += d * d
        inverse = like(eps, 1.0 / math.sqrt(squares * share + eps))
        centre = like(eps, mean)
        for j in range(n):
            out[j] = (row[j] - centre) * inverse
        for j in range(n, ld):
            out[j] = 0.0
        if stage[t.SAVED] >= 0:
            saved = carray(place(work, stage, t.SAVED, i0 + i, t.LD), (ld,))
            for j in range(ld):
                saved[j] = out[j]
            carray(advance(work, stage[t.STATISTICS] + i0 + i), (1,))[0] = inverse
        for j in range(n):
            out[j] = scale[j] * out[j] + shift[j]


@native("fpnnnnnn")
def layer_norm_backward(frame_at, work, s, thread, i0, i1, first, count):
    """Delta of a layer normalisation's input: (g - mean(g) - x̂ · mean(g x̂)) / σ, g = γ δ.

    Parameters as :func:`layer_norm_forward`, whose SAVED and STATISTICS are read.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, s)
    ld, n = stage[t.LD], stage[t.OUT]
    eps = number_of(frame, work, s, 0)
    scale = carray(advance(reals(frame[t.PARAMS], work), stage[t.WEIGHT]), (n,))
    delta = carray(place(work, stage, t.DELTA, i0, t.LD), (i1 - i0, ld))
    saved = carray(place(work, stage, t.SAVED, i0, t.LD), (i1 - i0, ld))
    before = carray(place(work, stage, t.INPUT_DELTA, i0, t.LD), (i1 - i0, ld))
    inverse = carray(advance(work, stage[t.STATISTICS] + i0), (i1 - i0,))
    share = 1.0 / n
    for i in range(i1 - i0):
        row, x, out = delta[i], saved[i], before[i]
        total = 0.0
        product = 0.0
        for j in range(n):
            g = np.float64(scale[j] * row[j])
            total += g
            product += g * x[j]
        mean, along = like(eps, total * share), like(eps, product * share)
        for j in range(n):
            out[j] = inverse[i] * (scale[j] * row[j] - mean - x[j] * along)
        for j in range(n, ld):
            out[j] = 0.0
