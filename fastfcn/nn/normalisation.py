"""Batch and layer normalisation."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastfcn.buffers import Array
from fastfcn.nn.layer import Layer
from fastfcn.nn.parameter import Parameter
from fastfcn.validation import as_float_dtype, as_int, as_matrix, as_real
from fastfcn.workspace import Stage
from fastfcn_kernels.table import BATCH_NORM, LAYER_NORM


class _Normalisation(Layer):
    """What both share: a = γ x̂ + β with learned γ (weight) and β (bias)."""

    in_features: int
    out_features: int
    dtype: np.dtype[Any]
    has_numbers = True

    def __init__(self, features: int, eps: float, dtype: npt.DTypeLike) -> None:
        self.in_features = self.out_features = as_int(features, "features", 1)
        self.dtype = as_float_dtype(dtype)
        self.eps = as_real(eps, "eps")
        if self.eps < np.finfo(self.dtype).smallest_normal:
            raise ValueError(f"eps must be above 0 in {self.dtype}, got {eps}")
        self._weight = Parameter("weight", (self.in_features,), self.dtype)
        self._bias = Parameter("bias", (self.in_features,), self.dtype)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Set γ to 1 and β to 0; nothing is drawn."""
        self._weight.data = np.ones(self._weight.shape)
        self._bias.data = np.zeros(self._bias.shape)

    @property
    def weight(self) -> Array:
        """γ (features,), a view; assigning copies in."""
        return self._weight.data

    @weight.setter
    def weight(self, values: Any) -> None:
        self._weight.data = values

    @property
    def bias(self) -> Array:
        """β (features,), a view; assigning copies in."""
        return self._bias.data

    @bias.setter
    def bias(self, values: Any) -> None:
        self._bias.data = values

    @property
    def weight_grad(self) -> Array:
        """Gradient of γ, a view."""
        return self._weight.grad

    @property
    def bias_grad(self) -> Array:
        """Gradient of β, a view."""
        return self._bias.grad

    def named_parameters(self) -> dict[str, Parameter]:
        return {"weight": self._weight, "bias": self._bias}

    def forward(self, x: Any) -> Array:
        """Return γ x̂ + β for a batch (n, features)."""
        return self._forward(as_matrix(x, "x", self.in_features))

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Add dγ = Σ δ ⊙ x̂ and dβ = Σ δ to the gradients and return that of the input."""
        return self._backward(delta, input_gradient)


class BatchNorm1d(_Normalisation):
    """Batch normalisation: each feature with mean 0 and variance 1 over the batch, then γ x̂ + β.

    In evaluation mode mean and variance are running averages over the batches of the training, and
    a row's output does not depend on its batch.

    Parameters
    ----------
    features : int
        Features of the input.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float, default 0.1
        Share of a batch in the running averages, in [0, 1].
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weight, bias : ndarray (features,)
        γ, at first 1, and β, at first 0, writable views.
    running_mean, running_var : ndarray (features,)
        Writable views; the variance is the unbiased one, which a batch of one row does not have
        and leaves as it is.

    References
    ----------
    Ioffe and Szegedy, Batch normalization, 2015.

    Examples
    --------
    >>> layer = BatchNorm1d(1)
    >>> layer([[1.0], [3.0]]).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.running_mean
    array([0.2], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__(features, eps, dtype)
        self.momentum = as_real(momentum, "momentum")
        if not 0.0 <= self.momentum <= 1.0:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        shape = self._weight.shape
        self._mean = Parameter("running_mean", shape, self.dtype)
        self._variance = Parameter("running_var", shape, self.dtype)
        self.reset_parameters()

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Set γ and the variance to 1, β and the mean to 0; nothing is drawn."""
        super().reset_parameters()
        self._mean.data = np.zeros(self._mean.shape)
        self._variance.data = np.ones(self._variance.shape)

    @property
    def numbers(self) -> tuple[float, float]:
        return self.eps, self.momentum

    @property
    def running_mean(self) -> Array:
        """Running mean (features,), a view."""
        return self._mean.data

    @property
    def running_var(self) -> Array:
        """Running variance (features,), a view."""
        return self._variance.data

    def named_buffers(self) -> dict[str, Parameter]:
        return {"running_mean": self._mean, "running_var": self._variance}

    def stage(self, features: int) -> Stage:
        place = self._weight.offset, self._bias.offset
        return Stage(
            features, features, BATCH_NORM, *place, numbers=self.numbers, running=self._mean.offset
        )

    def __repr__(self) -> str:
        return f"BatchNorm1d({self.in_features}, eps={self.eps}, momentum={self.momentum})"


class LayerNorm(_Normalisation):
    """Layer normalisation: each row with mean 0 and variance 1 over its features, then γ x̂ + β.

    Parameters
    ----------
    features : int
        Features of the input.
    eps : float, default 1e-5
        Added to the variance.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weight, bias : ndarray (features,)
        γ, at first 1, and β, at first 0, writable views.

    References
    ----------
    Ba, Kiros and Hinton, Layer normalization, 2016.

    Examples
    --------
    >>> LayerNorm(2)([[1.0, 3.0]]).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, features: int, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32) -> None:
        super().__init__(features, eps, dtype)
        self.reset_parameters()

    @property
    def numbers(self) -> tuple[float, float]:
        return self.eps, 0.0

    def stage(self, features: int) -> Stage:
        place = self._weight.offset, self._bias.offset
        return Stage(features, features, LAYER_NORM, *place, numbers=self.numbers)

    def __repr__(self) -> str:
        return f"LayerNorm({self.in_features}, eps={self.eps})"
