"""Range kernels of a training step: learn by rows, then update by input features.

Two parallel regions a step, where no layer looks at a whole batch and gradients are not cut to a
norm. What a range kernel is, and a phase, says ``passes.py``.
"""

import math

import numpy as np
from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.flags import DENSE, FIRST_DELTA, WEIGHTS, all_flags, may_skip, set_flag
from fastfcn_kernels.gather import ask_for_part
from fastfcn_kernels.losses import normaliser
from fastfcn_kernels.masks import DENSE_COST, masks_of_features
from fastfcn_kernels.matmul import clear_padding
from fastfcn_kernels.memory import advance, copy_elements, float64s, int32s, reals
from fastfcn_kernels.optimisers import hyperparameters_of
from fastfcn_kernels.passes import backward_stages, bounds_of
from fastfcn_kernels.scans import GROUP, all_finite
from fastfcn_kernels.shares import (
    BATCH_ROWS,
    WEIGHTS_COST,
    cost_of_features,
    note_work,
    share_of_batch,
    share_of_features,
)
from fastfcn_kernels.simd import TILE_ROWS, default_fp_mode, restore_fp_mode, ticks
from fastfcn_kernels.stages import (
    bias_gradient,
    first_whole_stage,
    place,
    scale_gradient,
    stage_at,
    transpose_rows,
)

GRADIENT_ROWS = 8 * TILE_ROWS
"""Rows of a weight gradient that are computed at once: they stay in the nearest caches."""
LONG_BATCH = 256
"""Samples above which more rows of a weight gradient are computed at once."""
LONG_GRADIENT_ROWS = 16 * TILE_ROWS
"""Those rows: a long delta passes through the cache less often."""
PACKED_BATCH = 512
"""Samples above which the columns of a wide input that they need are first copied together."""
PACKED_WIDTH = 512
"""Elements of a row from which on an input is wide: steps down its columns lead to other pages."""


@native("fpnnnnn")
def learn(frame_at, work, thread, n_threads, first, count, phase):
    """First region of a training step, by rows: gather, forward, loss, deltas.

    Parameters as :func:`fastfcn_kernels.passes.forward`; ``first`` is the batch's first row in the
    epoch. With n cuts there are 2n + 1 phases, of which the middle one goes forward and back.

    Notes
    -----
    Zeros are skipped while every thread found its share of the first weight finite, in
    :func:`fastfcn_kernels.passes.prepare` or :func:`update`.
    """
    began = ticks()
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_batch(frame, count, thread, n_threads)
    cuts, bounds = frame[t.N_CUTS], bounds_of(frame)
    whole = first_whole_stage(frame)
    if phase == 0 and whole == 0:
        if frame[t.X_INDPTR] != 0:
            call(frame[t.PACK], (frame_at, work, first, i0, i1, i0, -1))
        else:
            call(frame[t.GATHER], (frame_at, work, thread, first, i0, i1, i0))
    if phase <= cuts:
        skips = may_skip(frame, n_threads)
        s0, s1 = max(whole, bounds[phase]), bounds[phase + 1]
        call(frame[t.FORWARD], (frame_at, work, thread, i0, i1, skips, first, count, s0, s1))
    if phase == cuts:
        divisor = normaliser(frame, first, count)
        factor = 1.0 / divisor if divisor > 0.0 else 0.0
        call(frame[t.LOSS], (frame_at, work, first, i0, i1, factor))
    if phase >= cuts:
        s0, s1 = backward_stages(frame, phase - cuts)
        call(frame[t.DELTAS], (frame_at, work, thread, i0, i1, 0, first, count, max(whole, s0), s1))
    if phase == 2 * cuts and whole == 0 and frame[t.SKIPS] != 0:
        stage = stage_at(frame, 0)
        delta = place(work, stage, t.DELTA, i0, t.LD)
        finite = all_finite(delta, (i1 - i0) * stage[t.LD])
        set_flag(frame, thread, FIRST_DELTA, finite)
    if whole == 0 and cuts == 0:  # phases are not alike, and some do not go by rows
        note_work(frame, thread, BATCH_ROWS, i1 - i0, began)
    restore_fp_mode(mode)


