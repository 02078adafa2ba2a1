"""Range kernels: what Python calls, alone or through a parallel region.

Each takes a frame, the workspace, which of how many threads it is, a stretch of rows and a phase,
and works on its thread's share: one writer per element and sums in a fixed order, so no result
depends on the number of threads. With one thread no parallel region is entered, which is how calls
stay right where a threading layer could not take them (a forked child, concurrent callers).

A layer that looks at a whole batch cuts the passes: every thread must be done with what comes
before it. A *phase* is what lies between two cuts; networks without such layers have one.
"""

import math

import numpy as np
from numba import carray, prange, types

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native, parallel
from fastfcn_kernels.elementary import like
from fastfcn_kernels.gather import gather_rows
from fastfcn_kernels.lists import (
    FIRST_DELTA,
    INPUT,
    LOOK,
    TRUST,
    WEIGHTS,
    all_flags,
    feature_lists,
    set_flag,
)
from fastfcn_kernels.losses import normaliser
from fastfcn_kernels.matmul import clear_padding
from fastfcn_kernels.memory import advance, float64s, int32s, int64s, reals
from fastfcn_kernels.optimisers import hyperparameters_of
from fastfcn_kernels.scans import all_finite
from fastfcn_kernels.simd import TILE_ROWS, default_fp_mode, restore_fp_mode
from fastfcn_kernels.stages import (
    bias_gradient,
    place,
    scale_gradient,
    share_of_features,
    share_of_rows,
    stage_at,
    transpose_rows,
)

SCAN_ROWS = 4 * TILE_ROWS
"""Rows from which on looking whether the first weight is finite costs little beside using it."""

GRADIENT_ROWS = 4 * TILE_ROWS
"""Rows of a weight gradient that are computed at once: they stay in the first-level cache."""
LONG_BATCH = 256
"""Samples above which more rows of a weight gradient are computed at once."""
LONG_GRADIENT_ROWS = 16 * TILE_ROWS
"""Those rows: a long delta passes through the cache less often."""


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
    return 1 if all_finite(weight, stage[t.IN] * stage[t.LD]) else 0


@helper
def _bounds(frame):
    """Return the stages where passes are cut: 0, cuts, number of stages."""
    return carray(int64s(frame[t.BOUNDS]), (frame[t.N_CUTS] + 2,))


@helper
def _backward_stages(frame, phase):
    """Return the first stage of a phase of the backward pass, and the one after its last.

    A layer that looks at the whole batch begins a phase in either direction.
    """
    cuts, bounds = frame[t.N_CUTS], _bounds(frame)
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
        gather_rows(frame, work, first, i0, i1, i0)
    skips = _may_skip(frame, work, i1 - i0) if phase == 0 else 0
    bounds = _bounds(frame)
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
            gather_rows(frame, work, first, i, i + rows, at)
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
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        if stage[t.KIND] != t.LINEAR:
            continue
        k0, k1 = share_of_features(frame, s, thread, n_threads, none)
        if stage[t.TRANSPOSE] >= 0 and (s > 0 or first == 1):
            transpose_rows(stage, params, work, k0, k1)
        if s == 0 and frame[t.SKIPS] != 0:
            weight = advance(params, stage[t.WEIGHT] + k0 * stage[t.LD])
            finite = all_finite(weight, (k1 - k0) * stage[t.LD])
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
    s0, s1 = _backward_stages(frame, phase)
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
        n, ld = stage[t.OUT], stage[t.LD]
        gradient = advance(grads, stage[t.WEIGHT] + k0 * ld)
        x = advance(place(work, stage, t.INPUT, 0, t.LD_IN), k0)
        delta = place(work, stage, t.DELTA, 0, t.LD)
        call(
            frame[t.MATMUL],
            (gradient, ld, gradient, ld, x, 1, stage[t.LD_IN], delta, ld, k1 - k0, n, count),
        )
        clear_padding(gradient, ld, n, k1 - k0)
        if k0 == 0 and stage[t.BIAS] >= 0:
            bias_gradient(stage, work, count, advance(grads, stage[t.BIAS]))
    restore_fp_mode(mode)


