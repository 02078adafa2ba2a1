"""Stochastic gradient descent."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.optimizer import DECAY_OPTIONS, Optimizer
from fastfcn.validation import as_flag, as_share
from fastfcn_kernels import optimisers as kernels


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v ← γ v - η g; θ ← θ + v.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.01
        Learning rate η > 0.
    momentum : float, default 0.0
        γ in [0, 1).
    nesterov : bool, default False
        θ ← θ + γ v - η g with the new v; needs momentum.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ θ to the gradient.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights).

    Notes
    -----
    The form of reference 000, section 2.5. PyTorch's buffer is -v/η; the two agree while η is
    constant.

    Raises
    ------
    ValueError, TypeError
        For a hyperparameter out of its range, no parameters, or one given twice.

    Examples
    --------
    >>> from fastfcn import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> layer.weight = [[1.0]]
    >>> layer.weight_grad[...] = 2.0
    >>> SGD(layer.parameters(), lr=0.25).step()
    >>> layer.weight
    array([[0.5]], dtype=float32)
    """

    kernel = kernels.sgd
    slots = ("velocity",)
    options = ("lr", "momentum", "nesterov", *DECAY_OPTIONS)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_bias, decay_by_batch)
        self.momentum = as_share(momentum, "momentum")
        self.nesterov = as_flag(nesterov, "nesterov")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs a momentum above 0, got momentum=0")

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        return self.momentum, self.nesterov