@helper
def _old_and_new_costs(frame, first, count):
    """Return two generations of the first stage's costs, a number a group; empty where zeros count.

    Every thread divides the work by those of the step before, and writes this one's for its share.
    """
    counts = frame[t.X_INDPTR] != 0 or frame[t.SKIPS] != 0
    groups = (stage_at(frame, 0)[t.IN] + GROUP - 1) // GROUP if counts else 0
    generation = first // frame[t.BATCH] & 1
    at = int32s(frame[t.COSTS])
    return (
        carray(advance(at, (1 - generation) * groups), (groups,)),
        carray(advance(at, generation * groups), (groups,)),
    )


@helper
def _step(frame, work, first, others, parameter, state, gradient, size):
    """Update ``size`` parameters, given their places, from their gradients."""
    call(
        frame[t.STEP],
        (
            hyperparameters_of(frame, work, first, others),
            advance(reals(frame[t.PARAMS], work), parameter),
            gradient,
            advance(reals(frame[t.STATE], work), state),
            frame[t.STATE_SLOT],
            size,
        ),
    )


@helper
def _pack_columns(frame, scratch, x, ld, columns, rows):
    """Copy some columns of a matrix to scratch, row after row; return where."""
    packed = advance(scratch, frame[t.PACKED])
    for i in range(rows):
        copy_elements(advance(x, i * ld), advance(packed, i * columns), columns)
    return packed


@helper
def _update_rows(frame, work, first, s, k, rows, gradient):
    """Update some rows of stage s's weight; tell whether the first weight's are finite.

    A few at a time: they are looked at while they are in the first-level cache.
    """
    stage = stage_at(frame, s)
    looks = s == 0 and frame[t.SKIPS] != 0
    ld = stage[t.LD_WEIGHT]
    few = TILE_ROWS * ld
    weight, state = stage[t.WEIGHT] + k * ld, stage[t.WEIGHT_STATE] + k * ld
    finite = True
    for j in range(0, rows * ld, few):
        size = min(few, rows * ld - j)
        _step(frame, work, first, 0, weight + j, state + j, advance(gradient, j), size)
        if looks:
            finite &= all_finite(advance(reals(frame[t.PARAMS], work), weight + j), size)
    return finite


@helper
def _norms(frame, s):
    """Return a pointer to stage s's sums of squares: one a row of the weight, then the bias's."""
    before = 0
    for i in range(s):
        stage = stage_at(frame, i)
        before += stage[t.IN] + 1 if stage[t.KIND] == t.LINEAR else 2
    return advance(float64s(frame[t.NORMS]), before)


@helper
def _note_squares(norms, row, gradient, rows, ld):
    """Write the sum of squares of each of some rows of a gradient."""
    values = carray(gradient, (rows, ld))
    sums = carray(norms, (row + rows,))
    for r in range(rows):
        total = 0.0
        for j in range(ld):
            g = np.float64(values[r, j])
            total += g * g
        sums[row + r] = total


