"""Range kernels: what Python calls, alone or through a parallel region.

Each takes a frame, the workspace, which of how many threads it is, and a stretch of rows. It works
on its thread's share: one writer per element and sums in a fixed order, so no result depends on the
number of threads. With one thread no parallel region is entered, which is how calls stay right
where a threading layer could not take them (a forked child, concurrent callers).
"""

from numba import carray, prange, types

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native, parallel
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
from fastfcn_kernels.memory import advance, int32s, reals
from fastfcn_kernels.scans import all_finite
from fastfcn_kernels.sgd import HYPERPARAMETERS, sgd_range
from fastfcn_kernels.simd import TILE_ROWS, default_fp_mode, restore_fp_mode
from fastfcn_kernels.sparse import (
    entries_before,
    gather_sparse_rows,
    sort_by_feature,
    sparse_gradient,
)
from fastfcn_kernels.stages import (
    bias_gradient,
    place,
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


@native("fpnnnn")
def forward(frame_at, work, thread, n_threads, first, count):
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
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    gather_rows(frame, work, first, i0, i1, i0)
    skips = _may_skip(frame, work, i1 - i0)
    call(frame[t.FORWARD], (frame_at, work, thread, i0, i1, skips))
    restore_fp_mode(mode)


@native("fpnnnn")
def predict(frame_at, work, thread, n_threads, first, count):
    """Outputs of any number of rows, in blocks that stay in cache; flag data that are not finite.

    Parameters
    ----------
    frame_at : pointer to int64
        The frame: network, workspace, code, data, RESULT, BLOCK          [in]
    work : pointer
        Workspace for BLOCK rows for each thread                          [scratch]
    first, count : int
        Rows of the data, and of RESULT.

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
            gather_sparse_rows(frame, work, first, i, i + rows, at, thread * frame[t.ROW_CAPACITY])
        else:
            gather_rows(frame, work, first, i, i + rows, at)
            finite &= all_finite(x, rows * first_stage[t.LD_IN])
        call(frame[t.FORWARD], (frame_at, work, thread, at, at + rows, skips))
        a = carray(place(work, last, t.A, at, t.LD), (rows, ld))
        for r in range(rows):
            for j in range(n):
                out[first + i + r, j] = a[r, j]
    set_flag(frame, thread, INPUT, finite)
    restore_fp_mode(mode)


@native("fpnnnn")
def prepare(frame_at, work, thread, n_threads, first, count):
    """Make the transposed copies of the weights, and the flag of the first one.

    Parameters
    ----------
    first : int
        1 to prepare for the delta of the network's input too.
    count : int
        Not read.

    Others as :func:`forward`.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    params = reals(frame[t.PARAMS], work)
    none = carray(int32s(frame[t.COSTS]), (0,))
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        if stage[t.LINEAR] == 0:
            continue
        k0, k1 = share_of_features(frame, s, thread, n_threads, none)
        if s > 0 or first == 1:
            transpose_rows(stage, params, work, k0, k1)
        if s == 0 and frame[t.SKIPS] != 0:
            weight = advance(params, stage[t.WEIGHT] + k0 * stage[t.LD])
            finite = all_finite(weight, (k1 - k0) * stage[t.LD])
            set_flag(frame, thread, WEIGHTS, finite)


@native("fpnnnn")
def deltas(frame_at, work, thread, n_threads, first, count):
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
    call(frame[t.DELTAS], (frame_at, work, i0, i1, first))
    restore_fp_mode(mode)


@native("fpnnnn")
def accumulate(frame_at, work, thread, n_threads, first, count):
    """Add a batch's gradients to GRADS, after :func:`deltas`: dW += aᵀ δ, db += Σ δ.

    Parameters as :func:`forward`; ``first`` is not read.

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
        if stage[t.LINEAR] == 0:
            continue
        k0, k1 = share_of_features(frame, s, thread, n_threads, none)
        if k1 <= k0:
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


@native("fpnnnn")
def learn(frame_at, work, thread, n_threads, first, count):
    """First region of a training step, by rows: gather, forward, loss, deltas.

    Parameters as :func:`forward`; ``first`` is the batch's first row in the epoch.

    Notes
    -----
    Zeros are skipped while every thread found its share of the first weight finite, in
    :func:`prepare` or :func:`update`.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    if frame[t.X_INDPTR] != 0:
        at = entries_before(frame, first, i0)
        gather_sparse_rows(frame, work, first, i0, i1, i0, at)
    else:
        gather_rows(frame, work, first, i0, i1, i0)
    skips = 1 if frame[t.SKIPS] != 0 and all_flags(frame, n_threads, WEIGHTS) else 0
    call(frame[t.FORWARD], (frame_at, work, thread, i0, i1, skips))
    divisor = normaliser(frame, first, count)
    factor = 1.0 / divisor if divisor > 0.0 else 0.0
    call(frame[t.LOSS], (frame_at, work, first, i0, i1, factor))
    call(frame[t.DELTAS], (frame_at, work, i0, i1, 0))
    if frame[t.SKIPS] != 0:
        stage = stage_at(frame, 0)
        delta = place(work, stage, t.DELTA, i0, t.LD)
        finite = all_finite(delta, (i1 - i0) * stage[t.LD])
        set_flag(frame, thread, FIRST_DELTA, finite)
    restore_fp_mode(mode)


@native("fpnnnn")
def update(frame_at, work, thread, n_threads, first, count):
    """Second region of a training step, by input features: gradients, update, transposed copies.

    Parameters as :func:`learn`.

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
    params, velocity = reals(frame[t.PARAMS], work), reals(frame[t.VELOCITY], work)
    hyper = carray(reals(frame[t.HYPER], work), (HYPERPARAMETERS,))
    scratch = advance(work, frame[t.SCRATCH] + thread * frame[t.SCRATCH_SIZE])
    zeros = advance(work, frame[t.ZEROS])
    # Costs have two generations: those of the step before, which every thread divides the work by,
    # and this one's, which each writes for its share.
    sparse = frame[t.X_INDPTR] != 0
    counts = sparse or frame[t.SKIPS] != 0
    tiles = (stage_at(frame, 0)[t.IN] + TILE_ROWS - 1) // TILE_ROWS if counts else 0
    generation = first // count & 1
    costs = carray(advance(int32s(frame[t.COSTS]), (1 - generation) * tiles), (tiles,))
    new_costs = carray(advance(int32s(frame[t.COSTS]), generation * tiles), (tiles,))
    chunk = GRADIENT_ROWS if count <= LONG_BATCH else LONG_GRADIENT_ROWS
    for s in range(frame[t.N_STAGES]):
        stage = stage_at(frame, s)
        if stage[t.LINEAR] == 0:
            continue
        n, ld, ld_in = stage[t.OUT], stage[t.LD], stage[t.LD_IN]
        k0, k1 = share_of_features(frame, s, thread, n_threads, costs)
        x = place(work, stage, t.INPUT, 0, t.LD_IN)
        delta = place(work, stage, t.DELTA, 0, t.LD)
        listed = False
        if s == 0 and sparse:
            sort_by_feature(frame, work, count, k0, k1, new_costs)
        elif s == 0 and frame[t.SKIPS] != 0 and all_flags(frame, n_threads, FIRST_DELTA):
            lists, stride, listed = feature_lists(frame, stage, x, count, k0, k1, new_costs)
        if stage[t.WEIGHT_VELOCITY] >= 0:
            finite = True
            for k in range(k0, k1, chunk):
                rows = min(chunk, k1 - k)
                at = advance(x, k)
                if s == 0 and sparse:
                    sparse_gradient(frame, work, stage, delta, zeros, scratch, k, rows)
                elif listed:
                    call(
                        frame[t.LISTED],
                        (
                            frame[t.MATMUL], scratch, ld, zeros, 0, at, 1, ld_in, 0, delta, ld,
                            rows, n, count, advance(lists, k // TILE_ROWS * stride), stride,
                        ),
                    )  # fmt: skip
                else:
                    call(
                        frame[t.MATMUL],
                        (scratch, ld, zeros, 0, at, 1, ld_in, delta, ld, rows, n, count),
                    )
                clear_padding(scratch, ld, n, rows)
                theta = advance(params, stage[t.WEIGHT] + k * ld)
                state = advance(velocity, stage[t.WEIGHT_VELOCITY] + k * ld)
                size = rows * ld
                sgd_range(
                    hyper, carray(theta, (size,)), carray(scratch, (size,)), carray(state, (size,))
                )
                if s == 0 and frame[t.SKIPS] != 0:
                    finite &= all_finite(theta, size)
            if s == 0:
                set_flag(frame, thread, WEIGHTS, finite)
            elif k1 > k0:
                transpose_rows(stage, params, work, k0, k1)
        if k0 == 0 and k1 > 0 and stage[t.BIAS_VELOCITY] >= 0:
            row = carray(scratch, (ld,))
            row[:] = 0.0
            bias_gradient(stage, work, count, scratch)
            theta = advance(params, stage[t.BIAS])
            state = advance(velocity, stage[t.BIAS_VELOCITY])
            sgd_range(hyper, carray(theta, (ld,)), row, carray(state, (ld,)))
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
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        call(frame[t.LEARN], (frame_at, work, 0, 1, row, count))
        call(frame[t.UPDATE], (frame_at, work, 0, 1, row, count))


@parallel
def region(kernel, frame_at, work, first, count, n_threads):
    """Run a range kernel, given by its address, on threads. Pointers are addresses here."""
    for thread in prange(n_threads):
        call(kernel, (frame_at, work, thread, n_threads, first, count))


@parallel
def train(learn_at, update_at, frame_at, work, first, stop, batch, n_threads):
    """Training steps over rows first:stop of an epoch: two parallel regions a step.

    Parameters
    ----------
    learn_at, update_at, frame_at, work : int
        Addresses of the two regions' kernels, the frame and the workspace.
    first, stop, batch, n_threads : int
        As :func:`train_alone`; threads to use.

    Notes
    -----
    2·Σ in·out flops a sample for each of forward, gradient and (from the second layer) delta.
    """
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        for thread in prange(n_threads):
            call(learn_at, (frame_at, work, thread, n_threads, row, count))
        for thread in prange(n_threads):
            call(update_at, (frame_at, work, thread, n_threads, row, count))


def compile_regions() -> None:
    """Compile or load the parallel kernels, which take nothing but counts and addresses."""
    region.compile((types.int64,) * 6)
    train.compile((types.int64,) * 8)
