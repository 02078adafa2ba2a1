"""The oracle: what every layer, activation, loss and optimiser must compute, in float64 NumPy.

Imports numpy (and math) only and shares no code with the package it judges. Written for reading
beside the formulas: a = h(z), z = a W + b, δ is the gradient of the loss, rows are samples.
"""

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray
Layer = tuple[Array, Array | None]
"""Weight (in, out) and bias (out,) of a linear map."""


def f64(x) -> Array:
    return np.asarray(x, dtype=np.float64)


# ---- linear ----------------------------------------------------------------------------------


def linear_forward(a, w, b=None) -> Array:
    """z = a W + b."""
    z = f64(a) @ f64(w)
    return z if b is None else z + f64(b)


def linear_backward(a, w, delta) -> tuple[Array, Array, Array]:
    """Return δ Wᵀ, aᵀ δ and Σ δ."""
    a, w, delta = f64(a), f64(w), f64(delta)
    return delta @ w.T, a.T @ delta, delta.sum(axis=0)


def magnitude(a, w, b=None) -> Array:
    """|a| |W| + |b|, which bounds the rounding of z element by element."""
    return linear_forward(np.abs(f64(a)), np.abs(f64(w)), None if b is None else np.abs(f64(b)))


# ---- activations -----------------------------------------------------------------------------


def _decay(z: Array) -> Array:
    """e^-|z|, which never overflows."""
    return np.exp(-np.abs(z))


def sigmoid(z) -> Array:
    z = f64(z)
    e = _decay(z)
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def d_sigmoid(z) -> Array:
    e = _decay(f64(z))
    return e / (1.0 + e) ** 2


def tanh(z) -> Array:
    return np.tanh(f64(z))


def d_tanh(z) -> Array:
    # 1 - tanh² as 4 e^-2|z| / (1 + e^-2|z|)²: no cancellation where tanh saturates.
    e = _decay(2.0 * f64(z))
    return 4.0 * e / (1.0 + e) ** 2


def relu(z) -> Array:
    z = f64(z)
    return np.where(z < 0, 0.0, z)


def d_relu(z) -> Array:
    return (f64(z) > 0).astype(np.float64)


def leaky_relu(z, slope: float = 0.01) -> Array:
    z = f64(z)
    return np.where(z > 0, z, slope * z)


def d_leaky_relu(z, slope: float = 0.01) -> Array:
    return np.where(f64(z) > 0, 1.0, slope)


def identity(z) -> Array:
    return f64(z).copy()


def d_identity(z) -> Array:
    return np.ones_like(f64(z))


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _normal_cdf(z: Array) -> Array:
    # ½ erfc(-z/√2) is ½ (1 + erf(z/√2)) without its cancellation for large -z.
    return 0.5 * _erfc(-z / math.sqrt(2.0))


def gelu(z) -> Array:
    z = f64(z)
    return z * _normal_cdf(z)


def d_gelu(z) -> Array:
    z = f64(z)
    # z²/2 beyond 745 underflows anyway; the clip keeps z² from overflowing.
    density = np.exp(-0.5 * np.minimum(np.abs(z), 50.0) ** 2) / math.sqrt(2.0 * math.pi)
    return _normal_cdf(z) + z * density


def silu(z) -> Array:
    z = f64(z)
    return z * sigmoid(z)


def d_silu(z) -> Array:
    z = f64(z)
    return sigmoid(z) + z * d_sigmoid(z)


def elu(z, alpha: float = 1.0) -> Array:
    z = f64(z)
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def d_elu(z, alpha: float = 1.0) -> Array:
    z = f64(z)
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))


def softplus(z) -> Array:
    z = f64(z)
    return np.maximum(z, 0.0) + np.log1p(_decay(z))


def d_softplus(z) -> Array:
    return sigmoid(z)


