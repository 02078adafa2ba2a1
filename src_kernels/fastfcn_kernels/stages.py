"""Pieces of a pass: a stretch of rows through the network and back, a stretch of features.

Serial; the range kernels of ``passes.py`` and ``training.py`` share them out. Rows of a batch are
independent of each other up to the weight gradients, whose rows (input features) are independent of
each other in turn: two ranges, two parallel regions a training step.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.activations import IDENTITY
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.flags import DENSE, flag_of
from fastfcn_kernels.masks import words_of
from fastfcn_kernels.matmul import clear_padding
from fastfcn_kernels.memory import advance, int64s, reals
from fastfcn_kernels.scans import transpose_block
from fastfcn_kernels.simd import lanes


@helper
def stage_at(frame, s):
    """Return row s of the layer table."""
    return carray(advance(int64s(frame[t.STAGES]), s * t.COLUMNS), (t.COLUMNS,))


PART_STAGES = 2
"""Stages that a part is of: the weights into its units, and out of them."""


@helper
def first_whole_stage(frame):
    """Return the first stage that no thread keeps a part of: see ``parts.py``."""
    return PART_STAGES if frame[t.PARTS] != 0 else 0


@helper
def place(work, stage, column, row, ld_column):
    """Return where a row of a stage's matrix lies in the workspace."""
    return advance(work, stage[column] + row * stage[ld_column])


@helper
def number_of(frame, work, s, which):
    """Return one of the two numbers of stage s: an activation's parameter, a layer's eps."""
    return carray(reals(frame[t.NUMBERS], work), (s + 1, 2))[s, which]


@native("fpnnnnnnnn")
def forward_rows(frame_at, work, thread, i0, i1, skips, first, count, s0, s1):
    """Rows i0:i1 through the stages s0:s1; a linear one is z = a W + b, a = h(z).

    Parameters
    ----------
    frame_at : pointer to int64
        The frame: network, workspace, code; where SKIPS is not 0, MASKS and flags of the rows  [in]
    work : pointer
        Workspace; the input lies at the first stage's INPUT. z and a of every stage  [out]
    thread : int
        Whose flag tells whether the rows are dense.
    i0, i1 : int
        Rows.
    skips : int
        1 where zeros of the input may be skipped: the first weight is finite.
    first, count : int
        The batch's first row in the epoch, and its rows.
    s0, s1 : int
        Stages.

    Notes
    -----
    2·rows·Σ in·out flops, fewer in the first stage with zeros skipped. |error| of z ≤
    (in + 1)·eps·(|a||W| + |b|) (tested at 16 eps).

    References
    ----------
    000_0158dc28be9f1671, section 2.1.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params = reals(frame[t.PARAMS], work)
    zeros = advance(work, frame[t.ZEROS])
    rows = i1 - i0
    for s in range(s0, s1):
        stage = stage_at(frame, s)
        if stage[t.KIND] > t.LINEAR:
            call(stage[t.FORWARD_AT], (frame_at, work, s, thread, i0, i1, first, count))
            continue
        n, ld, ld_in, ld_weight = stage[t.OUT], stage[t.LD], stage[t.LD_IN], stage[t.LD_WEIGHT]
        z, a = place(work, stage, t.Z, i0, t.LD), place(work, stage, t.A, i0, t.LD)
        if stage[t.KIND] == t.LINEAR:
            x = place(work, stage, t.INPUT, i0, t.LD_IN)
            weight = advance(params, stage[t.WEIGHT])
            start = advance(params, stage[t.BIAS]) if stage[t.BIAS] >= 0 else zeros
            skipped = False
            if s == 0 and frame[t.X_INDPTR] != 0:
                call(frame[t.SPARSE_FORWARD], (frame_at, work, i0, i1, z, start, weight))
                skipped = True
            elif s == 0 and frame[t.SKIPS] != 0:
                skipped = skips != 0 and not flag_of(frame, thread, DENSE)
                if skipped:
                    words = words_of(stage[t.IN])
                    masks = advance(int64s(frame[t.MASKS]), i0 * words)
                    call(
                        frame[t.MASKED],
                        (
                            frame[t.MATMUL], z, ld, start, 0, x, ld_in, 1, weight, ld_weight,
                            rows, n, stage[t.IN], masks, words, 1, 0,
                        ),
                    )  # fmt: skip
            if not skipped:
                call(
                    frame[t.MATMUL],
                    (z, ld, start, 0, x, ld_in, 1, weight, ld_weight, rows, n, stage[t.IN]),
                )
            clear_padding(z, ld, n, rows)
        if stage[t.ACTIVATION] != IDENTITY or stage[t.Z] != stage[t.A]:
            call(stage[t.FORWARD_AT], (number_of(frame, work, s, 0), z, a, ld, n, rows))


@native("fpnnnnnnnn")
def delta_rows(frame_at, work, thread, i0, i1, input_delta, first, count, s0, s1):
    """Delta recursion for rows i0:i1, from stage s1 - 1 down to s0: δˡ⁻¹ = (δˡ Wᵀ) ⊙ h'(zˡ⁻¹).

    Parameters
    ----------
    frame_at : pointer to int64
        The frame                                                         [in]
    work : pointer
        Workspace of the forward pass, the loss's gradient in the last stage's DELTA and transposed
        weights in place                                                  [in, out]
    thread : int
        Whose copy of a batch's statistics to use.
    i0, i1 : int
        Rows.
    input_delta : int
        1 to go through the first stage, to the network's input.
    first, count, s0, s1 : int
        As :func:`forward_rows`.

    Notes
    -----
    2·rows·Σ in·out flops over the stages it goes through. The transposed weight turns the sum over
    outputs into the same row-by-row product as the forward pass.

    References
    ----------
    000_0158dc28be9f1671, section 7; 001_7c5f81f664e2cd4e.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    zeros = advance(work, frame[t.ZEROS])
    rows = i1 - i0
    for s in range(s1 - 1, s0 - 1, -1):
        stage = stage_at(frame, s)
        if stage[t.KIND] > t.LINEAR:
            if stage[t.INPUT_DELTA] >= 0:
                call(stage[t.BACKWARD_AT], (frame_at, work, s, thread, i0, i1, first, count))
            continue
        n, ld, ld_in = stage[t.OUT], stage[t.LD], stage[t.LD_IN]
        delta = place(work, stage, t.DELTA, i0, t.LD)
        if stage[t.ACTIVATION] != IDENTITY:
            z, a = place(work, stage, t.Z, i0, t.LD), place(work, stage, t.A, i0, t.LD)
            call(stage[t.BACKWARD_AT], (number_of(frame, work, s, 0), z, a, delta, ld, n, rows))
        if stage[t.KIND] == t.LINEAR and (s > 0 or input_delta != 0):
            before = place(work, stage, t.INPUT_DELTA, i0, t.LD_IN)
            transposed, ld_t = advance(work, stage[t.TRANSPOSE]), stage[t.LD_TRANSPOSE]
            call(
                frame[t.MATMUL],
                (before, ld_in, zeros, 0, delta, ld, 1, transposed, ld_t, rows, stage[t.IN], n),
            )
            clear_padding(before, ld_in, stage[t.IN], rows)


