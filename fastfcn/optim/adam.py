"""Adam, and AdamW with decoupled weight decay."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.optimizer import DECAY_OPTIONS, Optimizer
from fastfcn.validation import as_flag, as_positive, as_share
from fastfcn_kernels import adaptive as kernels
from fastfcn_kernels.compilation import Native


class Adam(Optimizer):
    """Adam: m ← m + (1 - β₁)(g - m); v ← β₂ v + (1 - β₂) g²; θ ← θ - η m̂ / (√v̂ + ε).

    With m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) in step t = 1, 2, ...

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.001
        Learning rate η > 0.
    betas : (float, float), default (0.9, 0.999)
        β₁ and β₂ in [0, 1): how much of the averages of g and g² each step keeps.
    eps : float, default 1e-8
        ε > 0.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ θ to the gradient.
    amsgrad : bool, default False
        Whether the largest v so far takes the place of v.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights).

    Notes
    -----
    PyTorch's Adam, step by step to rounding. It also takes eps=0, which divides 0 by 0 where a
    gradient is 0.

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, 2015. Reddi, Kale and Kumar, On the
    convergence of Adam and beyond, 2018.

    Raises
    ------
    ValueError, TypeError
        For a hyperparameter out of its range, no parameters, or one given twice.

    Examples
    --------
    The first step has length η for each parameter that has a gradient, whatever its size:

    >>> from fastfcn import nn
    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.weight = [[1.0], [1.0], [1.0]]
    >>> layer.weight_grad[...] = [[2.0], [-500.0], [0.0]]
    >>> Adam(layer.parameters(), lr=0.25).step()
    >>> layer.weight.round(4).ravel()
    array([0.75, 1.25, 1.  ], dtype=float32)
    """

    options = ("lr", "betas", "eps", "amsgrad", *DECAY_OPTIONS)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        self.amsgrad = as_flag(amsgrad, "amsgrad")
        super().__init__(parameters, lr, weight_decay, decay_bias, decay_by_batch)
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers, got {betas!r}")
        self.betas = as_share(betas[0], "betas[0]"), as_share(betas[1], "betas[1]")
        self.eps = as_positive(eps, "eps")

    @property
    def kernel(self) -> Native:
        return kernels.amsgrad if self.amsgrad else kernels.adam

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if self.amsgrad else []))

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        first, second = self.betas
        # m̂ / (√v̂ + ε) with all that changes from step to step in two numbers.
        root = np.sqrt(1.0 - second**step)
        rate = lr * root / (1.0 - first**step)
        eps = self._normal(self.eps * root)
        return rate, self._shrink(lr, decay), 1.0 - first, second, 1.0 - second, eps

    def _shrink(self, lr: Array, decay: Array) -> Array:
        """Return what is left of a parameter before the step."""
        return np.ones(len(lr))


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 - η λ) θ before each step.

    The decay does not pass through the averages of the gradient, so that it is the same for all
    weights.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.001
        Learning rate η > 0.
    betas : (float, float), default (0.9, 0.999)
        β₁ and β₂ in [0, 1): how much of the averages of g and g² each step keeps.
    eps : float, default 1e-8
        ε > 0.
    weight_decay : float, default 0.01
        λ ≥ 0.
    amsgrad : bool, default False
        Whether the largest v so far takes the place of v.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights).

    References
    ----------
    Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

    Examples
    --------
    Without a gradient, only the decay is left:

    >>> from fastfcn import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> layer.weight = [[1.0]]
    >>> AdamW(layer.parameters(), lr=0.5, weight_decay=0.5).step()
    >>> layer.weight
    array([[0.75]], dtype=float32)
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        super().__init__(
            parameters, lr, betas, eps, weight_decay, amsgrad, decay_bias, decay_by_batch
        )

    def _decay(self, lr: Array, decay: Array) -> Array:
        return np.zeros(len(lr))

    def _shrink(self, lr: Array, decay: Array) -> Array:
        return 1.0 - lr * decay