@native("fpnnnnn")
def update(frame_at, work, thread, n_threads, first, count, phase):
    """Second region of a training step, by input features: gradients, update, transposed copies.

    Where gradients are cut to a norm, they are only computed, to GRADS, with the sums of their
    rows' squares: :func:`clipped_update` follows.

    Parameters as :func:`learn`; ``phase`` is not read.

    Notes
    -----
    2·batch·Σ in·out flops, fewer in the first stage with zeros skipped. A few rows of a gradient at
    a time, in the thread's scratch: they never leave its cache.

    References
    ----------
    000_0158dc28be9f1671, sections 2.1 and 2.5.
    """
    began = ticks()
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params, grads = reals(frame[t.PARAMS], work), reals(frame[t.GRADS], work)
    scratch = advance(work, frame[t.SCRATCH] + thread * frame[t.SCRATCH_SIZE])
    zeros = advance(work, frame[t.ZEROS])
    sparse, clips = frame[t.X_INDPTR] != 0, frame[t.CLIP] != 0
    costs, new_costs = _old_and_new_costs(frame, first, count)
    next0, next1 = share_of_batch(frame, frame[t.BATCH], thread, n_threads)
    next0 += frame[t.BEGIN]  # where a part begins to gather, which is not where the others do
    chunk = GRADIENT_ROWS if count <= LONG_BATCH else LONG_GRADIENT_ROWS
    whole, cost = first_whole_stage(frame), 0
    for s in range(whole, frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        n, ld, ld_in = stage[t.OUT], stage[t.LD_WEIGHT], stage[t.LD_IN]
        k0, k1 = 0, 0
        if stage[t.KIND] == t.LINEAR:
            k0, k1 = share_of_features(frame, s, thread, n_threads, costs)
            cost += cost_of_features(stage, s, k0, k1, costs)
        x = place(work, stage, t.INPUT, 0, t.LD_IN)
        delta, ld_delta = place(work, stage, t.DELTA, 0, t.LD), stage[t.LD]
        skipped = False
        trains = k1 > k0 and stage[t.WEIGHT_STATE] >= 0
        costs_at = int32s(new_costs.ctypes.data)
        if s == 0 and sparse:
            call(frame[t.SORT], (frame_at, work, count, k0, k1, costs_at))
        elif s == 0 and frame[t.SKIPS] != 0 and trains:
            finite_delta = all_flags(frame, n_threads, FIRST_DELTA)
            skipped = finite_delta and not all_flags(frame, n_threads, DENSE)
            if skipped:
                call(frame[t.MASK_FEATURES], (frame_at, work, thread, count, k0, k1, costs_at))
                masks, stride = masks_of_features(frame, thread, count)
            else:
                new_costs[k0 // GROUP : (k1 + GROUP - 1) // GROUP] = DENSE_COST
        if trains:
            finite = True
            packs = frame[t.PACKED] != 0 and count > PACKED_BATCH and ld_in >= PACKED_WIDTH
            for k in range(k0, k1, chunk):
                rows = min(chunk, k1 - k)
                if s == 0:
                    part, parts = (k - k0) // chunk, (k1 - k0 + chunk - 1) // chunk
                    ask_for_part(frame, first + count, next0, next1, part, parts)
                at = advance(x, k)
                gradient = advance(grads, stage[t.WEIGHT] + k * ld) if clips else scratch
                if s == 0 and sparse:
                    call(frame[t.SPARSE_GRADIENT], (frame_at, work, k, rows, gradient))
                elif skipped:
                    call(
                        frame[t.MASKED],
                        (
                            frame[t.MATMUL], gradient, ld, zeros, 0, at, 1, ld_in,
                            delta, ld_delta, rows, n, count, advance(masks, k), 1, stride, 1,
                        ),
                    )  # fmt: skip
                else:
                    step = ld_in
                    if packs:
                        at, step = _pack_columns(frame, scratch, at, ld_in, rows, count), rows
                    call(
                        frame[t.MATMUL],
                        (gradient, ld, zeros, 0, at, 1, step, delta, ld_delta, rows, n, count),
                    )
                clear_padding(gradient, ld, n, rows)
                if clips:
                    _note_squares(_norms(frame, s), k, gradient, rows, ld)
                else:
                    finite &= _update_rows(frame, work, first, s, k, rows, gradient)
            if not clips:
                _weights_done(frame, stage, s, params, work, thread, k0, k1, finite)
        alone = stage[t.KIND] > t.LINEAR and s % n_threads == thread
        if alone and stage[t.WEIGHT_STATE] >= 0:
            gradient = advance(grads, stage[t.WEIGHT]) if clips else scratch
            carray(gradient, (ld,))[:] = 0.0
            scale_gradient(stage, work, count, gradient)
            if clips:
                _note_squares(_norms(frame, s), 0, gradient, 1, ld)
            else:
                _step(frame, work, first, 1, stage[t.WEIGHT], stage[t.WEIGHT_STATE], gradient, ld)
        if (alone or (k0 == 0 and k1 > 0)) and stage[t.BIAS_STATE] >= 0:
            gradient = advance(grads, stage[t.BIAS]) if clips else scratch
            carray(gradient, (ld,))[:] = 0.0
            bias_gradient(stage, work, count, gradient)
            if clips:
                _note_squares(_norms(frame, s), 1 if alone else stage[t.IN], gradient, 1, ld)
            else:
                _step(frame, work, first, 1, stage[t.BIAS], stage[t.BIAS_STATE], gradient, ld)
    if whole == 0:
        note_work(frame, thread, WEIGHTS_COST, cost, began)
    restore_fp_mode(mode)


@helper
def _weights_done(frame, stage, s, params, work, thread, k0, k1, finite):
    """Take note of the new weights k0:k1: whether they are finite, and their transposed copy."""
    if s == 0:
        set_flag(frame, thread, WEIGHTS, finite)
    if stage[t.TRANSPOSE] >= 0:
        transpose_rows(stage, params, work, k0, k1)


@native("fpnnnnn")
def clipped_update(frame_at, work, thread, n_threads, first, count, phase):
    """Update from gradients in GRADS, cut to a norm: g ← g · min(1, c / ‖g‖₂) over all of them.

    Follows :func:`update`; parameters as there.

    Notes
    -----
    The squares' sum is taken by every thread over all rows, in their order, in float64.

    References
    ----------
    Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params, grads = reals(frame[t.PARAMS], work), reals(frame[t.GRADS], work)
    clip = carray(reals(frame[t.CLIP], work), (1,))[0]
    rows = 0
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        rows += stage[t.IN] + 1 if stage[t.KIND] == t.LINEAR else 2
    norms = carray(float64s(frame[t.NORMS]), (rows,))
    squares = 0.0
    for r in range(rows):
        squares += norms[r]
    norm = math.sqrt(squares)
    factor = like(clip, clip / norm) if norm > clip else like(clip, 1.0)
    costs, new_costs = _old_and_new_costs(frame, first, count)
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        ld = stage[t.LD_WEIGHT]
        k0, k1 = 0, 0
        if stage[t.KIND] == t.LINEAR:
            k0, k1 = share_of_features(frame, s, thread, n_threads, costs)
        elif s % n_threads == thread:
            k0, k1 = 0, 1
        if k1 > k0 and stage[t.WEIGHT_STATE] >= 0:
            finite = True
            for k in range(k0, k1, GRADIENT_ROWS):
                offset, rows = stage[t.WEIGHT] + k * ld, min(GRADIENT_ROWS, k1 - k)
                gradient = carray(advance(grads, offset), (rows * ld,))
                for j in range(rows * ld):
                    gradient[j] *= factor
                if stage[t.KIND] == t.LINEAR:
                    finite &= _update_rows(frame, work, first, s, k, rows, advance(grads, offset))
                else:
                    state = stage[t.WEIGHT_STATE]
                    _step(frame, work, first, 1, offset, state, advance(grads, offset), ld)
            if stage[t.KIND] == t.LINEAR:
                _weights_done(frame, stage, s, params, work, thread, k0, k1, finite)
        if k0 == 0 and k1 > 0 and stage[t.BIAS_STATE] >= 0:
            offset = stage[t.BIAS]
            gradient = carray(advance(grads, offset), (ld,))
            for j in range(ld):
                gradient[j] *= factor
            state = stage[t.BIAS_STATE]
            _step(frame, work, first, 1, offset, state, advance(grads, offset), ld)
    restore_fp_mode(mode)
