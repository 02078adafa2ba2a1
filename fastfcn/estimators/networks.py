"""The networks that estimators train: from sizes and names to layers."""

import copy
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from fastfcn import nn
from fastfcn.nn.activations import Activation
from fastfcn.nn.layer import Layer

ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
"""scikit-learn's names, and ours."""


def hidden_sizes(sizes: Any) -> list[int]:
    """Return the hidden layers' sizes: a number is one layer."""
    given = [sizes] if np.ndim(sizes) == 0 else list(sizes)
    if not all(_is_count(size) for size in given):
        raise ValueError(
            f"hidden_layer_sizes must be > 0 and integers, got {given}; (256, 128) are two hidden "
            "layers, () is a linear model"
        )
    return [int(size) for size in given]


def _is_count(size: Any) -> bool:
    number = isinstance(size, Real) and not isinstance(size, bool)
    return number and float(size).is_integer() and size > 0


def per_layer(value: Any, layers: int, name: str) -> list[Any]:
    """Return one value for each hidden layer: a sequence's own, or the same for all."""
    if isinstance(value, str | Activation | type) or np.ndim(value) == 0:
        return [value] * layers
    values = list(value)
    if len(values) != layers:
        raise ValueError(
            f"{name} must be one value or one for each of the {layers} hidden layers, got "
            f"{len(values)}: {values}"
        )
    return values


def make_activation(given: Any) -> Activation:
    """Return a new activation layer: by its name, its class, or as a copy of an object."""
    if isinstance(given, str) and given in ACTIVATIONS:
        return ACTIVATIONS[given]()
    if isinstance(given, type) and issubclass(given, Activation):
        return given()
    if isinstance(given, Activation):
        return copy.deepcopy(given)
    raise ValueError(
        f"activation must be one of {sorted(ACTIVATIONS)} or an activation of fastfcn.nn, got "
        f"{given!r}"
    )


def build(
    sizes: Sequence[int],
    activations: Sequence[Activation],
    dropouts: Sequence[float],
    normalizations: Sequence[str | None],
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> nn.Sequential:
    """Return a network of the given sizes, input and output among them, that ends in Linear.

    Weights and biases are uniform on ±√(6 / (fan_in + fan_out)), and on ±√(2 / (fan_in + fan_out))
    around a logistic activation: Glorot and Bengio 2010, as scikit-learn draws them and in its
    order, so that a seed gives the network that scikit-learn would begin with.
    """
    layers: list[Layer] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        around = activations[min(i, len(activations) - 1)] if activations else None
        gain = math.sqrt(1 / 3) if isinstance(around, nn.Sigmoid) else 1.0
        init = nn.init.XavierUniform(gain)
        linear = nn.Linear(fan_in, fan_out, init=init, bias_init=init, dtype=dtype)
        # Drawn again, from scikit-learn's kind of generator, which has uniform() too.
        for parameter in linear.parameters():
            parameter.data = init(random_state, parameter.shape, fan_in, fan_out)  # type: ignore[arg-type]
        layers.append(linear)
        if i < len(activations):
            layers += _norm(normalizations[i], fan_out, dtype)
            layers.append(activations[i])
            if dropouts[i] > 0.0:
                layers.append(nn.Dropout(dropouts[i]))
    return nn.Sequential(*layers)


def _norm(kind: str | None, features: int, dtype: np.dtype[Any]) -> list[Layer]:
    if kind is None:
        return []
    layer = nn.BatchNorm1d if kind == "batch" else nn.LayerNorm
    return [layer(features, dtype=dtype)]
