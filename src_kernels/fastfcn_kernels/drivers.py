"""Parallel kernels: what Python calls.

Each hands ranges to threads. One writer per element and sums in a fixed order: no result depends on
the number of threads. With one thread no parallel region is entered, which is how calls stay right
where a threading layer could not take them (a forked child, concurrent callers).
"""

from numba import prange

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper, kernel
from fastfcn_kernels.gather import gather_row
from fastfcn_kernels.losses import is_hit, loss_row, normaliser, takes_labels
from fastfcn_kernels.matmul import matrix
from fastfcn_kernels.sgd import sgd_range
from fastfcn_kernels.simd import default_fp_mode, pointer, restore_fp_mode
from fastfcn_kernels.stages import (
    GRADIENT_ROWS,
    bias_gradient,
    delta_rows,
    forward_rows,
    share_of_features,
    share_of_rows,
    transpose_rows,
    weight_gradient,
)


@helper
def _enter_rows(stages, alphas, frame, params, work, source, affine, order, first, i0, i1):
    """Gather rows i0:i1 of a batch that begins at ``first`` and take them through the network."""
    mode = default_fp_mode()
    n, ld = stages[0, t.IN], stages[0, t.LD_IN]
    x = matrix(work, stages[0, t.INPUT], i1, ld)
    for i in range(i0, i1):
        sample = order[first + i] if order.size else first + i
        gather_row(source, sample, x[i], n, affine[0], affine[1])
    forward_rows(stages, alphas, frame, params, work, i0, i1)
    restore_fp_mode(mode)


@kernel(parallel=True)
def forward(stages, alphas, frame, params, work, source, affine, batch, n_threads):
    """Forward pass of one batch that keeps what the backward pass needs.

    Parameters
    ----------
    stages, alphas, frame, params, work
        As :func:`~fastfcn_kernels.stages.forward_rows`.
    source, affine : int64 (4,), real (2,)
        The data, its scale and shift                                     [in]
    batch, n_threads : int
        Rows; threads to use.
    """
    order = source[:0]
    if n_threads == 1:
        _enter_rows(stages, alphas, frame, params, work, source, affine, order, 0, 0, batch)
        return
    for thread in prange(n_threads):
        i0, i1 = share_of_rows(batch, thread, n_threads)
        _enter_rows(stages, alphas, frame, params, work, source, affine, order, 0, i0, i1)


@helper
def _predict_rows(stages, alphas, frame, params, work, source, affine, rows, out, i0, i1):
    last = stages[stages.shape[0] - 1]
    n, ld = last[t.OUT], last[t.LD]
    order = source[:0]
    for first in range(i0, i1, rows):
        count = min(rows, i1 - first)
        _enter_rows(stages, alphas, frame, params, work, source, affine, order, first, 0, count)
        a = matrix(work, last[t.A], count, ld)
        for i in range(count):
            for j in range(n):
                out[first + i, j] = a[i, j]


@kernel(parallel=True)
def predict(stages, alphas, frame, params, works, source, affine, rows, out, n_threads):
    """Outputs of any number of rows, in blocks that stay in cache.

    Parameters
    ----------
    works : real (threads, workspace)
        A workspace for ``rows`` rows for each thread                     [scratch]
    out : real (n, K)                                                     [out]

    Others as :func:`forward`.
    """
    n = out.shape[0]
    if n_threads == 1:
        _predict_rows(stages, alphas, frame, params, works[0], source, affine, rows, out, 0, n)
        return
    for thread in prange(n_threads):
        i0, i1 = share_of_rows(n, thread, n_threads)
        _predict_rows(
            stages, alphas, frame, params, works[thread], source, affine, rows, out, i0, i1
        )


@helper
def _transpose(stages, params, work, input_delta, thread, n_threads):
    """Refresh the transposed copies of the weight rows that fall to a thread."""
    for s in range(stages.shape[0]):
        if stages[s, t.LINEAR] == 1 and (s > 0 or input_delta):
            k0, k1 = share_of_features(stages, s, thread, n_threads)
            transpose_rows(stages[s], params, work, k0, k1)


