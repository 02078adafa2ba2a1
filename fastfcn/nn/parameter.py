"""Parameters: views into one flat buffer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import Array, Buffer, padded


class Parameter:
    """One trainable array, with its gradient.

    ``data`` and ``grad`` are views: writing into them changes the parameter. A layer's parameters
    move into the network's buffer when the layer becomes part of one; take views after that.

    Parameters
    ----------
    name : str
        "weight" or "bias".
    shape : tuple of int
        (in_features, out_features) or (out_features,).
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._rows = int(np.prod(shape[:-1]))
        self._ld = padded(shape[-1], dtype)
        self.buffer = Buffer(self.padded_size, dtype)
        self.offset = 0

    @property
    def padded_size(self) -> int:
        """Elements the parameter takes in a buffer: its rows, each padded."""
        return self._rows * self._ld

    @property
    def size(self) -> int:
        """Number of trainable elements."""
        return int(np.prod(self.shape))

    def view(self, flat: Array, offset: int) -> Array:
        """Return the part of a flat, padded array that belongs to this parameter, in its shape."""
        rows = flat[offset : offset + self.padded_size].reshape(self._rows, self._ld)
        view = rows[:, : self.shape[-1]]
        return view if len(self.shape) == 2 else view[0]

    @property
    def _values(self) -> Array:
        return self.view(self.buffer.values, self.offset)

    @property
    def data(self) -> Array:
        """The values, as a view."""
        self.buffer.shared = True
        return self._values

    @data.setter
    def data(self, values: Any) -> None:
        given = np.asarray(values)
        if given.shape != self.shape:
            raise ValueError(f"{self.name} must have shape {self.shape}, got {given.shape}")
        if given.dtype.kind not in "fiub":
            raise TypeError(f"{self.name} must be real numbers, got dtype {given.dtype}")
        self._values[...] = given
        self.buffer.changed()

    def copy(self) -> Array:
        """Return the values as an array of their own."""
        return self._values.copy()

    @property
    def grad(self) -> Array:
        """The gradient, as a view."""
        return self.view(self.buffer.grads, self.offset)

    @grad.setter
    def grad(self, values: Any) -> None:
        self.grad[...] = values

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        if self.buffer.has_grads:
            self.grad[...] = 0.0

    def _move(self, buffer: Buffer, offset: int) -> None:
        values, grads = self._values, self.grad if self.buffer.has_grads else None
        self.buffer.moved = True
        self.buffer, self.offset = buffer, offset
        self._values[...] = values
        if grads is not None:
            self.grad[...] = grads

    def __repr__(self) -> str:
        return f"Parameter({self.name}, shape={self.shape}, dtype={self.dtype})"


def pack(parameters: Sequence[Parameter]) -> Buffer | None:
    """Bring parameters together in one buffer, in order; return it, None without any.

    Nothing moves where they already lie in one, which may hold others too: a network and those it
    is part of, or made of, share theirs.
    """
    if not parameters:
        return None
    buffer = parameters[0].buffer
    if all(parameter.buffer is buffer for parameter in parameters):
        return buffer
    buffer = Buffer(sum(p.padded_size for p in parameters), parameters[0].dtype)
    offset = 0
    for parameter in parameters:
        parameter._move(buffer, offset)
        offset += parameter.padded_size
    return buffer
