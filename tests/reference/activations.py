"""Activations, and their derivatives or products with a gradient."""

import math

import numpy as np

from reference.arrays import Array, f64


def decay(z: Array) -> Array:
    """e^-|z|, which never overflows."""
    return np.exp(-np.abs(z))


def sigmoid(z) -> Array:
    z = f64(z)
    e = decay(z)
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def d_sigmoid(z) -> Array:
    e = decay(f64(z))
    return e / (1.0 + e) ** 2


def tanh(z) -> Array:
    return np.tanh(f64(z))


def d_tanh(z) -> Array:
    # 1 - tanh² as 4 e^-2|z| / (1 + e^-2|z|)²: no cancellation where tanh saturates.
    e = decay(2.0 * f64(z))
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
    return np.maximum(z, 0.0) + np.log1p(decay(z))


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