@helper
def _delta_rows(stages, alphas, frame, work, input_delta, i0, i1):
    """Delta recursion for rows i0:i1, in the default floating-point mode."""
    mode = default_fp_mode()
    delta_rows(stages, alphas, frame, work, input_delta, i0, i1)
    restore_fp_mode(mode)


@helper
def _accumulate(stages, frame, work, grads, batch, thread, n_threads):
    """Add the gradients that fall to a thread to those already there."""
    mode = default_fp_mode()
    for s in range(stages.shape[0]):
        stage = stages[s]
        if stage[t.LINEAR] == 1:
            k0, k1 = share_of_features(stages, s, thread, n_threads)
            if k1 > k0:
                ld = stage[t.LD]
                gradient = matrix(grads, stage[t.WEIGHT] + k0 * ld, k1 - k0, ld)
                start = pointer(gradient, 0, 0)
                weight_gradient(stage, frame, work, batch, start, ld, gradient, k0, k1)
                if k0 == 0 and stage[t.BIAS] >= 0:
                    bias_gradient(stage, work, batch, grads[stage[t.BIAS] :][:ld])
    restore_fp_mode(mode)


@kernel(parallel=True)
def backward(stages, alphas, frame, params, work, grads, batch, input_delta, n_threads):
    """Backward pass of one batch: deltas, then gradients, added to those already there.

    Parameters
    ----------
    stages, alphas, frame, params, work
        As :func:`~fastfcn_kernels.stages.delta_rows`, after :func:`forward`.
    grads : real (P,)
        Gradients, laid out as the parameters                             [in, out]
    batch, n_threads : int
        Rows; threads to use.
    input_delta : bool
        Whether to compute the delta of the network's input.
    """
    if n_threads == 1:
        _transpose(stages, params, work, input_delta, 0, 1)
        _delta_rows(stages, alphas, frame, work, input_delta, 0, batch)
        _accumulate(stages, frame, work, grads, batch, 0, 1)
        return
    for thread in prange(n_threads):
        _transpose(stages, params, work, input_delta, thread, n_threads)
    for thread in prange(n_threads):
        i0, i1 = share_of_rows(batch, thread, n_threads)
        _delta_rows(stages, alphas, frame, work, input_delta, i0, i1)
    for thread in prange(n_threads):
        _accumulate(stages, frame, work, grads, batch, thread, n_threads)


@helper
def _update(stages, frame, params, velocity, hyper, work, batch, thread, n_threads):
    """Gradients and momentum update of the parameters that fall to a thread.

    A few rows of a gradient at a time, in the thread's scratch: they never leave its cache.
    """
    mode = default_fp_mode()
    for s in range(stages.shape[0]):
        stage = stages[s]
        if stage[t.LINEAR] == 0:
            continue
        k0, k1 = share_of_features(stages, s, thread, n_threads)
        if k1 <= k0:
            continue
        ld = stage[t.LD]
        scratch = frame[t.SCRATCH] + thread * frame[t.SCRATCH_SIZE]
        zeros = pointer(matrix(work, frame[t.ZEROS], 1, ld), 0, 0)
        if stage[t.WEIGHT_VELOCITY] >= 0:
            for k in range(k0, k1, GRADIENT_ROWS):
                rows = min(GRADIENT_ROWS, k1 - k)
                gradient = matrix(work, scratch, rows, ld)
                weight_gradient(stage, frame, work, batch, zeros, 0, gradient, k, k + rows)
                at, state, size = stage[t.WEIGHT], stage[t.WEIGHT_VELOCITY], rows * ld
                sgd_range(
                    hyper,
                    params[at + k * ld :][:size],
                    work[scratch:][:size],
                    velocity[state + k * ld :][:size],
                )
                if s > 0:
                    transpose_rows(stage, params, work, k, k + rows)
        if k0 == 0 and stage[t.BIAS_VELOCITY] >= 0:
            gradient_row = work[scratch:][:ld]
            gradient_row[:] = 0.0
            bias_gradient(stage, work, batch, gradient_row)
            sgd_range(
                hyper,
                params[stage[t.BIAS] :][:ld],
                gradient_row,
                velocity[stage[t.BIAS_VELOCITY] :][:ld],
            )
    restore_fp_mode(mode)


