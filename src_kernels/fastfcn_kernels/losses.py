"""Losses: the value of each row and the output delta, from one formula at one place.

Each loss is a kernel of its own, compiled when it is first used, around one loop over the rows of
a batch. Adding one takes the formula of a row, or of an element, and an entry in the list below.

Values are float64 whatever the network's precision, and exact to rounding where the loss is nearly
zero. The samples' weights and the factor of the reduction (1/batch for a mean) are applied here and
nowhere else.
"""

import math
from typing import Any

import numpy as np
from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native, call, helper, native, variant
from fastfcn_kernels.elementary import exp, sigmoid
from fastfcn_kernels.gather import sample_of
from fastfcn_kernels.memory import advance, bools, float64s, int64s, reals
from fastfcn_kernels.shares import share_of_rows
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode, stack_room

ROOM = 64
"""Exponentials taken at a time, in float64 on the stack."""
LANES = 8
"""Their number is rounded up to whole vectors: few classes would else be all remainder."""
ROOM_BYTES = 8 * ROOM

ONE, ROWS, ELEMENTS, CLASS_WEIGHTS = range(4)
"""What a batch's loss is divided by: nothing; its rows, their outputs or their classes' weights,
each row as many times as its sample's weight says."""


@helper
def _class_weight(frame, n):
    """Return the weight of each of n classes; empty where there is none."""
    return carray(float64s(frame[t.CLASS_WEIGHT]), (n if frame[t.CLASS_WEIGHT] != 0 else 0,))


@helper
def _sample_weight(frame, sample):
    """Return how many times a sample counts."""
    if frame[t.SAMPLE_WEIGHT] == 0:
        return 1.0
    return carray(float64s(frame[t.SAMPLE_WEIGHT]), (sample + 1,))[sample]


@helper
def _label(frame, sample):
    """Return the class of a sample."""
    return carray(int64s(frame[t.LABELS]), (sample + 1,))[sample]


@helper
def normaliser(frame, first, count):
    """Return what a batch's loss is divided by; 0 where no row counts.

    Parameters
    ----------
    frame : int64
        DIVISOR, SAMPLE_WEIGHT, IGNORE_INDEX, CLASS_WEIGHT, LABELS, ORDER, N_OUTPUT  [in]
    first, count : int
        The batch's first row and number of rows.
    """
    divisor, n = frame[t.DIVISOR], frame[t.N_OUTPUT]
    if divisor == ONE:
        return 1.0
    total = 0.0
    if frame[t.LABELS] == 0 and frame[t.SAMPLE_WEIGHT] == 0:
        total = float(count)
    else:
        class_weight = _class_weight(frame, n)
        for row in range(first, first + count):
            sample = sample_of(frame, row)
            times = _sample_weight(frame, sample)
            if frame[t.LABELS] != 0:
                label = _label(frame, sample)
                if label == frame[t.IGNORE_INDEX]:
                    continue
                if divisor == CLASS_WEIGHTS:
                    times *= class_weight[label]
            total += times
    return total * n if divisor == ELEMENTS else total


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
def _cross_entropy_row(smoothing, weight, out, n, label, target, factor, delta):
    """Softmax cross-entropy of one row of logits: Σ tⱼ·(-log pⱼ), δ = p·Σt - t.

    With the row's largest logit m at k and s = Σ_{j≠k} e^(zⱼ-m), log Σ e^zⱼ = m + log1p(s): no
    cancellation where the loss is nearly zero. The exponentials are taken ROOM at a time, a loop
    that the compiler vectorises; delta keeps them in between.
    """
    room = carray(stack_room(float64s(0), ROOM_BYTES), (ROOM,))
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
def _largest(out, n):
    """Return the place of the largest output, the first among equals."""
    best, top = 0, out[0]
    for j in range(1, n):
        # Chosen, not branched on: which class it is, no processor foresees.
        larger = out[j] > top
        top = out[j] if larger else top
        best = j if larger else best
    return best


@helper
def _nll_row(p, weight, out, n, label, target, factor, delta):
    """Negative log-likelihood of one row of log-probabilities."""
    share = weight[label] if weight.size else 1.0
    for j in range(n):
        delta[j] = 0.0
    delta[label] = -share * factor
    return -share * np.float64(out[label])


@helper
def _binary_cross_entropy(output, target, p):
    """-(y log o + (1 - y) log(1 - o)), with the logarithms no less than -100."""
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
def _binary_cross_entropy_of_logits(output, target, p):
    """log(1 + e^o) - y o, and sigmoid(o) - y."""
    tail = math.log1p(exp(-abs(output)))
    # max(o, 0) - o y, written so that it does not cancel for any y in [0, 1]; the slope likewise.
    if output > 0.0:
        return output * (1.0 - target) + tail, (1.0 - target) - sigmoid(-output)
    return -output * target + tail, sigmoid(output) - target


@helper
def _squared_error(output, target, p):
    """p (o - y)²."""
    difference = output - target
    return p * difference * difference, 2.0 * p * difference


@helper
def _absolute_error(output, target, p):
    """|o - y|; the slope at 0 is 0."""
    difference = output - target
    if difference > 0.0:
        return difference, 1.0
    if difference < 0.0:
        return -difference, -1.0
    return difference, difference  # 0 or NaN


