"""Losses: the value of each row and the output delta, from one formula at one place.

Values are float64 whatever the network's precision, and exact to rounding where the loss is nearly
zero. The factor of the reduction (1/batch for a mean) is applied here and nowhere else.
"""

import math

import numpy as np
from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.elementary import exp, sigmoid
from fastfcn_kernels.memory import advance, bools, float64s, int64s, reals
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode, stack_room
from fastfcn_kernels.sparse import sample_of
from fastfcn_kernels.stages import share_of_rows

ROOM = 64
"""Exponentials taken at a time, in float64 on the stack."""
LANES = 8
"""Their number is rounded up to whole vectors: few classes would else be all remainder."""
ROOM_BYTES = 8 * ROOM

CROSS_ENTROPY, CROSS_ENTROPY_PROBABILITIES, NLL, BCE, BCE_WITH_LOGITS, MSE = range(6)
"""Codes of the losses; the first and third take class indices, the others float targets."""


@helper
def takes_labels(code):
    """Tell whether a loss compares with class indices rather than float targets."""
    return code == CROSS_ENTROPY or code == NLL


@helper
def _class_weight(frame, n):
    """Return the weight of each of n classes; empty where there is none."""
    return carray(float64s(frame[t.CLASS_WEIGHT]), (n if frame[t.CLASS_WEIGHT] != 0 else 0,))


@helper
def normaliser(frame, first, count):
    """Return what a batch's loss is divided by: 1, its samples' weights, its rows or its elements.

    Parameters
    ----------
    frame : int64
        LOSS_CODE, MEAN, IGNORE_INDEX, CLASS_WEIGHT, LABELS, ORDER, N_OUTPUT  [in]
    first, count : int
        The batch's first row and number of rows.
    """
    if frame[t.MEAN] == 0:
        return 1.0
    if frame[t.LOSS_CODE] == CROSS_ENTROPY_PROBABILITIES:
        return float(count)
    n = frame[t.N_OUTPUT]
    if not takes_labels(frame[t.LOSS_CODE]):
        return float(count * n)
    weight = _class_weight(frame, n)
    total = 0.0
    for row in range(first, first + count):
        sample = sample_of(frame, row)
        label = carray(int64s(frame[t.LABELS]), (sample + 1,))[sample]
        if label != frame[t.IGNORE_INDEX]:
            total += weight[label] if weight.size else 1.0
    return total


@helper
def _target(smoothing, weight, label, target, j, spread):
    """Return how much of class j's negative log-probability the row's loss holds."""
    share = (1.0 if j == label else 0.0) if label >= 0 else np.float64(target[j])
    share = (1.0 - smoothing) * share + spread
    return weight[j] * share if weight.size else share


@helper
def _shifted_exp(z, largest):
    """e^(z - largest), with the rounding of the difference, which e^ amplifies, put back."""
    difference = z - largest
    back = difference - z
    error = (z - (difference - back)) - (largest + back)
    e = exp(difference)
    return e + e * error if error == error else e  # not a number where z is infinite


@helper
def _cross_entropy_row(smoothing, weight, out, n, label, target, factor, delta, room):
    """Softmax cross-entropy of one row of logits: Σ tⱼ·(-log pⱼ), δ = p·Σt - t.

    With the row's largest logit m at k and s = Σ_{j≠k} e^(zⱼ-m), log Σ e^zⱼ = m + log1p(s): no
    cancellation where the loss is nearly zero. The exponentials are taken ROOM at a time, a loop
    that the compiler vectorises; delta keeps them in between.
    """
    k = _largest(out, n)
    largest = np.float64(out[k])
    s = 0.0
    lost = 0.0
    for j0 in range(0, n, ROOM):
        j1 = min(n, j0 + ROOM)
        count = j1 - j0
        whole_lanes = (count + LANES - 1) // LANES * LANES
        for i in range(count):
            room[i] = out[j0 + i]
        for i in range(count, whole_lanes):
            room[i] = largest
        for i in range(whole_lanes):
            room[i] = _shifted_exp(room[i], largest)
        for i in range(count, whole_lanes):
            room[i] = 0.0
        if j0 <= k < j1:
            room[k - j0] = 0.0
        for i in range(count):
            delta[j0 + i] = room[i]
        # Summed by lanes, then as a tree: few roundings; the sums of many with compensation.
        for block in range(LANES, whole_lanes, LANES):
            for i in range(LANES):
                room[i] += room[block + i]
        term = (
            ((room[0] + room[4]) + (room[1] + room[5]))
            + ((room[2] + room[6]) + (room[3] + room[7]))
        ) - lost
        total = s + term
        lost = (total - s) - term
        s = total
    log_rest = math.log1p(s)
    whole = 1.0 + s
    if label >= 0 and smoothing == 0.0:  # the common case: one class has all the weight
        share = weight[label] if weight.size else 1.0
        scale = share / whole * factor
        for j in range(n):
            delta[j] = scale * np.float64(delta[j])
        if label == k:
            delta[k] = -scale * s
        else:
            delta[k] = scale
            delta[label] = np.float64(delta[label]) - share * factor
        if share == 0.0:  # a class without weight may have log-probability -inf
            return 0.0
        return share * ((largest - np.float64(out[label])) + log_rest)
    spread = smoothing / n
    value = 0.0
    targets = 0.0
    for j in range(n):
        share = _target(smoothing, weight, label, target, j, spread)
        targets += share
        if share != 0.0:
            value += share * ((largest - np.float64(out[j])) + log_rest)
    scale = targets / whole
    for j in range(n):
        share = _target(smoothing, weight, label, target, j, spread)
        if j == k:
            delta[j] = ((targets - share) - scale * s) * factor
        else:
            delta[j] = (scale * np.float64(delta[j]) - share) * factor
    return value


