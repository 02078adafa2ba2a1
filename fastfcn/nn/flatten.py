"""Flattening of images."""

from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.layer import Layer


class Flatten(Layer):
    """A batch (n, ...) as a matrix (n, features): ``Sequential(Flatten(), Linear(784, 10))``.

    A network that begins with it takes images as they are, ``fit`` and ``predict`` included.

    Examples
    --------
    >>> Flatten()(np.zeros((5, 28, 28))).shape
    (5, 784)
    """

    _shape: tuple[int, ...] | None = None

    def stage(self, features: int) -> None:
        return None

    def forward(self, x: Any) -> Array:
        """Return x (n, ...) as (n, features)."""
        given = np.asarray(x)
        if given.ndim < 2:
            raise ValueError(f"x must have at least two dimensions, got shape {given.shape}")
        self._shape = given.shape
        return given.reshape(len(given), -1)

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Return δ in the shape of the last input."""
        if self._shape is None:
            raise RuntimeError("Flatten.backward needs a forward pass before it")
        return np.asarray(delta).reshape(self._shape) if input_gradient else None

    def __repr__(self) -> str:
        return "Flatten()"
