"""Range kernels of the passes: forward, back, a batch's gradients, predictions.

A *range kernel* takes a frame, the workspace, which of how many threads it is, a stretch of rows
and a phase, and works on its thread's share: one writer per element and sums in a fixed order, so
no result depends on the number of threads. Python calls it for one thread; ``drivers.py`` hands it
to several.

A layer that looks at a whole batch cuts the passes: every thread must be done with what comes
before it. A *phase* is what lies between two cuts; networks without such layers have one.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.flags import INPUT, LOOK, TRUST, WEIGHTS, set_flag
from fastfcn_kernels.matmul import clear_padding
from fastfcn_kernels.memory import advance, int32s, int64s, reals
from fastfcn_kernels.scans import all_finite
from fastfcn_kernels.shares import share_of_features, share_of_rows
from fastfcn_kernels.simd import TILE_ROWS, default_fp_mode, restore_fp_mode
from fastfcn_kernels.stages import (
    bias_gradient,
    first_whole_stage,
    place,
    scale_gradient,
    stage_at,
    transpose_rows,
)

SCAN_ROWS = 4 * TILE_ROWS
"""Rows from which on looking whether the first weight is finite costs little beside using it."""


@helper
def _may_skip(frame, work, rows):
    """Return 1 where zeros of the input may be skipped, 0 where the first weight is not finite.

    Looking at the weight must pay: a few rows go the dense way, to the same bits.
    """
    if frame[t.SKIPS] != LOOK:
        return 1 if frame[t.SKIPS] == TRUST else 0
    if rows < SCAN_ROWS:
        return 0
    stage = stage_at(frame, 0)
    weight = advance(reals(frame[t.PARAMS], work), stage[t.WEIGHT])
    return 1 if all_finite(weight, stage[t.IN] * stage[t.LD_WEIGHT]) else 0


@helper
def bounds_of(frame):
    """Return the stages where passes are cut: 0, cuts, number of stages."""
    return carray(int64s(frame[t.BOUNDS]), (frame[t.N_CUTS] + 2,))


@helper
def backward_stages(frame, phase):
    """Return the first stage of a phase of the backward pass, and the one after its last.

    A layer that looks at the whole batch begins a phase in either direction.
    """
    cuts, bounds = frame[t.N_CUTS], bounds_of(frame)
    bottom = bounds[cuts - phase] + 1 if phase < cuts else 0
    top = bounds[cuts + 1 - phase] + 1 if phase > 0 else frame[t.N_STAGES]
    return bottom, top


@native("fpnnnnn")
def forward(frame_at, work, thread, n_threads, first, count, phase):
    """Forward pass of a batch that keeps what the backward pass needs.

    Parameters
    ----------
    frame_at : pointer to int64
        The frame: network, workspace, code, data                         [in]
    work : pointer
        Workspace for ``count`` rows                                      [out]
    thread, n_threads : int
        Which share of how many.
    first, count : int
        Rows of the data.
    phase : int
        Part of the pass, in order from 0.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    if phase == 0:
        call(frame[t.GATHER], (frame_at, work, thread, first, i0, i1, i0))
    skips = _may_skip(frame, work, i1 - i0) if phase == 0 else 0
    bounds = bounds_of(frame)
    call(
        frame[t.FORWARD],
        (frame_at, work, thread, i0, i1, skips, first, count, bounds[phase], bounds[phase + 1]),
    )
    restore_fp_mode(mode)


