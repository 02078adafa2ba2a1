"""The first hidden layer in parts: each thread keeps some of its units, with all their weights.

Where threads share a batch by rows, every one reads the whole first weight, most of a network, and
each writes its share of it a moment later: in every step, what one core has written travels to the
others and back. Cores that are far apart, without a cache in common say, do that more slowly than
they compute.

A *part* is some units of the first hidden layer: their columns of the first weight and their rows
of the second. It is a network of two stages with a frame of its own, over the same workspace and
parameters: the range kernels of one thread train it as they are. Each thread gathers the input for
itself, and all that travels are the layer's output, its part of the second weight and that layer's
delta. The second layer's sums run over the parts in order, each going on where the one before
stopped: the bits are those of the whole layer.

While training lasts, the first weight lies part after part: threads that write halves of one row
would have lines fetched for them that another is about to write.

References
----------
Shoeybi et al., Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
Parallelism, 2019: columns of one weight, then rows of the next.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.activations import IDENTITY
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.flags import DENSE, FIRST_DELTA, flag_of, may_skip, set_flag
from fastfcn_kernels.matmul import clear_padding
from fastfcn_kernels.memory import advance, copy_elements, int64s, reals
from fastfcn_kernels.scans import all_finite
from fastfcn_kernels.shares import BATCH_ROWS, note_work, share_of_batch
from fastfcn_kernels.simd import TILE_ROWS, default_fp_mode, restore_fp_mode, ticks
from fastfcn_kernels.stages import PART_STAGES, number_of, place, stage_at

BLOCK_ROWS = 4 * TILE_ROWS
"""Rows whose deltas a part computes at once: they stay in the first-level cache."""
STRETCH = 64
"""Rows that a part gathers and takes forward at once, at most: they stay in the second-level cache,
and are enough for what each word of their masks brings nearer."""


@helper
def stretch(count):
    """Return the rows of a batch that are gathered at once: stretches are alike."""
    stretches = max(1, (count + STRETCH - 1) // STRETCH)
    return max(1, (count + stretches - 1) // stretches)


@helper
def _frame_of(frame, part):
    """Return the address of a part's frame."""
    return carray(int64s(frame[t.PARTS]), (part + 1,))[part]


@helper
def _close_rows(matrix, rows, ld, size):
    """Lay rows of ``size`` elements end to end, in place."""
    for r in range(1, rows):
        copy_elements(advance(matrix, r * ld), advance(matrix, r * size), size)


@helper
def _open_rows(matrix, rows, ld, size):
    """Undo :func:`_close_rows`; what lies between rows is zero again."""
    for r in range(rows - 1, -1, -1):
        row = carray(advance(matrix, r * ld), (ld,))
        values = carray(advance(matrix, r * size), (size,))
        for j in range(size - 1, -1, -1):
            row[j] = values[j]
        for j in range(size, ld):
            row[j] = 0.0


@helper
def regroup(matrix, spare, rows, columns, size):
    """Transpose a matrix of chunks in place: (rows, columns, size) becomes (columns, rows, size).

    Parameters
    ----------
    matrix : pointer                                                      [in, out]
    spare : pointer
        (size,)                                                           [scratch]

    Notes
    -----
    Chunk i comes from (i·columns) mod (rows·columns - 1); a cycle is moved from its lowest place,
    which takes some log(rows·columns) steps along it to know, on average.
    """
    last = rows * columns - 1
    for first in range(1, last):
        source = first * columns % last
        while source > first:
            source = source * columns % last
        if source < first:
            continue
        copy_elements(advance(matrix, first * size), spare, size)
        target, source = first, first * columns % last
        while source != first:
            copy_elements(advance(matrix, source * size), advance(matrix, target * size), size)
            target, source = source, source * columns % last
        copy_elements(spare, advance(matrix, target * size), size)


@helper
def _regroup_all(frame, work, thread, n_threads, apart):
    """Lay the first weight and its state part after part, or row after row again."""
    stage = stage_at(frame, 0)
    own = stage_at(carray(int64s(_frame_of(frame, 0)), (t.FRAME_SIZE,)), 0)
    rows, ld, width = stage[t.IN], stage[t.LD_WEIGHT], own[t.LD_WEIGHT]
    used = n_threads * width
    spare = advance(work, frame[t.SCRATCH] + thread * frame[t.SCRATCH_SIZE])
    slots = frame[t.STATE_SLOTS] if stage[t.WEIGHT_STATE] >= 0 else 0
    for matrix in range(thread, 1 + slots, n_threads):
        at = advance(reals(frame[t.PARAMS], work), stage[t.WEIGHT])
        if matrix > 0:
            offset = stage[t.WEIGHT_STATE] + (matrix - 1) * frame[t.STATE_SLOT]
            at = advance(reals(frame[t.STATE], work), offset)
        if apart:
            if used < ld:
                _close_rows(at, rows, ld, used)
            regroup(at, spare, rows, n_threads, width)
        else:
            regroup(at, spare, n_threads, rows, width)
            if used < ld:
                _open_rows(at, rows, ld, used)


@native("fpnnnnn")
def divide(frame_at, work, thread, n_threads, first, count, phase):
    """Lay the first weight and its state part after part; the first of two kernels before training.

    Parameters as :func:`fastfcn_kernels.passes.forward`; ``first``, ``count`` and ``phase`` are not
    read.
    """
    _regroup_all(carray(frame_at, (t.FRAME_SIZE,)), work, thread, n_threads, True)


