"""Losses: the value of each row and the output delta, from one formula at one place.

Values are float64 whatever the network's precision, and exact to rounding where the loss is nearly
zero. The factor of the reduction (1/batch for a mean) is applied here and nowhere else.
"""

import math

import numpy as np

from fastfcn_kernels.compilation import helper, kernel
from fastfcn_kernels.elementary import exp, sigmoid
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode

CROSS_ENTROPY, CROSS_ENTROPY_PROBABILITIES, NLL, BCE, BCE_WITH_LOGITS, MSE = range(6)
"""Codes of the losses; the first and third take class indices, the others float targets."""

# The loss: one int64 vector.
CODE, IGNORE_INDEX, MEAN = 0, 1, 2
"""Code of the loss, the label that counts for nothing, 1 for the mean over the batch."""


@helper
def takes_labels(code):
    """Tell whether a loss compares with class indices rather than float targets."""
    return code == CROSS_ENTROPY or code == NLL


@helper
def normaliser(loss, weight, labels, order, first, batch, n):
    """Return what a batch's loss is divided by: 1, its samples' weights, its rows or its elements.

    Parameters
    ----------
    loss : int64 (3,)                                                     [in]
    weight : float64 (K,) or (0,)
        Weight of each class                                              [in]
    labels : int64 (samples,) or (0,)                                     [in]
    order : int64 (samples,) or (0,)
        Sample of each row, or the rows themselves                        [in]
    first, batch : int
        The batch's first row and number of rows.
    n : int
        Outputs.
    """
    if loss[MEAN] == 0:
        return 1.0
    if loss[CODE] == CROSS_ENTROPY_PROBABILITIES:
        return float(batch)
    if not takes_labels(loss[CODE]):
        return float(batch * n)
    total = 0.0
    for i in range(first, first + batch):
        label = labels[order[i] if order.size else i]
        if label != loss[IGNORE_INDEX]:
            total += weight[label] if weight.size else 1.0
    return total


@helper
def _target(loss, smoothing, weight, label, target, j, spread):
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
def _cross_entropy_row(loss, smoothing, weight, out, n, label, target, factor, delta):
    """Softmax cross-entropy of one row of logits: Σ tⱼ·(-log pⱼ), δ = p·Σt - t.

    With the row's largest logit m at k and s = Σ_{j≠k} e^(zⱼ-m), log Σ e^zⱼ = m + log1p(s): no
    cancellation where the loss is nearly zero. s is summed with compensation. delta keeps the
    exponentials in between.
    """
    k = 0
    for j in range(1, n):
        if out[j] > out[k]:
            k = j
    largest = np.float64(out[k])
    s = 0.0
    lost = 0.0
    for j in range(n):
        if j != k:
            e = _shifted_exp(np.float64(out[j]), largest)
            delta[j] = e
            term = e - lost
            total = s + term
            lost = (total - s) - term
            s = total
    log_rest = math.log1p(s)
    whole = 1.0 + s
    spread = smoothing / n
    value = 0.0
    targets = 0.0
    for j in range(n):
        share = _target(loss, smoothing, weight, label, target, j, spread)
        targets += share
        if share != 0.0:  # a class without weight may have log-probability -inf
            value += share * ((largest - np.float64(out[j])) + log_rest)
    scale = targets / whole
    for j in range(n):
        share = _target(loss, smoothing, weight, label, target, j, spread)
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
def loss_row(loss, smoothing, weight, out, n, label, target, factor, delta):
    """Loss of one row, and its delta.

    Parameters
    ----------
    loss : int64 (3,)
        CODE, IGNORE_INDEX, MEAN                                          [in]
    smoothing : float
        Label smoothing of the cross-entropy.
    weight : float64 (K,) or (0,)                                         [in]
    out : real (≥ n,)
        Outputs: logits, log-probabilities, probabilities or values       [in]
    n : int
        Outputs.
    label : int
        The row's class, -1 for losses with float targets.
    target : real (≥ n,)
        The row's targets; not read for losses with labels                [in]
    factor : float
        The reduction's factor, 1/normaliser.
    delta : real (≥ n,)
        factor · ∂loss/∂out                                               [out]

    Returns
    -------
    float
        The row's loss, before the reduction.

    References
    ----------
    000_0158dc28be9f1671, section 2.4; 004_609607d1608c8367, with its multi-class formula and the
    reduction of its squared error put right.
    """
    code = loss[CODE]
    if takes_labels(code) and label == loss[IGNORE_INDEX]:
        for j in range(n):
            delta[j] = 0.0
        return 0.0
    if code == CROSS_ENTROPY or code == CROSS_ENTROPY_PROBABILITIES:
        return _cross_entropy_row(loss, smoothing, weight, out, n, label, target, factor, delta)
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


@helper
def is_hit(out, n, label):
    """Tell whether the largest output is the label's."""
    best = 0
    for j in range(1, n):
        if out[j] > out[best]:
            best = j
    return best == label


@kernel(parallel=False)
def loss_and_delta(loss, smoothing, weight, out, labels, targets, values, delta):
    """Loss of every row of an output, and the output delta.

    Parameters
    ----------
    loss, smoothing, weight
        As :func:`loss_row`                                               [in]
    out : real (B, K)                                                     [in]
    labels : int64 (B,) or (0,)
        Class indices, for losses that take them                          [in]
    targets : real (B, K) or (1, 1)
        Float targets, for the others                                     [in]
    values : float64 (B,)
        Loss of each row, before the reduction                            [out]
    delta : real (B, K)
        Gradient of the reduced loss                                      [out]

    Returns
    -------
    float
        What the sum of values is divided by.
    """
    mode = default_fp_mode()
    batch, n = out.shape
    order = labels[:0]
    divisor = normaliser(loss, weight, labels, order, 0, batch, n)
    for i in range(batch):
        label = labels[i] if labels.size else -1
        target = targets[0] if labels.size else targets[i]
        values[i] = loss_row(
            loss, smoothing, weight, out[i], n, label, target, 1.0 / divisor, delta[i]
        )
    restore_fp_mode(mode)
    return divisor
