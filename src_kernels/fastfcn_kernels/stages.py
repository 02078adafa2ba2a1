"""Range kernels: a stretch of rows through the network and back.

Serial pieces that the parallel kernels hand to threads. Rows of a batch are independent of each
other up to the weight gradients, whose rows (input features) are independent of each other in turn:
two ranges, two parallel regions a training step.
"""

from fastfcn_kernels import table as t
from fastfcn_kernels.activations import IDENTITY
from fastfcn_kernels.compilation import call, helper
from fastfcn_kernels.matmul import clear_padding, matrix
from fastfcn_kernels.simd import TILE_ROWS, pointer

GRADIENT_ROWS = 4 * TILE_ROWS
"""Rows of a weight gradient that a thread computes at once: they stay in its first-level cache."""


@helper
def forward_rows(stages, alphas, frame, params, work, i0, i1):
    """Affine map and activation of rows i0:i1, stage after stage: z = a W + b, a = h(z).

    Parameters
    ----------
    stages, alphas, frame : int64 (L, COLUMNS), real (L,), int64 (FRAME_SIZE,)
        The layer table, the activations' parameters, the shared offsets  [in]
    params : real (P,)
        Weights (in, out) with padded rows, and biases                    [in]
    work : real
        Workspace; the input lies at the first stage's INPUT. z and a of every stage  [out]
    i0, i1 : int
        Rows.

    Notes
    -----
    2·rows·Σ in·out flops. |error| of z ≤ (in + 1)·eps·(|a||W| + |b|) (tested at 16 eps).

    References
    ----------
    000_0158dc28be9f1671, section 2.1.
    """
    rows = i1 - i0
    for s in range(stages.shape[0]):
        stage = stages[s]
        n, ld, ld_in = stage[t.OUT], stage[t.LD], stage[t.LD_IN]
        z = matrix(work, stage[t.Z], i1, ld)
        a = matrix(work, stage[t.A], i1, ld)
        if stage[t.LINEAR] == 1:
            x = matrix(work, stage[t.INPUT], i1, ld_in)
            weight = matrix(params, stage[t.WEIGHT], stage[t.IN], ld)
            if stage[t.BIAS] >= 0:
                start = pointer(matrix(params, stage[t.BIAS], 1, ld), 0, 0)
            else:
                start = pointer(matrix(work, frame[t.ZEROS], 1, ld), 0, 0)
            call(
                frame[t.MATMUL],
                (
                    pointer(z, i0, 0),
                    ld,
                    start,
                    0,
                    pointer(x, i0, 0),
                    ld_in,
                    1,
                    pointer(weight, 0, 0),
                    ld,
                    rows,
                    ld,
                    stage[t.IN],
                ),
            )
            clear_padding(z, n, i0, i1)
        code = stage[t.ACTIVATION]
        if code != IDENTITY or stage[t.Z] != stage[t.A]:
            at_z, at_a = pointer(z, i0, 0), pointer(a, i0, 0)
            call(frame[t.ACTIVATE], (code, alphas[s], at_z, at_a, ld, n, rows))


@helper
def delta_rows(stages, alphas, frame, work, input_delta, i0, i1):
    """Delta recursion for rows i0:i1: δˡ⁻¹ = (δˡ Wᵀ) ⊙ h'(zˡ⁻¹), from the last stage to the first.

    Parameters
    ----------
    stages, alphas, frame : int64 (L, COLUMNS), real (L,), int64 (FRAME_SIZE,)
        The layer table, the activations' parameters, the shared offsets  [in]
    work : real
        Workspace of the forward pass, the loss's gradient in the last stage's DELTA and transposed
        weights in place                                                  [in, out]
    input_delta : bool
        Whether to go through the first linear map, to the network's input.
    i0, i1 : int
        Rows.

    Notes
    -----
    2·rows·Σ in·out flops over the stages it goes through. The transposed weight turns the sum over
    outputs into the same row-by-row product as the forward pass.

    References
    ----------
    000_0158dc28be9f1671, section 7; 001_7c5f81f664e2cd4e.
    """
    rows = i1 - i0
    for s in range(stages.shape[0] - 1, -1, -1):
        stage = stages[s]
        n, ld, ld_in = stage[t.OUT], stage[t.LD], stage[t.LD_IN]
        delta = matrix(work, stage[t.DELTA], i1, ld)
        code = stage[t.ACTIVATION]
        if code != IDENTITY:
            z = matrix(work, stage[t.Z], i1, ld)
            a = matrix(work, stage[t.A], i1, ld)
            at_z, at_a, at_delta = pointer(z, i0, 0), pointer(a, i0, 0), pointer(delta, i0, 0)
            call(frame[t.DERIVE], (code, alphas[s], at_z, at_a, at_delta, ld, n, rows))
        if stage[t.LINEAR] == 1 and (s > 0 or input_delta):
            before = matrix(work, stage[t.INPUT_DELTA], i1, ld_in)
            transposed = matrix(work, stage[t.TRANSPOSE], n, ld_in)
            call(
                frame[t.MATMUL],
                (
                    pointer(before, i0, 0),
                    ld_in,
                    pointer(matrix(work, frame[t.ZEROS], 1, ld_in), 0, 0),
                    0,
                    pointer(delta, i0, 0),
                    ld,
                    1,
                    pointer(transposed, 0, 0),
                    ld_in,
                    rows,
                    ld_in,
                    n,
                ),
            )
            clear_padding(before, stage[t.IN], i0, i1)