@helper
def _huber(output, target, p):
    """Half the squared error up to a distance of p, a line with its slope beyond."""
    difference = output - target
    size = abs(difference)
    if size > p:
        return p * (size - 0.5 * p), math.copysign(p, difference)
    return 0.5 * difference * difference, difference


@helper
def _poisson(output, target, p):
    """e^o - y o, where o is the logarithm of the rate; infinite where e^o is."""
    rate = exp(output)
    value = rate if target == 0.0 else rate - target * output
    return value, rate - target


@helper
def _on_the_right_side(out, target, n, threshold):
    """Tell whether each output lies above the threshold where its target is above ½."""
    right = True
    for j in range(n):
        right &= (out[j] > threshold) == (target[j] > 0.5)
    return right


def _kernel(name: str, loss_row: Any, threshold: float | None = None) -> Native:
    """Make the kernel of a loss from the loss of one row.

    ``loss_row(p, weight, out, n, label, target, factor, delta)`` returns a row's loss in float64
    and writes its gradient times ``factor`` into ``delta``. p is the loss's parameter; weight the
    classes' weights, empty where there are none; label the row's class, or -1 where target (n,)
    holds what the outputs are compared with. ``threshold`` parts the outputs of a binary loss.
    """
    binary = threshold is not None
    middle = 0.0 if threshold is None else threshold

    def loss_rows(frame_at, work, first, i0, i1, factor):
        """Loss of rows i0:i1 of a batch, and their output delta.

        Parameters
        ----------
        frame_at : pointer to int64
            The frame. Reads OUTPUT: logits, log-probabilities, probabilities or values; LABELS or
            TARGETS; SAMPLE_WEIGHT. Writes OUTPUT_DELTA, factor·∂loss/∂output; VALUES, each row's
            loss before the reduction; HITS: whether the largest output is the label's, for a binary
            loss whether all outputs are on their targets' side. Loss and delta are multiplied by
            the sample's weight; both are 0 where that is 0 or the label ignored, whatever the
            output
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
        000_0158dc28be9f1671, section 2.4; 004_609607d1608c8367, with its multi-class formula and
        the reduction of its squared error put right.
        """
        frame = carray(frame_at, (t.FRAME_SIZE,))
        n, ld = frame[t.N_OUTPUT], frame[t.LD_OUTPUT]
        outputs = carray(reals(frame[t.OUTPUT], work), (i1, ld))
        deltas = carray(reals(frame[t.OUTPUT_DELTA], work), (i1, ld))
        values = carray(float64s(frame[t.VALUES]), (first + i1,))
        hits = carray(bools(frame[t.HITS]), (first + i1,))
        p = carray(float64s(frame[t.LOSS_PARAMETER]), (1,))[0]
        weight = _class_weight(frame, n)
        for i in range(i0, i1):
            out, delta, row = outputs[i], deltas[i], first + i
            sample = sample_of(frame, row)
            times = _sample_weight(frame, sample)
            if frame[t.LABELS] != 0:
                label = _label(frame, sample)
                target = out  # not read
                if frame[t.HITS] != 0:
                    hits[row] = _largest(out, n) == label
                if label == frame[t.IGNORE_INDEX]:
                    times = 0.0
            else:
                label = np.int64(-1)
                target = carray(advance(reals(frame[t.TARGETS], work), sample * n), (n,))
                if binary and frame[t.HITS] != 0:
                    hits[row] = _on_the_right_side(out, target, n, middle)
            if times == 0.0:
                values[row] = 0.0
                for j in range(n):
                    delta[j] = 0.0
            else:
                loss = loss_row(p, weight, out, n, label, target, times * factor, delta)
                values[row] = times * loss

    loss_rows.__name__ = loss_rows.__qualname__ = f"{name}_rows"
    return Native(loss_rows, "fpnnnd")


def _elementwise(name: str, term: Any, threshold: float | None = None) -> Native:
    """Make the kernel of a loss that is a sum over a row's outputs.

    ``term(output, target, p)`` returns value and derivative of one, all in float64; ``threshold``
    as in :func:`_kernel`.
    """

    @variant(f"{name}_row")
    def row(p, weight, out, n, label, target, factor, delta):
        value = 0.0
        for j in range(n):
            loss, slope = term(np.float64(out[j]), np.float64(target[j]), p)
            value += loss
            delta[j] = slope * factor
        return value

    return _kernel(name, row, threshold)


CROSS_ENTROPY = _kernel("cross_entropy", _cross_entropy_row)
NLL = _kernel("nll", _nll_row)
BCE = _elementwise("bce", _binary_cross_entropy, 0.5)
BCE_WITH_LOGITS = _elementwise("bce_with_logits", _binary_cross_entropy_of_logits, 0.0)
MSE = _elementwise("mse", _squared_error)
L1 = _elementwise("l1", _absolute_error)
HUBER = _elementwise("huber", _huber)
POISSON_NLL = _elementwise("poisson_nll", _poisson)


@native("fpnnnnn")
def loss_and_delta(frame_at, work, thread, n_threads, first, count, phase):
    """Loss of every row of an output, and its gradient: a range kernel; see :func:`_kernel`."""
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    i0, i1 = share_of_rows(count, thread, n_threads)
    divisor = normaliser(frame, first, count)
    factor = 1.0 / divisor if divisor > 0.0 else 0.0
    call(frame[t.LOSS], (frame_at, work, first, i0, i1, factor))
    restore_fp_mode(mode)