@native("fpnnnnn")
def unite(frame_at, work, thread, n_threads, first, count, phase):
    """Lay the first weight and its state row after row again; after training.

    Parameters as :func:`divide`.
    """
    _regroup_all(carray(frame_at, (t.FRAME_SIZE,)), work, thread, n_threads, False)


@helper
def _forward_part(frame, work, thread, first, count):
    """Gather a batch and take it through the first stage of a thread's part."""
    own_at = _frame_of(frame, thread)
    own = carray(int64s(own_at), (t.FRAME_SIZE,))
    skips = may_skip(own, 1)
    # Threads begin at different rows: what one has brought from memory is near for the others.
    rows = stretch(count)
    begin = own[t.BEGIN] // rows * rows if own[t.BEGIN] < count else 0
    every_dense = True
    for step in range(0, count, rows):
        i0 = begin + step
        if i0 >= count:
            i0 -= (count + rows - 1) // rows * rows
        i1 = min(count, i0 + rows)
        call(frame[t.GATHER], (int64s(own_at), work, 0, first, i0, i1, i0))
        every_dense &= flag_of(own, 0, DENSE)
        call(frame[t.FORWARD], (int64s(own_at), work, 0, i0, i1, skips, first, count, 0, 1))
    set_flag(own, 0, DENSE, every_dense)  # so far the last stretch's; the update asks for all


@native("fpnnnnn")
def begin_parts(frame_at, work, thread, n_threads, first, count, phase):
    """What :func:`fastfcn_kernels.passes.prepare` does, and the first batch through the parts.

    Parameters as :func:`fastfcn_kernels.passes.forward`, for the first batch; ``phase`` is not
    read.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    call(frame[t.PREPARE], (frame_at, work, thread, n_threads, 0, 0, 0))
    call(frame[t.PREPARE], (int64s(_frame_of(frame, thread)), work, 0, 1, 0, 0, 0))
    _forward_part(frame, work, thread, first, count)
    restore_fp_mode(mode)


@native("fpnnnnn")
def learn_parts(frame_at, work, thread, n_threads, first, count, phase):
    """First region of a training step, by rows: from the second stage on, and back to its delta.

    Parameters as :func:`fastfcn_kernels.training.learn`; ``phase`` is 0.

    Notes
    -----
    The second stage's sums go on from part to part in the order of its inputs: the chain of
    multiply-adds is that of the whole stage.
    """
    began = ticks()
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    stage = stage_at(frame, 1)
    i0, i1 = share_of_batch(frame, count, thread, n_threads)
    n, ld, ld_weight, rows = stage[t.OUT], stage[t.LD], stage[t.LD_WEIGHT], i1 - i0
    z, a = place(work, stage, t.Z, i0, t.LD), place(work, stage, t.A, i0, t.LD)
    params = reals(frame[t.PARAMS], work)
    start, lds = advance(work, frame[t.ZEROS]), 0
    if stage[t.BIAS] >= 0:
        start = advance(params, stage[t.BIAS])
    for part in range(n_threads):
        own = stage_at(carray(int64s(_frame_of(frame, part)), (t.FRAME_SIZE,)), 1)
        x = place(work, own, t.INPUT, i0, t.LD_IN)
        weight = advance(params, own[t.WEIGHT])
        call(
            frame[t.MATMUL],
            (z, ld, start, lds, x, own[t.LD_IN], 1, weight, ld_weight, rows, n, own[t.IN]),
        )
        start, lds = z, ld
    clear_padding(z, ld, n, rows)
    if stage[t.ACTIVATION] != IDENTITY or stage[t.Z] != stage[t.A]:
        call(stage[t.FORWARD_AT], (number_of(frame, work, 1, 0), z, a, ld, n, rows))
    call(frame[t.LEARN], (frame_at, work, thread, n_threads, first, count, phase))
    if stage[t.ACTIVATION] != IDENTITY:
        delta = place(work, stage, t.DELTA, i0, t.LD)
        call(stage[t.BACKWARD_AT], (number_of(frame, work, 1, 0), z, a, delta, ld, n, rows))
    note_work(frame, thread, BATCH_ROWS, rows, began)
    restore_fp_mode(mode)


@native("fpnnnnn")
def update_parts(frame_at, work, thread, n_threads, first, count, phase):
    """Second region of a training step: deltas, gradients and updates, and the next batch begun.

    Each thread updates its share of the stages after the second, then its part, and takes the next
    batch through its part.

    Parameters as :func:`fastfcn_kernels.training.update`.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    own_at = _frame_of(frame, thread)
    own = carray(int64s(own_at), (t.FRAME_SIZE,))
    stage = stage_at(own, 0)
    finite = True
    for i0 in range(0, count, BLOCK_ROWS):
        i1 = min(count, i0 + BLOCK_ROWS)
        call(frame[t.DELTAS], (int64s(own_at), work, 0, i0, i1, 0, first, count, 0, PART_STAGES))
        finite &= all_finite(place(work, stage, t.DELTA, i0, t.LD), (i1 - i0) * stage[t.LD])
    set_flag(own, 0, FIRST_DELTA, finite)
    call(frame[t.UPDATE], (frame_at, work, thread, n_threads, first, count, phase))
    call(frame[t.UPDATE], (int64s(own_at), work, 0, 1, first, count, phase))
    following = first + count
    if following < frame[t.STOP]:
        size = min(frame[t.BATCH], frame[t.STOP] - following)
        _forward_part(frame, work, thread, following, size)
    restore_fp_mode(mode)
