"""Who does what of a step: each thread's share of a batch's rows, and of the weights.

No bit depends on it. Shares are equal unless the frame says otherwise: one core may be slower than
the next, by its make or by what else runs on it, and at every barrier all wait for the last. So
threads take note of how long they took for how much.
"""

import numpy as np
from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper
from fastfcn_kernels.masks import DENSE_COST
from fastfcn_kernels.memory import advance, int64s
from fastfcn_kernels.scans import GROUP
from fastfcn_kernels.simd import TILE_ROWS, ticks
from fastfcn_kernels.stages import first_whole_stage, stage_at

BATCH_ROWS, WEIGHTS_COST = range(2)
"""What is shared out: rows of a batch; weights, by their cost."""

WHOLE = 1 << 16
"""What the shares of all threads add up to."""

UNUSUAL = 3.0
"""Times longer than on average that a share takes when its thread was put aside."""

RECORD = 8
"""int64 that a thread takes note in, a cache line: for each of the above, ticks and work."""


@helper
def _share(frame, what, whole, thread, n_threads):
    """Return where a thread's share of ``whole`` begins and ends."""
    if frame[t.SHARES] == 0:
        return whole * thread // n_threads, whole * (thread + 1) // n_threads
    cuts = carray(int64s(frame[t.SHARES]), (2, n_threads + 1))[what]
    half = WHOLE // 2
    return (whole * cuts[thread] + half) // WHOLE, (whole * cuts[thread + 1] + half) // WHOLE


@helper
def note_work(frame, thread, what, work, began):
    """Take note of how long a thread has taken for its share, since it ``began``.

    A share that took far longer than usual is left out: the thread was put aside for a while, which
    no other division would have helped.
    """
    if frame[t.SHARES] == 0:
        return
    record = carray(advance(int64s(frame[t.SPENT]), RECORD * thread), (RECORD,))
    took = ticks() - began
    known, done = np.float64(record[2 * what]), np.float64(record[2 * what + 1])
    if took * done <= UNUSUAL * known * work:
        record[2 * what] += took
        record[2 * what + 1] += work


@helper
def share_of_rows(n, thread, n_threads):
    """Return the rows i0, i1 of n that fall to a thread, alike for all."""
    return n * thread // n_threads, n * (thread + 1) // n_threads


@helper
def share_of_batch(frame, n, thread, n_threads):
    """Return the rows i0, i1 of a batch of n that fall to a thread."""
    return _share(frame, BATCH_ROWS, n, thread, n_threads)


@helper
def share_of_features(frame, s, thread, n_threads, costs):
    """Return the input features k0, k1 of stage s that fall to a thread.

    All weights of the network are laid end to end and cut by their cost, so that threads finish
    together; cuts are at whole tiles, or groups of the first stage.

    Parameters
    ----------
    costs : int32 (groups,) or (0,)
        Cost of a row of each group of the first stage; empty: all alike.
    """
    total = 0
    before = 0
    for i in range(first_whole_stage(frame), frame[t.N_STAGES]):
        stage = stage_at(frame, i)
        if stage[t.KIND] == t.LINEAR:
            area = _cost_before(stage, i, stage[t.IN], costs)
            total += area
            if i < s:
                before += area
    stage = stage_at(frame, s)
    begin, end = _share(frame, WEIGHTS_COST, total, thread, n_threads)
    return _feature_at(stage, s, begin - before, costs), _feature_at(stage, s, end - before, costs)


UPDATE_COST = 20
"""Cost of updating a row, where going through a whole batch of 128 costs DENSE_COST."""
TRANSPOSE_COST = 28
"""Cost of its transposed copy, on the same scale: so that threads were seen to finish together."""


@helper
def _dense_row(stage):
    """Return the cost of a row of a stage that goes through the whole batch."""
    copied = TRANSPOSE_COST if stage[t.TRANSPOSE] >= 0 else 0
    return stage[t.LD_WEIGHT] * (DENSE_COST + UPDATE_COST + copied)


@helper
def _cost_before(stage, s, k, costs):
    """Return the cost of the first k features of stage s."""
    if s > 0 or costs.size == 0:
        return k * _dense_row(stage)
    total = 0
    for group in range((k + GROUP - 1) // GROUP):
        total += costs[group] + UPDATE_COST
    return total * GROUP * stage[t.LD_WEIGHT]


@helper
def _feature_at(stage, s, cost, costs):
    """Return the input feature before which stage s has cost ``cost``, on a tile."""
    n = stage[t.IN]
    if cost <= 0:
        return 0
    if s > 0 or costs.size == 0:
        row = _dense_row(stage)
        return n if cost >= n * row else cost // row // TILE_ROWS * TILE_ROWS
    for group in range((n + GROUP - 1) // GROUP):
        if cost <= 0:
            return group * GROUP
        cost -= (costs[group] + UPDATE_COST) * GROUP * stage[t.LD_WEIGHT]
    return n


@helper
def cost_of_features(stage, s, k0, k1, costs):
    """Return the cost of the features k0:k1 of stage s."""
    return _cost_before(stage, s, k1, costs) - _cost_before(stage, s, k0, costs)
