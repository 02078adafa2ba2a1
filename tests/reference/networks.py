"""Whole networks: forward, backward, and training by momentum SGD."""

from collections.abc import Sequence

import numpy as np

from reference.activations import activate, activation_vjp
from reference.arrays import f64
from reference.layers import Layer, linear_backward, linear_forward
from reference.optimisers import sgd


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