@native("fpnnnnn")
def learn(frame_at, work, thread, n_threads, first, count, phase):
    """First region of a training step, by rows: gather, forward, loss, deltas.

    Parameters as :func:`forward`; ``first`` is the batch's first row in the epoch. With n cuts
    there are 2n + 1 phases, of which the middle one goes forward and back.

    Notes
    -----
    Zeros are skipped while every thread found its share of the first weight finite, in
    :func:`prepare` or :func:`update`.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    cuts, bounds = frame[t.N_CUTS], _bounds(frame)
    if phase == 0:
        if frame[t.X_INDPTR] != 0:
            call(frame[t.PACK], (frame_at, work, first, i0, i1, i0, -1))
        else:
            gather_rows(frame, work, first, i0, i1, i0)
    if phase <= cuts:
        skips = 1 if frame[t.SKIPS] != 0 and all_flags(frame, n_threads, WEIGHTS) else 0
        s0, s1 = bounds[phase], bounds[phase + 1]
        call(frame[t.FORWARD], (frame_at, work, thread, i0, i1, skips, first, count, s0, s1))
    if phase == cuts:
        divisor = normaliser(frame, first, count)
        factor = 1.0 / divisor if divisor > 0.0 else 0.0
        call(frame[t.LOSS], (frame_at, work, first, i0, i1, factor))
    if phase >= cuts:
        s0, s1 = _backward_stages(frame, phase - cuts)
        call(frame[t.DELTAS], (frame_at, work, thread, i0, i1, 0, first, count, s0, s1))
    if phase == 2 * cuts and frame[t.SKIPS] != 0:
        stage = stage_at(frame, 0)
        delta = place(work, stage, t.DELTA, i0, t.LD)
        finite = all_finite(delta, (i1 - i0) * stage[t.LD])
        set_flag(frame, thread, FIRST_DELTA, finite)
    restore_fp_mode(mode)


@helper
def _old_and_new_costs(frame, first, count):
    """Return two generations of the first stage's costs, a number a tile; empty without lists.

    Every thread divides the work by those of the step before, and writes this one's for its share.
    """
    counts = frame[t.X_INDPTR] != 0 or frame[t.SKIPS] != 0
    tiles = (stage_at(frame, 0)[t.IN] + TILE_ROWS - 1) // TILE_ROWS if counts else 0
    generation = first // frame[t.BATCH] & 1
    at = int32s(frame[t.COSTS])
    return (
        carray(advance(at, (1 - generation) * tiles), (tiles,)),
        carray(advance(at, generation * tiles), (tiles,)),
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
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params, grads = reals(frame[t.PARAMS], work), reals(frame[t.GRADS], work)
    scratch = advance(work, frame[t.SCRATCH] + thread * frame[t.SCRATCH_SIZE])
    zeros = advance(work, frame[t.ZEROS])
    sparse, clips = frame[t.X_INDPTR] != 0, frame[t.CLIP] != 0
    costs, new_costs = _old_and_new_costs(frame, first, count)
    chunk = GRADIENT_ROWS if count <= LONG_BATCH else LONG_GRADIENT_ROWS
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        n, ld, ld_in = stage[t.OUT], stage[t.LD], stage[t.LD_IN]
        k0, k1 = 0, 0
        if stage[t.KIND] == t.LINEAR:
            k0, k1 = share_of_features(frame, s, thread, n_threads, costs)
        x = place(work, stage, t.INPUT, 0, t.LD_IN)
        delta = place(work, stage, t.DELTA, 0, t.LD)
        listed = False
        if s == 0 and sparse:
            new_costs_at = int32s(new_costs.ctypes.data)
            call(frame[t.SORT], (frame_at, work, count, k0, k1, new_costs_at))
        elif s == 0 and frame[t.SKIPS] != 0 and all_flags(frame, n_threads, FIRST_DELTA):
            lists, stride, listed = feature_lists(frame, stage, x, count, k0, k1, new_costs)
        if k1 > k0 and stage[t.WEIGHT_STATE] >= 0:
            finite = True
            for k in range(k0, k1, chunk):
                rows = min(chunk, k1 - k)
                at, offset, size = advance(x, k), stage[t.WEIGHT] + k * ld, rows * ld
                gradient = advance(grads, offset) if clips else scratch
                if s == 0 and sparse:
                    call(frame[t.SPARSE_GRADIENT], (frame_at, work, k, rows, gradient))
                elif listed:
                    call(
                        frame[t.LISTED],
                        (
                            frame[t.MATMUL], gradient, ld, zeros, 0, at, 1, ld_in, 0, delta, ld,
                            rows, n, count, advance(lists, k // TILE_ROWS * stride), stride,
                        ),
                    )  # fmt: skip
                else:
                    call(
                        frame[t.MATMUL],
                        (gradient, ld, zeros, 0, at, 1, ld_in, delta, ld, rows, n, count),
                    )
                clear_padding(gradient, ld, n, rows)
                if clips:
                    _note_squares(_norms(frame, s), k, gradient, rows, ld)
                else:
                    state = stage[t.WEIGHT_STATE] + k * ld
                    _step(frame, work, first, 0, offset, state, gradient, size)
                    if s == 0 and frame[t.SKIPS] != 0:
                        finite &= all_finite(advance(params, offset), size)
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
        ld = stage[t.LD]
        k0, k1 = 0, 0
        if stage[t.KIND] == t.LINEAR:
            k0, k1 = share_of_features(frame, s, thread, n_threads, costs)
        elif s % n_threads == thread:
            k0, k1 = 0, 1
        if k1 > k0 and stage[t.WEIGHT_STATE] >= 0:
            finite = True
            for k in range(k0, k1, GRADIENT_ROWS):
                offset, size = stage[t.WEIGHT] + k * ld, min(GRADIENT_ROWS, k1 - k) * ld
                gradient = carray(advance(grads, offset), (size,))
                for j in range(size):
                    gradient[j] *= factor
                state = stage[t.WEIGHT_STATE] + k * ld
                others = 0 if stage[t.KIND] == t.LINEAR else 1
                _step(frame, work, first, others, offset, state, advance(grads, offset), size)
                if s == 0 and frame[t.SKIPS] != 0:
                    finite &= all_finite(advance(params, offset), size)
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


@native("fpnnn")
def train_alone(frame_at, work, first, stop, batch):
    """Training steps over rows first:stop of an epoch, on one thread.

    Parameters
    ----------
    frame_at, work
        As :func:`forward`.
    first, stop, batch : int
        Rows of the epoch; rows a step. The last batch may be smaller and counts its own rows.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    phases = carray(int64s(frame[t.PHASES]), (frame[t.N_PHASES],))
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        for phase in range(phases.size):
            call(phases[phase], (frame_at, work, 0, 1, row, count, phase))


@parallel
def region(kernel, frame_at, work, first, count, phase, n_threads):
    """Run a range kernel, given by its address, on threads. Pointers are addresses here."""
    for thread in prange(n_threads):
        call(kernel, (frame_at, work, thread, n_threads, first, count, phase))


@parallel
def train(phases_at, n_phases, frame_at, work, first, stop, batch, n_threads):
    """Training steps over rows first:stop of an epoch: a parallel region a phase, two as a rule.

    Parameters
    ----------
    phases_at, n_phases, frame_at, work : int
        PHASES and N_PHASES of the frame; addresses of the frame and the workspace.
    first, stop, batch, n_threads : int
        As :func:`train_alone`; threads to use.

    Notes
    -----
    2·Σ in·out flops a sample for each of forward, gradient and (from the second layer) delta.
    """
    phases = carray(int64s(phases_at), (n_phases,))
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        for phase in range(n_phases):
            kernel = phases[phase]
            for thread in prange(n_threads):
                call(kernel, (frame_at, work, thread, n_threads, row, count, phase))


def compile_regions() -> None:
    """Compile or load the parallel kernels, which take nothing but counts and addresses."""
    region.compile((types.int64,) * 7)
    train.compile((types.int64,) * 8)