ACTIVATIONS = {
    "ReLU": (relu, d_relu),
    "LeakyReLU": (leaky_relu, d_leaky_relu),
    "Sigmoid": (sigmoid, d_sigmoid),
    "Tanh": (tanh, d_tanh),
    "GELU": (gelu, d_gelu),
    "SiLU": (silu, d_silu),
    "ELU": (elu, d_elu),
    "Softplus": (softplus, d_softplus),
    "Identity": (identity, d_identity),
}
"""Elementwise activations and their derivatives, by the name of the layer."""


def log_softmax(z) -> Array:
    """Row by row, with the row's maximum subtracted."""
    z = f64(z)
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(z) -> Array:
    return np.exp(log_softmax(z))


def softmax_vjp(z, g) -> Array:
    """p ⊙ (g - ⟨g, p⟩), row by row."""
    p, g = softmax(z), f64(g)
    return p * (g - (g * p).sum(axis=1, keepdims=True))


def activate(name: str, z) -> Array:
    return softmax(z) if name == "Softmax" else ACTIVATIONS[name][0](z)


def activation_vjp(name: str, z, g) -> Array:
    """Return the gradient with respect to z from that with respect to h(z)."""
    return softmax_vjp(z, g) if name == "Softmax" else f64(g) * ACTIVATIONS[name][1](z)


# ---- losses: each returns (value, gradient) of one reduction ----------------------------------


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
    losses = np.maximum(z, 0.0) - z * y + np.log1p(_decay(z))
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


# ---- optimiser -------------------------------------------------------------------------------


