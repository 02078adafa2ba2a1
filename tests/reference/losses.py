"""Losses: each returns (value, gradient) of one reduction."""

import numpy as np

from reference.activations import decay, log_softmax, sigmoid
from reference.arrays import Array, f64


def _reduce(losses: Array, grad: Array, reduction: str, sample_weight, counts, kept=1.0):
    """Weigh losses (n,) or (n, K) and their gradients, and reduce them.

    ``counts`` is what each row adds to the divisor of "mean", ``kept`` to that of "batchmean".
    """
    n = len(losses)
    w = np.ones(n) if sample_weight is None else f64(sample_weight)
    divisors = {"mean": counts, "batchmean": kept}
    divisor = (w * divisors[reduction]).sum() if reduction in divisors else 1.0
    losses = losses * w.reshape(-1, *[1] * (losses.ndim - 1))
    value = losses if reduction == "none" else losses.sum() / divisor
    return value, grad * w[:, None] / divisor


def one_hot(labels, k: int) -> Array:
    labels = np.asarray(labels)
    return (labels[:, None] == np.arange(k)).astype(np.float64)


def cross_entropy(
    z,
    target,
    weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    reduction="mean",
    sample_weight=None,
):
    """Softmax cross-entropy of logits with class indices (n,) or probabilities (n, K)."""
    z, target = f64(z), np.asarray(target)
    n, k = z.shape
    w = np.ones(k) if weight is None else f64(weight)
    kept = np.ones(n, bool)
    counts = np.ones(n)
    y = f64(target)
    if target.ndim == 1:
        kept = target != ignore_index
        label = np.where(kept, target, 0)
        y, counts = one_hot(label, k), w[label] * kept
    t = w * ((1.0 - label_smoothing) * y + label_smoothing / k) * kept[:, None]
    log_p = log_softmax(z)
    losses = -(t * np.where(t == 0.0, 0.0, log_p)).sum(axis=1)
    grad = t.sum(axis=1, keepdims=True) * np.exp(log_p) - t
    return _reduce(losses, grad, reduction, sample_weight, counts, kept)


def nll(log_p, target, weight=None, ignore_index=-100, reduction="mean", sample_weight=None):
    """-log p[target] of log-probabilities."""
    log_p, target = f64(log_p), np.asarray(target)
    n, k = log_p.shape
    w = np.ones(k) if weight is None else f64(weight)
    kept = target != ignore_index
    label = np.where(kept, target, 0)
    share = w[label] * kept
    grad = -share[:, None] * one_hot(label, k)
    losses = -share * log_p[np.arange(n), label]
    return _reduce(losses, grad, reduction, sample_weight, share, kept)


def _by_element(losses: Array, grad: Array, reduction: str, sample_weight):
    """Reduce losses (n, K), each of an output."""
    return _reduce(losses, grad, reduction, sample_weight, losses.shape[1])


def bce(p, y, reduction="mean", sample_weight=None):
    """Binary cross-entropy of probabilities; logarithms clamped at -100, as PyTorch does."""
    p, y = f64(p), f64(y)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.maximum(np.log(p), -100.0), np.maximum(np.log1p(-p), -100.0)
    grad = (p - y) / np.maximum(p * (1.0 - p), 1e-12)
    return _by_element(-(y * log_p + (1.0 - y) * log_q), grad, reduction, sample_weight)


def bce_with_logits(z, y, reduction="mean", sample_weight=None):
    """max(z, 0) - z y + log(1 + e^-|z|)."""
    z, y = f64(z), f64(y)
    losses = np.maximum(z, 0.0) - z * y + np.log1p(decay(z))
    return _by_element(losses, sigmoid(z) - y, reduction, sample_weight)


def mse(a, y, reduction="mean", half=False, sample_weight=None):
    difference = f64(a) - f64(y)
    losses, grad = difference**2, 2.0 * difference
    if half:
        losses, grad = losses / 2.0, grad / 2.0
    return _by_element(losses, grad, reduction, sample_weight)


def l1(a, y, reduction="mean", sample_weight=None):
    difference = f64(a) - f64(y)
    return _by_element(np.abs(difference), np.sign(difference), reduction, sample_weight)


def huber(a, y, delta=1.0, reduction="mean", sample_weight=None):
    """d²/2 up to delta, delta (|d| - delta/2) beyond."""
    difference = f64(a) - f64(y)
    size = np.abs(difference)
    losses = np.where(size <= delta, size**2 / 2.0, delta * (size - delta / 2.0))
    return _by_element(losses, np.clip(difference, -delta, delta), reduction, sample_weight)


def poisson_nll(o, y, reduction="mean", sample_weight=None):
    """e^o - y o."""
    o, y = f64(o), f64(y)
    return _by_element(np.exp(o) - y * o, np.exp(o) - y, reduction, sample_weight)


LOSSES = {
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "BCELoss": bce,
    "BCEWithLogitsLoss": bce_with_logits,
    "MSELoss": mse,
    "L1Loss": l1,
    "HuberLoss": huber,
    "PoissonNLLLoss": poisson_nll,
}