@helper
def _binary_terms(code, output, target):
    """Return value and derivative of one element of a binary cross-entropy."""
    if code == BCE_WITH_LOGITS:
        tail = math.log1p(exp(-abs(output)))
        # max(z, 0) - z·y, written so that it does not cancel for any y in [0, 1].
        linear = output * (1.0 - target) if output > 0.0 else -output * target
        if output != output:
            linear = output
        # sigmoid(z) - y, likewise without cancellation.
        if output > 0.0:
            slope = (1.0 - target) - sigmoid(-output)
        else:
            slope = sigmoid(output) - target
        return linear + tail, slope
    value = 0.0
    if target != 0.0:
        log_p = math.log(output)
        value -= target * (-100.0 if log_p < -100.0 else log_p)
    if target != 1.0:
        log_q = math.log1p(-output)
        value -= (1.0 - target) * (-100.0 if log_q < -100.0 else log_q)
    room = output * (1.0 - output)
    return value, (output - target) / (1e-12 if room < 1e-12 else room)


@helper
def _loss_row(code, smoothing, weight, out, n, label, target, factor, delta, room):
    """Return the loss of one row before the reduction; its gradient, times factor, in delta."""
    if code == CROSS_ENTROPY or code == CROSS_ENTROPY_PROBABILITIES:
        return _cross_entropy_row(smoothing, weight, out, n, label, target, factor, delta, room)
    value = 0.0
    if code == NLL:
        share = weight[label] if weight.size else 1.0
        for j in range(n):
            delta[j] = 0.0
        delta[label] = -share * factor
        return -share * np.float64(out[label])
    for j in range(n):
        if code == MSE:
            difference = np.float64(out[j]) - np.float64(target[j])
            value += difference * difference
            delta[j] = 2.0 * difference * factor
        else:
            term, slope = _binary_terms(code, np.float64(out[j]), np.float64(target[j]))
            value += term
            delta[j] = slope * factor
    return value


@native("fpnnnd")
def loss_rows(frame_at, work, first, i0, i1, factor):
    """Loss of rows i0:i1 of a batch, and their output delta.

    Parameters
    ----------
    frame_at : pointer to int64
        The frame. Reads OUTPUT: logits, log-probabilities, probabilities or values; LABELS or
        TARGETS. Writes OUTPUT_DELTA, factor·∂loss/∂output; VALUES, each row's loss before the
        reduction; HITS, where there are labels: whether the largest output is the label's
    work : pointer
        Not read.
    first : int
        The batch's first row in the epoch.
    i0, i1 : int
        Rows of the batch.
    factor : float
        The reduction's factor, 1/normaliser.

    References
    ----------
    000_0158dc28be9f1671, section 2.4; 004_609607d1608c8367, with its multi-class formula and the
    reduction of its squared error put right.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    code, n, ld = frame[t.LOSS_CODE], frame[t.N_OUTPUT], frame[t.LD_OUTPUT]
    outputs = carray(reals(frame[t.OUTPUT], work), (i1, ld))
    deltas = carray(reals(frame[t.OUTPUT_DELTA], work), (i1, ld))
    values = carray(float64s(frame[t.VALUES]), (first + i1,))
    hits = carray(bools(frame[t.HITS]), (first + i1,))
    smoothing = carray(float64s(frame[t.SMOOTHING]), (1,))[0]
    weight = _class_weight(frame, n)
    room = carray(stack_room(float64s(frame[t.VALUES]), ROOM_BYTES), (ROOM,))
    with_labels = takes_labels(code)
    for i in range(i0, i1):
        out, delta, row = outputs[i], deltas[i], first + i
        sample = sample_of(frame, row)
        if with_labels:
            label = carray(int64s(frame[t.LABELS]), (sample + 1,))[sample]
            target = out  # not read
            if frame[t.HITS] != 0:
                hits[row] = _largest(out, n) == label
            if label == frame[t.IGNORE_INDEX]:
                values[row] = 0.0
                for j in range(n):
                    delta[j] = 0.0
                continue
        else:
            label = np.int64(-1)
            target = carray(advance(reals(frame[t.TARGETS], work), sample * n), (n,))
        values[row] = _loss_row(code, smoothing, weight, out, n, label, target, factor, delta, room)


@helper
def _largest(out, n):
    """Return the place of the largest output, the first among equals."""
    best = 0
    for j in range(1, n):
        if out[j] > out[best]:
            best = j
    return best


@native("fpnnnnn")
def loss_and_delta(frame_at, work, thread, n_threads, first, count, phase):
    """Loss of every row of an output, and its gradient: a range kernel; see :func:`loss_rows`."""
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    divisor = normaliser(frame, first, count)
    call(frame[t.LOSS], (frame_at, work, first, i0, i1, 1.0 / divisor))
    restore_fp_mode(mode)