def sgd(theta, grad, velocity, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """g' = g + λ θ; v ← γ v - η g'; θ ← θ + v (Nesterov: θ ← θ + γ v - η g'). Return θ, v."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    v = momentum * f64(velocity) - lr * g
    return theta + (momentum * v - lr * g if nesterov else v), v


def adam(
    theta,
    grad,
    state,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    decoupled=False,
):
    """Step t = 1, 2, ... of Adam; decoupled, of AdamW. Return θ and the new averages, by name."""
    theta, g = f64(theta), f64(grad)
    if decoupled:
        theta = theta - lr * weight_decay * theta
    else:
        g = g + weight_decay * theta
    m = betas[0] * state["exp_avg"] + (1.0 - betas[0]) * g
    v = betas[1] * state["exp_avg_sq"] + (1.0 - betas[1]) * g**2
    new = {"exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        v = new["max_exp_avg_sq"] = np.maximum(state["max_exp_avg_sq"], v)
    m_hat, v_hat = m / (1.0 - betas[0] ** t), v / (1.0 - betas[1] ** t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps), new


def adamw(theta, grad, state, t, weight_decay=0.01, **hyperparameters):
    return adam(theta, grad, state, t, weight_decay=weight_decay, decoupled=True, **hyperparameters)


def rmsprop(
    theta,
    grad,
    state,
    t,
    lr=0.01,
    alpha=0.99,
    eps=1e-8,
    weight_decay=0.0,
    momentum=0.0,
    centered=False,
):
    """One step of RMSprop. Return θ and the new averages, by name."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    s = alpha * state["square_avg"] + (1.0 - alpha) * g**2
    new, variance = {"square_avg": s}, s
    if centered:
        new["grad_avg"] = alpha * state["grad_avg"] + (1.0 - alpha) * g
        variance = s - new["grad_avg"] ** 2
    u = g / (np.sqrt(variance) + eps)
    if momentum:
        u = new["momentum_buffer"] = momentum * state["momentum_buffer"] + u
    return theta - lr * u, new


def adagrad(
    theta,
    grad,
    state,
    t,
    lr=0.01,
    lr_decay=0.0,
    weight_decay=0.0,
    initial_accumulator_value=0.0,
    eps=1e-10,
):
    """Step t = 1, 2, ... of Adagrad, from ``state["sum"]``. Return θ and the new sum, by name."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    s = state["sum"] + g**2
    return theta - lr / (1.0 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps), {"sum": s}


OPTIMISERS = {"Adam": adam, "AdamW": adamw, "RMSprop": rmsprop, "Adagrad": adagrad}


# ---- initialisers ----------------------------------------------------------------------------


def batch_norm(x, scale, shift, eps=1e-5, mean=None, variance=None) -> Array:
    """scale · (x - mean) / √(variance + eps) + shift, by column.

    Mean and variance are the batch's own where none are given.
    """
    x = f64(x)
    mean = x.mean(axis=0) if mean is None else f64(mean)
    variance = ((x - mean) ** 2).mean(axis=0) if variance is None else f64(variance)
    return f64(scale) * (x - mean) / np.sqrt(variance + eps) + f64(shift)


def layer_norm(x, scale, shift, eps=1e-5) -> Array:
    """scale · (x - mean) / √(variance + eps) + shift, by row."""
    x = f64(x)
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    return f64(scale) * (x - mean) / np.sqrt(variance + eps) + f64(shift)


def kaiming_uniform_bound(fan_in: int, a: float = 0.0) -> float:
    return math.sqrt(6.0 / ((1.0 + a * a) * fan_in))


def kaiming_normal_std(fan_in: int, a: float = 0.0) -> float:
    return math.sqrt(2.0 / ((1.0 + a * a) * fan_in))


def xavier_uniform_bound(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(6.0 / (fan_in + fan_out))


def xavier_normal_std(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(2.0 / (fan_in + fan_out))


# ---- whole networks --------------------------------------------------------------------------


def network_forward(layers: Sequence[Layer], activations: Sequence[str], x):
    """Return the output, the inputs of every linear map, and every z.

    ``activations[l]`` names what follows linear map l ("Identity" for nothing).
    """
    a = f64(x)
    inputs, zs = [], []
    for (w, b), name in zip(layers, activations, strict=True):
        inputs.append(a)
        zs.append(linear_forward(a, w, b))
        a = activate(name, zs[-1])
    return a, inputs, zs


def network_backward(layers, activations, inputs, zs, delta):
    """Return [(dW, db), ...] and the gradient of the network's input."""
    g = f64(delta)
    grads = []
    for (w, b), name, a, z in reversed(list(zip(layers, activations, inputs, zs, strict=True))):
        g, dw, db = linear_backward(a, w, activation_vjp(name, z, g))
        grads.append((dw, None if b is None else db))
    return grads[::-1], g


def training_step(layers, activations, velocities, x, y, loss, **hyperparameters):
    """One SGD step on one batch: return the loss, the new layers and the new velocities.

    ``loss(output, y)`` returns (value, gradient); ``velocities`` is shaped like ``layers``.
    """
    output, inputs, zs = network_forward(layers, activations, x)
    value, delta = loss(output, y)
    grads, _ = network_backward(layers, activations, inputs, zs, delta)
    new_layers, new_velocities = [], []
    for layer, grad, velocity in zip(layers, grads, velocities, strict=True):
        moved = [
            (None, None) if t is None else sgd(t, g, v, **hyperparameters)
            for t, g, v in zip(layer, grad, velocity, strict=True)
        ]
        new_layers.append(tuple(m[0] for m in moved))
        new_velocities.append(tuple(m[1] for m in moved))
    return value, new_layers, new_velocities


def train(layers, activations, x, y, batches, loss, **hyperparameters):
    """Train on the rows that each entry of ``batches`` indexes: return losses and layers."""
    x, y = np.asarray(x), np.asarray(y)
    velocities = [tuple(None if t is None else np.zeros_like(f64(t)) for t in la) for la in layers]
    losses = []
    for rows in batches:
        value, layers, velocities = training_step(
            layers, activations, velocities, x[rows], y[rows], loss, **hyperparameters
        )
        losses.append(value)
    return losses, layers


def numerical_gradient(f, x, step: float = 1e-5) -> Array:
    """Central differences of a scalar function, fourth order: relative error about 1e-10."""
    x = f64(x).copy()
    grad = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        values = []
        for k in (-2, -1, 1, 2):
            x[i] = kept + k * step
            values.append(f(x))
        x[i] = kept
        grad[i] = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * step)
    return grad