@native("fpnnnnn")
def predict(frame_at, work, thread, n_threads, first, count, phase):
    """Outputs of any number of rows, in blocks that stay in cache; flag data that are not finite.

    Parameters
    ----------
    frame_at : pointer to int64
        The frame: network, workspace, code, data, RESULT, BLOCK          [in]
    work : pointer
        Workspace for BLOCK rows for each thread                          [scratch]
    first, count : int
        Rows of the data, and of RESULT.
    phase : int
        Not read: in evaluation mode no layer looks at the batch.

    Others as :func:`forward`.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    block = frame[t.BLOCK]
    skips = _may_skip(frame, work, i1 - i0)
    last = stage_at(frame, frame[t.N_STAGES] - 1)
    n, ld = last[t.OUT], last[t.LD]
    out = carray(reals(frame[t.RESULT], work), (first + count, n))
    at = thread * block
    first_stage = stage_at(frame, 0)
    x = place(work, first_stage, t.INPUT, at, t.LD_IN)
    finite = True
    for i in range(i0, i1, block):
        rows = min(block, i1 - i)
        if frame[t.X_INDPTR] != 0:
            entries_at = thread * frame[t.ROW_CAPACITY]
            call(frame[t.PACK], (frame_at, work, first, i, i + rows, at, entries_at))
        else:
            call(frame[t.GATHER], (frame_at, work, thread, first, i, i + rows, at))
            finite &= all_finite(x, rows * first_stage[t.LD_IN])
        call(
            frame[t.FORWARD],
            (
                frame_at, work, thread, at, at + rows, skips, first, rows, 0, frame[t.N_STAGES],
            ),
        )  # fmt: skip
        a = carray(place(work, last, t.A, at, t.LD), (rows, ld))
        for r in range(rows):
            for j in range(n):
                out[first + i + r, j] = a[r, j]
    set_flag(frame, thread, INPUT, finite)
    restore_fp_mode(mode)


@native("fpnnnnn")
def prepare(frame_at, work, thread, n_threads, first, count, phase):
    """Make the transposed copies of the weights, and the flag of the first one.

    Parameters
    ----------
    first : int
        1 to prepare for the delta of the network's input too.
    count, phase : int
        Not read.

    Others as :func:`forward`.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params = reals(frame[t.PARAMS], work)
    none = carray(int32s(frame[t.COSTS]), (0,))
    for s in range(first_whole_stage(frame), frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        if stage[t.KIND] != t.LINEAR:
            continue
        k0, k1 = share_of_features(frame, s, thread, n_threads, none)
        if stage[t.TRANSPOSE] >= 0 and (s > 0 or first == 1):
            transpose_rows(stage, params, work, k0, k1)
        if s == 0 and frame[t.SKIPS] != 0:
            weight = advance(params, stage[t.WEIGHT] + k0 * stage[t.LD_WEIGHT])
            finite = all_finite(weight, (k1 - k0) * stage[t.LD_WEIGHT])
            set_flag(frame, thread, WEIGHTS, finite)


@native("fpnnnnn")
def deltas(frame_at, work, thread, n_threads, first, count, phase):
    """Delta recursion over the rows of a batch, after :func:`forward` and :func:`prepare`.

    Parameters
    ----------
    first : int
        1 to go on to the delta of the network's input.

    Others as :func:`forward`.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    s0, s1 = backward_stages(frame, phase)
    call(frame[t.DELTAS], (frame_at, work, thread, i0, i1, first, 0, count, s0, s1))
    restore_fp_mode(mode)


@native("fpnnnnn")
def accumulate(frame_at, work, thread, n_threads, first, count, phase):
    """Add a batch's gradients to GRADS, after :func:`deltas`: dW += aᵀ δ, db += Σ δ.

    Parameters as :func:`forward`; ``first`` and ``phase`` are not read.

    Notes
    -----
    2·batch·Σ in·out flops. Sums run over the samples in ascending order, whatever the threads.

    References
    ----------
    000_0158dc28be9f1671, section 2.1.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    grads = reals(frame[t.GRADS], work)
    none = carray(int32s(frame[t.COSTS]), (0,))
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        if stage[t.KIND] > t.LINEAR:
            if stage[t.WEIGHT] >= 0 and s % n_threads == thread:
                scale_gradient(stage, work, count, advance(grads, stage[t.WEIGHT]))
                bias_gradient(stage, work, count, advance(grads, stage[t.BIAS]))
            continue
        k0, k1 = share_of_features(frame, s, thread, n_threads, none)
        if stage[t.KIND] != t.LINEAR or k1 <= k0:
            continue
        n, ld, ld_delta = stage[t.OUT], stage[t.LD_WEIGHT], stage[t.LD]
        gradient = advance(grads, stage[t.WEIGHT] + k0 * ld)
        x = advance(place(work, stage, t.INPUT, 0, t.LD_IN), k0)
        delta = place(work, stage, t.DELTA, 0, t.LD)
        call(
            frame[t.MATMUL],
            (gradient, ld, gradient, ld, x, 1, stage[t.LD_IN], delta, ld_delta, k1 - k0, n, count),
        )
        clear_padding(gradient, ld, n, k1 - k0)
        if k0 == 0 and stage[t.BIAS] >= 0:
            bias_gradient(stage, work, count, advance(grads, stage[t.BIAS]))
    restore_fp_mode(mode)
