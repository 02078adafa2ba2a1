"""RMSprop."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.optimizer import DECAY_OPTIONS, Optimizer
from fastfcn.validation import as_flag, as_positive, as_share
from fastfcn_kernels import adaptive as kernels


class RMSprop(Optimizer):
    """RMSprop: s ← α s + (1 - α) g²; u ← γ u + g / (√s + ε); θ ← θ - η u.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.01
        Learning rate η > 0.
    alpha : float, default 0.99
        α in [0, 1): how much of the average of g² each step keeps.
    eps : float, default 1e-8
        ε > 0.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ θ to the gradient.
    momentum : float, default 0.0
        γ in [0, 1).
    centered : bool, default False
        Whether an estimate of the variance takes the place of s in the root: s - ḡ², with
        ḡ ← α ḡ + (1 - α) g, and 0 where rounding leaves less.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights).

    Notes
    -----
    PyTorch's RMSprop, step by step to rounding. Where the variance rounds to less than 0, PyTorch's
    parameters become NaN. It also takes eps=0, which divides 0 by 0 where a gradient is 0.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5: rmsprop, 2012. Graves, Generating sequences with recurrent
    neural networks, 2013.

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
    >>> RMSprop(layer.parameters(), lr=0.25, alpha=0.75).step()
    >>> layer.weight.round(4)
    array([[0.5]], dtype=float32)
    """

    kernel = kernels.rmsprop
    options = ("lr", "alpha", "eps", "momentum", "centered", *DECAY_OPTIONS)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        self.alpha = as_share(alpha, "alpha")
        self.eps = as_positive(eps, "eps")
        self.momentum = as_share(momentum, "momentum")
        self.centered = as_flag(centered, "centered")
        super().__init__(parameters, lr, weight_decay, decay_bias, decay_by_batch)

    @property
    def slots(self) -> tuple[str, ...]:
        momentum = ["momentum_buffer"] if self.momentum else []
        return ("square_avg", *momentum, *(["grad_avg"] if self.centered else []))

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        return self.alpha, 1.0 - self.alpha, self._normal(self.eps), self.momentum, self.centered
