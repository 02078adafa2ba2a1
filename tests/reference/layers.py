"""Linear maps and normalisations."""

import numpy as np

from reference.arrays import Array, f64

Layer = tuple[Array, Array | None]
"""Weight (in, out) and bias (out,) of a linear map."""


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