@helper
def scale_gradient(stage, work, batch, gradient):
    """Gradient of a normalisation's scale: gradient += Σ δ ⊙ x̂ over the batch, in sample order."""
    ld, width = stage[t.LD], stage[t.LD_WEIGHT]
    delta = carray(place(work, stage, t.DELTA, 0, t.LD), (batch, ld))
    normalised = carray(place(work, stage, t.SAVED, 0, t.LD), (batch, ld))
    total = carray(gradient, (width,))
    for i in range(batch):
        row, x = delta[i], normalised[i]
        for j in range(width):
            total[j] += row[j] * x[j]


@helper
def bias_gradient(stage, work, batch, gradient):
    """Bias gradient: gradient += Σ δ over the batch, in sample order."""
    ld, width = stage[t.LD], stage[t.LD_WEIGHT]
    delta = carray(place(work, stage, t.DELTA, 0, t.LD), (batch, ld))
    total = carray(gradient, (width,))
    for i in range(batch):
        row = delta[i]
        for j in range(width):
            total[j] += row[j]


@helper
def transpose_rows(stage, params, work, k0, k1):
    """Copy rows k0:k1 of a stage's weight into the columns of its transposed copy."""
    n, ld, ld_t = stage[t.OUT], stage[t.LD_WEIGHT], stage[t.LD_TRANSPOSE]
    source, target = advance(params, stage[t.WEIGHT]), advance(work, stage[t.TRANSPOSE])
    width = lanes(source)
    weight = carray(source, (k1, ld))
    transposed = carray(target, (n, ld_t))
    whole_k, whole_j = k0 + (k1 - k0) // width * width, n // width * width
    for j in range(0, whole_j, width):
        for k in range(k0, whole_k, width):
            to = advance(target, j * ld_t + k)
            transpose_block(to, ld_t, advance(source, k * ld + j), ld)
        for k in range(whole_k, k1):
            for i in range(j, j + width):
                transposed[i, k] = weight[k, i]
    for j in range(whole_j, n):
        for k in range(k0, k1):
            transposed[j, k] = weight[k, j]
