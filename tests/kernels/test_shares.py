"""Who does what of a step: shares cover everything once; what is noted of how long they took."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import carray

from fastfcn_kernels import scans
from fastfcn_kernels import table as t
from fastfcn_kernels.masks import DENSE_COST
from fastfcn_kernels.shares import (
    BATCH_ROWS,
    RECORD,
    UNUSUAL,
    UPDATE_COST,
    WEIGHTS_COST,
    WHOLE,
    note_work,
    share_of_batch,
    share_of_features,
)
from fastfcn_kernels.simd import ticks
from kernels.calls import INDICES, NUMBERS, N, compiled
from kernels.operands import ROWS

knows_a_clock = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
    reason="no way to read this processor's clock",
)


@st.composite
def cuts_of(draw, threads):
    """Where the threads' shares of rows and weights begin and end, however uneven."""
    cut = st.lists(st.integers(0, WHOLE), min_size=threads - 1, max_size=threads - 1).map(sorted)
    return np.array([[0, *draw(cut), WHOLE], [0, *draw(cut), WHOLE]])


@compiled(NUMBERS, INDICES, N, NUMBERS, N, N)
def shares(frame, costs, groups, out, stages, threads):
    words = carray(frame, (t.FRAME_SIZE,))
    measured = carray(costs, (groups,))
    result = carray(out, (stages, threads, 2))
    for s in range(stages):
        for thread in range(threads):
            k0, k1 = share_of_features(words, s, thread, threads, measured)
            result[s, thread, 0], result[s, thread, 1] = k0, k1


@settings(deadline=None)
@given(
    widths=st.lists(st.integers(1, 300), min_size=2, max_size=5),
    threads=st.integers(1, 64),
    measured=st.booleans(),
    activation=st.booleans(),
    alike=st.booleans(),
    data=st.data(),
)
def test_shares_of_all_threads_tile_the_features_of_every_stage(
    widths, threads, measured, activation, alike, data
):
    table = np.full((len(widths) - 1 + activation, t.COLUMNS), -1, np.int64)
    linear = [s for s in range(len(table)) if not (activation and s == 1)]
    table[:, t.KIND] = t.ACTIVATION_ALONE
    for s, n, out in zip(linear, widths[:-1], widths[1:], strict=True):
        table[s, [t.KIND, t.IN, t.LD_WEIGHT]] = t.LINEAR, n, -(-out // 16) * 16
    groups = -(-widths[0] // scans.GROUP)
    cost = st.integers(0, DENSE_COST)
    costs = np.array(data.draw(st.lists(cost, min_size=groups, max_size=groups)), np.int32)
    frame = np.zeros(t.FRAME_SIZE, np.int64)
    frame[t.STAGES], frame[t.N_STAGES] = table.ctypes.data, len(table)
    cuts = WHOLE * np.arange(threads + 1) / threads
    if not alike:
        given_cuts = data.draw(cuts_of(threads))
        frame[t.SHARES], cuts = given_cuts.ctypes.data, given_cuts[WEIGHTS_COST]
    out = np.full((len(table), threads, 2), -1, np.int64)
    shares(frame, costs, groups if measured else 0, out, len(table), threads)

    spent, largest = np.zeros(threads), 0
    for s in linear:
        n = table[s, t.IN]
        ends = [0, *out[s, :, 1].tolist()]
        assert out[s, :, 0].tolist() == ends[:-1], "each share begins where the one before ends"
        assert ends[-1] == n and ends == sorted(ends)
        step = scans.GROUP if measured and s == 0 else ROWS
        assert all(end % step == 0 or end == n for end in ends)
        a_row = np.full(n, DENSE_COST + UPDATE_COST)
        if measured and s == 0:
            a_row = np.repeat(costs, scans.GROUP)[:n] + UPDATE_COST
        a_row = a_row * table[s, t.LD_WEIGHT]
        spent += [a_row[k0:k1].sum() for k0, k1 in out[s]]
        largest = max(largest, step * a_row.max())
    wanted = spent.sum() * np.diff(cuts) / WHOLE
    assert (abs(spent - wanted) <= 2 * len(linear) * largest + 1).all()


@compiled(NUMBERS, N, N, NUMBERS)
def rows_of(frame, n, threads, out):
    words = carray(frame, (t.FRAME_SIZE,))
    result = carray(out, (threads, 2))
    for thread in range(threads):
        i0, i1 = share_of_batch(words, n, thread, threads)
        result[thread, 0], result[thread, 1] = i0, i1


@settings(deadline=None)
@given(n=st.integers(0, 5000), threads=st.integers(1, 64), data=st.data())
def test_shares_of_all_threads_are_the_batch(n, threads, data):
    frame, out = np.zeros(t.FRAME_SIZE, np.int64), np.full((threads, 2), -1, np.int64)
    given_cuts = data.draw(st.none() | cuts_of(threads))
    if given_cuts is not None:
        frame[t.SHARES] = given_cuts.ctypes.data
    rows_of(frame, n, threads, out)
    ends = [0, *out[:, 1].tolist()]
    assert out[:, 0].tolist() == ends[:-1]
    assert ends[-1] == n and ends == sorted(ends)
    if given_cuts is not None:
        assert (abs(ends - n * given_cuts[BATCH_ROWS] / WHOLE) <= 0.5).all()


@compiled(NUMBERS, N, N, N, N)
def note(frame, thread, what, work, took):
    note_work(carray(frame, (t.FRAME_SIZE,)), thread, what, work, ticks() - took)


@knows_a_clock
@pytest.mark.parametrize("what", [BATCH_ROWS, WEIGHTS_COST])
def test_a_share_that_takes_unusually_long_is_not_noted(what):
    took = 10**12  # beside which what the test itself takes is nothing
    spent = np.zeros((3, RECORD), np.int64)
    shares_at = np.zeros(1, np.int64)
    frame = np.zeros(t.FRAME_SIZE, np.int64)
    frame[t.SHARES], frame[t.SPENT] = shares_at.ctypes.data, spent.ctypes.data
    for factor in (1.0, 0.9, 2 * UNUSUAL, 1.1):
        note(frame, 1, what, 7, int(factor * took))
    assert spent[1, 2 * what + 1] == 3 * 7
    assert spent[1, 2 * what] == pytest.approx(3 * took, rel=1e-2)
    spent[1, 2 * what : 2 * what + 2] = 0
    assert not spent.any()


def test_nothing_is_noted_where_shares_are_alike_for_good():
    spent = np.zeros(RECORD, np.int64)
    frame = np.zeros(t.FRAME_SIZE, np.int64)
    frame[t.SPENT] = spent.ctypes.data
    note(frame, 0, BATCH_ROWS, 7, 1000)
    assert not spent.any()


@compiled(NUMBERS)
def read_clock(out):
    carray(out, (1,))[0] = ticks()


@knows_a_clock
def test_the_clock_goes_on():
    times = np.zeros(100, np.int64)
    for i in range(times.size):
        read_clock(times[i:])
    assert (np.diff(times) > 0).all()
