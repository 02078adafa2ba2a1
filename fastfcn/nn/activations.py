"""Activation layers: the classes of the kernels' registry."""

from typing import Any, ClassVar

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.layer import Layer
from fastfcn.validation import as_real
from fastfcn.workspace import Stage
from fastfcn_kernels.activations import CODES


class Activation(Layer):
    """Base of the activations: a = h(z), element by element.

    Input may have any number of dimensions. float64 stays float64; other input becomes float32.
    """

    kernel: ClassVar[str]
    """Name of the entry in the kernels' registry."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()

    @property
    def alpha(self) -> float:
        """The parameter that the kernels' formula takes; 0 where it has none."""
        return 0.0

    @property
    def numbers(self) -> tuple[float, float]:
        return self.alpha, 0.0

    def stage(self, features: int) -> Stage:
        """Describe the activation to a plan, for rows of ``features``."""
        code = CODES[self.kernel]
        return Stage(features, features, activation=code, numbers=self.numbers)

    def forward(self, x: Any) -> Array:
        """Return h(x)."""
        z = np.asarray(x)
        if z.dtype.kind not in "fiub":
            raise TypeError(f"x must be real numbers, got dtype {z.dtype}")
        if z.ndim == 0 or z.size == 0:
            raise ValueError(f"x must have at least one element and dimension, got {z.shape}")
        self._shape = z.shape
        return self._forward(z.reshape(-1, z.shape[-1])).reshape(z.shape)

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Return δ ⊙ h'(z) for the last input z."""
        given = np.asarray(delta)
        if self._plan is not None and given.shape == self._shape:
            given = given.reshape(-1, given.shape[-1])
        gradient = self._backward(given, input_gradient)
        return None if gradient is None else gradient.reshape(self._shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Identity(Activation):
    """h(z) = z."""

    kernel = "identity"


class ReLU(Activation):
    """h(z) = max(z, 0), h'(z) = 1 where z > 0, else 0.

    Examples
    --------
    >>> ReLU()([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """

    kernel = "relu"


class LeakyReLU(Activation):
    """h(z) = z where z > 0, else slope · z.

    Parameters
    ----------
    negative_slope : float, default 0.01
        Slope below zero.
    """

    kernel = "leaky_relu"
    has_numbers = True

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = as_real(negative_slope, "negative_slope")

    @property
    def alpha(self) -> float:
        return self.negative_slope

    def __repr__(self) -> str:
        return f"LeakyReLU(negative_slope={self.negative_slope})"


class Sigmoid(Activation):
    """h(z) = 1 / (1 + e^-z), h' = h (1 - h); nothing overflows."""

    kernel = "sigmoid"


class Tanh(Activation):
    """h(z) = tanh z, h' = 1 - h²; nothing overflows."""

    kernel = "tanh"


class Softmax(Activation):
    """pⱼ = e^zⱼ / Σ e^z, row by row over the last axis; backward p ⊙ (δ - ⟨δ, p⟩).

    Examples
    --------
    >>> Softmax()([[0.0, 0.0], [1000.0, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """

    kernel = "softmax"


class GELU(Activation):
    """h(z) = z Φ(z) with the normal distribution function Φ, exact (by erfc)."""

    kernel = "gelu"


class SiLU(Activation):
    """h(z) = z / (1 + e^-z)."""

    kernel = "silu"


class ELU(Activation):
    """h(z) = z where z > 0, else α (e^z - 1).

    Parameters
    ----------
    alpha : float, default 1.0
        Minus the limit at -∞.
    """

    kernel = "elu"
    has_numbers = True

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = as_real(alpha, "alpha")

    @property
    def alpha(self) -> float:
        """Minus the limit at -∞."""
        return self._alpha

    def __repr__(self) -> str:
        return f"ELU(alpha={self.alpha})"


class Softplus(Activation):
    """h(z) = log(1 + e^z), h'(z) = 1 / (1 + e^-z)."""

    kernel = "softplus"