@helper
def _learn_rows(
    stages,
    alphas,
    frame,
    params,
    work,
    source,
    affine,
    order,
    first,
    loss,
    smoothing,
    class_weight,
    labels,
    targets,
    factor,
    values,
    hits,
    i0,
    i1,
):
    """Rows i0:i1 of a batch: gather, forward, loss, deltas."""
    mode = default_fp_mode()
    _enter_rows(stages, alphas, frame, params, work, source, affine, order, first, i0, i1)
    last = stages[stages.shape[0] - 1]
    n, ld = last[t.OUT], last[t.LD]
    a = matrix(work, last[t.A], i1, ld)
    delta = matrix(work, last[t.DELTA], i1, ld)
    with_labels = takes_labels(loss[0])
    for i in range(i0, i1):
        sample = order[first + i]
        label = labels[sample] if with_labels else -1
        target = targets[0] if with_labels else targets[sample]
        values[first + i] = loss_row(
            loss, smoothing, class_weight, a[i], n, label, target, factor, delta[i]
        )
        if with_labels:
            hits[first + i] = is_hit(a[i], n, label)
    delta_rows(stages, alphas, frame, work, False, i0, i1)
    restore_fp_mode(mode)


@kernel(parallel=True)
def train(
    stages,
    alphas,
    frame,
    params,
    velocity,
    hyper,
    work,
    source,
    affine,
    order,
    loss,
    smoothing,
    class_weight,
    labels,
    targets,
    batch,
    first,
    stop,
    values,
    hits,
    n_threads,
):
    """Training steps over rows first:stop of an epoch, two parallel regions a step.

    First region, by rows of the batch: gather, forward, loss, output delta, delta recursion. Second
    region, by input features: weight and bias gradients, momentum update, transposed copies.

    Parameters
    ----------
    stages, alphas, frame, params, work, source, affine
        As :func:`forward`; ``params``                                    [in, out]
    velocity : real
        The optimiser's state, at the table's velocity offsets            [in, out]
    hyper : real (5,)
        As :func:`~fastfcn_kernels.sgd.sgd_range`                         [in]
    order : int64 (n,)
        The epoch's samples in the order of training                      [in]
    loss, smoothing, class_weight, labels, targets
        As :func:`~fastfcn_kernels.losses.loss_row`, for the whole data   [in]
    batch, first, stop : int
        Rows a step; rows of the epoch. The last batch may be smaller and counts its own rows.
    values, hits : float64 (n,), bool (n,)
        Loss of each row of the epoch, and whether its label came first   [out]
    n_threads : int
        Threads to use.

    Notes
    -----
    2·Σ in·out flops a sample for each of forward, gradient and (from the second layer) delta.
    """
    if n_threads == 1:
        _transpose(stages, params, work, False, 0, 1)
    else:
        for thread in prange(n_threads):
            _transpose(stages, params, work, False, thread, n_threads)
    mode = default_fp_mode()
    n = stages[stages.shape[0] - 1, t.OUT]
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        divisor = normaliser(loss, class_weight, labels, order, row, count, n)
        factor = 1.0 / divisor if divisor > 0.0 else 0.0
        if n_threads == 1:
            _learn_rows(
                stages,
                alphas,
                frame,
                params,
                work,
                source,
                affine,
                order,
                row,
                loss,
                smoothing,
                class_weight,
                labels,
                targets,
                factor,
                values,
                hits,
                0,
                count,
            )
            _update(stages, frame, params, velocity, hyper, work, count, 0, 1)
        else:
            for thread in prange(n_threads):
                i0, i1 = share_of_rows(count, thread, n_threads)
                _learn_rows(
                    stages,
                    alphas,
                    frame,
                    params,
                    work,
                    source,
                    affine,
                    order,
                    row,
                    loss,
                    smoothing,
                    class_weight,
                    labels,
                    targets,
                    factor,
                    values,
                    hits,
                    i0,
                    i1,
                )
            for thread in prange(n_threads):
                _update(stages, frame, params, velocity, hyper, work, count, thread, n_threads)
    restore_fp_mode(mode)