@helper
def weight_gradient(stage, frame, work, batch, start, lds, gradient, k0, k1):
    """Rows k0:k1 of a weight gradient: dW = start + aᵀ δ.

    Parameters
    ----------
    stage, frame : int64 (COLUMNS,), int64 (FRAME_SIZE,)
        One row of the layer table, the shared offsets                    [in]
    work : real
        Workspace with the stage's input and delta                        [in]
    batch : int
        Samples to sum over, in ascending order whatever the threads.
    start, lds : pointer, int
        What the sums begin with                                          [in]
    gradient : real (rows, LD)
        Row k lands in gradient[k - k0]                                   [out]
    k0, k1 : int
        Input features.

    Notes
    -----
    2·batch·(k1 - k0)·out flops.

    References
    ----------
    000_0158dc28be9f1671, section 2.1.
    """
    ld, ld_in = stage[t.LD], stage[t.LD_IN]
    x = matrix(work, stage[t.INPUT], batch, ld_in)
    delta = matrix(work, stage[t.DELTA], batch, ld)
    call(
        frame[t.MATMUL],
        (
            pointer(gradient, 0, 0),
            ld,
            start,
            lds,
            pointer(x, 0, k0),
            1,
            ld_in,
            pointer(delta, 0, 0),
            ld,
            k1 - k0,
            ld,
            batch,
        ),
    )
    clear_padding(gradient, stage[t.OUT], 0, k1 - k0)


@helper
def bias_gradient(stage, work, batch, gradient):
    """Bias gradient: gradient += Σ δ over the batch, in sample order."""
    delta = matrix(work, stage[t.DELTA], batch, stage[t.LD])
    for i in range(batch):
        row = delta[i]
        for j in range(row.size):
            gradient[j] += row[j]


@helper
def transpose_rows(stage, params, work, k0, k1):
    """Copy rows k0:k1 of a stage's weight into the columns of its transposed copy."""
    n = stage[t.OUT]
    weight = matrix(params, stage[t.WEIGHT], stage[t.IN], stage[t.LD])
    transposed = matrix(work, stage[t.TRANSPOSE], n, stage[t.LD_IN])
    for j in range(n):
        for k in range(k0, k1):
            transposed[j, k] = weight[k, j]


@helper
def share_of_features(stages, s, thread, n_threads):
    """Return the input features k0, k1 of stage s that fall to a thread.

    All weights of the network are laid end to end and cut into equal areas, so that threads finish
    together; cuts are rounded to whole tiles.
    """
    total = 0
    before = 0
    for i in range(stages.shape[0]):
        if stages[i, t.LINEAR] == 1:
            area = stages[i, t.IN] * stages[i, t.LD]
            total += area
            if i < s:
                before += area
    return (
        _feature_at(stages[s], total * thread // n_threads - before),
        _feature_at(stages[s], total * (thread + 1) // n_threads - before),
    )


@helper
def _feature_at(stage, area):
    """Return the input feature that lies ``area`` elements into a stage's weight, on a tile."""
    if area >= stage[t.IN] * stage[t.LD]:
        return stage[t.IN]
    if area <= 0:
        return 0
    return min(stage[t.IN], area // stage[t.LD] // TILE_ROWS * TILE_ROWS)


@helper
def share_of_rows(n, thread, n_threads):
    """Return the rows i0, i1 of n that fall to a thread."""
    return n * thread // n_threads, n * (thread + 1) // n_threads
