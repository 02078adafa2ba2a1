"""Adagrad."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.optimizer import DECAY_OPTIONS, Optimizer
from fastfcn.validation import as_not_negative, as_positive
from fastfcn_kernels import adaptive as kernels


class Adagrad(Optimizer):
    """Adagrad: s ← s + g²; θ ← θ - η / (1 + (t - 1) κ) · g / (√s + ε) in step t = 1, 2, ...

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.01
        Learning rate η > 0.
    lr_decay : float, default 0.0
        κ ≥ 0.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ θ to the gradient.
    initial_accumulator_value : float, default 0.0
        s before the first step, at least 0.
    eps : float, default 1e-10
        ε > 0.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights).

    Notes
    -----
    PyTorch's Adagrad, step by step to rounding. It also takes eps=0, which divides 0 by 0 where a
    gradient is 0.

    References
    ----------
    Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic
    optimization, 2011.

    Raises
    ------
    ValueError, TypeError
        For a hyperparameter out of its range, no parameters, or one given twice.

    Examples
    --------
    >>> from fastfcn import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> layer.weight = [[1.0]]
    >>> layer.weight_grad[...] = 4.0
    >>> Adagrad(layer.parameters(), lr=0.25, initial_accumulator_value=9.0).step()
    >>> layer.weight.round(4)
    array([[0.8]], dtype=float32)
    """

    kernel = kernels.adagrad
    slots = ("sum",)
    options = ("lr", "lr_decay", "initial_accumulator_value", "eps", *DECAY_OPTIONS)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_bias, decay_by_batch)
        self.lr_decay = as_not_negative(lr_decay, "lr_decay")
        self.initial_accumulator_value = as_not_negative(
            initial_accumulator_value, "initial_accumulator_value"
        )
        self.eps = as_positive(eps, "eps")
        for view in self._slot_views("sum"):  # the padding stays zero
            view[...] = self.initial_accumulator_value

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        return lr / (1.0 + (step - 1.0) * self.lr_decay), self._normal(self.eps)
