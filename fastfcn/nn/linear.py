"""The fully connected layer."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastfcn.buffers import Array
from fastfcn.nn.init import Initialiser, KaimingUniform
from fastfcn.nn.layer import Layer
from fastfcn.nn.parameter import Parameter
from fastfcn.validation import as_flag, as_float_dtype, as_int, as_matrix
from fastfcn.workspace import Stage
from fastfcn_kernels.table import LINEAR

_DEFAULT = KaimingUniform(a=math.sqrt(5.0))


class Linear(Layer):
    """Affine map of a batch: z = a W + b.

    Parameters
    ----------
    in_features, out_features : int
        Sizes, at least 1.
    bias : bool, default True
        Whether to add b.
    init, bias_init : callable, default U(±1/√in_features), as PyTorch's Linear
        Initialisers, see :mod:`fastfcn.nn.init`.
    dtype : dtype, default float32
        float32 or float64.
    rng : numpy.random.Generator, optional
        Source of the initial values; a fresh one by default.

    Attributes
    ----------
    weight : ndarray (in_features, out_features)
        W, a writable view. Transposed with respect to PyTorch's.
    bias : ndarray (out_features,) or None
        b, a writable view.
    weight_grad, bias_grad : ndarray
        Gradients, which backward passes add to.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, a bias that is neither True nor False, or another
        dtype.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2)
    >>> layer.weight = np.ones((3, 2))
    >>> layer.bias = [0.0, 1.0]
    >>> layer(np.array([[1.0, 2.0, 3.0]]))
    array([[6., 7.]], dtype=float32)
    """

    in_features: int
    out_features: int
    dtype: np.dtype[Any]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: Initialiser = _DEFAULT,
        bias_init: Initialiser = _DEFAULT,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_features = as_int(in_features, "in_features", 1)
        self.out_features = as_int(out_features, "out_features", 1)
        self.dtype = as_float_dtype(dtype)
        self.init, self.bias_init = init, bias_init
        shape = (self.in_features, self.out_features)
        self._weight = Parameter("weight", shape, self.dtype)
        self._bias = Parameter("bias", shape[1:], self.dtype) if as_flag(bias, "bias") else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw new initial values, from ``rng`` or a fresh generator."""
        if rng is None:
            rng = np.random.default_rng()
        elif not isinstance(rng, np.random.Generator):
            raise TypeError(
                f"rng must be a numpy.random.Generator, got {rng!r}; "
                "np.random.default_rng(seed) makes one"
            )
        fans = self.in_features, self.out_features
        self._weight.data = self.init(rng, self._weight.shape, *fans)
        if self._bias is not None:
            self._bias.data = self.bias_init(rng, self._bias.shape, *fans)

    @property
    def weight(self) -> Array:
        """W (in_features, out_features), a view; assigning copies in."""
        return self._weight.data

    @weight.setter
    def weight(self, values: Any) -> None:
        self._weight.data = values

    @property
    def bias(self) -> Array | None:
        """b (out_features,), a view, or None; assigning copies in."""
        return None if self._bias is None else self._bias.data

    @bias.setter
    def bias(self, values: Any) -> None:
        if self._bias is None:
            raise AttributeError("this layer has no bias; make it with bias=True")
        self._bias.data = values

    @property
    def weight_grad(self) -> Array:
        """Gradient of the weight, a view."""
        return self._weight.grad

    @property
    def bias_grad(self) -> Array | None:
        """Gradient of the bias, a view, or None."""
        return None if self._bias is None else self._bias.grad

    @property
    def flops(self) -> int:
        return 2 * self.in_features * self.out_features

    def named_parameters(self) -> dict[str, Parameter]:
        named = {"weight": self._weight}
        if self._bias is not None:
            named["bias"] = self._bias
        return named

    def stage(self, features: int) -> Stage:
        """Describe the layer to a plan, at its place in its buffer."""
        bias = -1 if self._bias is None else self._bias.offset
        return Stage(self.in_features, self.out_features, LINEAR, self._weight.offset, bias)

    def forward(self, x: Any) -> Array:
        """Return z = x W + b for a batch (n, in_features)."""
        return self._forward(as_matrix(x, "x", self.in_features))

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Add dW = xᵀ δ and db = Σ δ to the gradients and return δ Wᵀ.

        Parameters
        ----------
        delta : array_like (n, out_features)
            Gradient of the loss with respect to the last output.
        input_gradient : bool, default True
            Whether to compute and return the gradient of the input.
        """
        return self._backward(delta, input_gradient)

    def __repr__(self) -> str:
        count = sum(p.size for p in self.parameters())
        bias = "" if self._bias is not None else ", bias=False"
        return f"Linear({self.in_features}, {self.out_features}{bias})  # {count:,} parameters"
