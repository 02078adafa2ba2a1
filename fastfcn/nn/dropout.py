"""Dropout."""

from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.layer import Layer
from fastfcn.validation import as_int, as_matrix, as_real
from fastfcn.workspace import Stage
from fastfcn_kernels.table import DROPOUT


class Dropout(Layer):
    """In training, each activation becomes 0 with probability p, the others a / (1 - p).

    In evaluation mode the layer gives what it gets.

    Parameters
    ----------
    p : float, default 0.5
        Probability, in [0, 1).
    seed : int, optional
        Of the masks of forward passes that are called by hand; fresh by default. A network's first
        Dropout counts. :func:`fastfcn.fit` has a seed of its own.

    Notes
    -----
    A mask is a function of (seed, row of the epoch, layer, feature): neither the number of threads
    nor the size of the batches changes it.

    References
    ----------
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.

    Examples
    --------
    >>> layer = Dropout(0.5, seed=0)
    >>> sorted(set(layer(np.ones((4, 100))).ravel().tolist()))
    [0.0, 2.0]
    >>> layer.eval()([[1.0, 2.0]])
    array([[1., 2.]])
    """

    has_numbers = True

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        self.p = p
        self.seed = None if seed is None else as_int(seed, "seed", 0)
        self._seeds = np.random.default_rng(self.seed)

    @property
    def p(self) -> float:
        """Probability of dropping an activation."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        checked = as_real(value, "p")
        if not 0.0 <= checked < 1.0:
            raise ValueError(f"p must be in [0, 1), got {value}")
        self._p = checked

    @property
    def numbers(self) -> tuple[float, float]:
        return self.p, 0.0

    def next_seed(self) -> int:
        """Return the seed of one forward pass's masks."""
        return int(self._seeds.integers(2**62)) if self.training else 0

    def stage(self, features: int) -> Stage:
        return Stage(features, features, DROPOUT, numbers=self.numbers)

    def forward(self, x: Any) -> Array:
        """Return x with some elements dropped, for a batch (n, features)."""
        return self._forward(as_matrix(x, "x"), self.next_seed())

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Return δ ⊙ m for the last mask m."""
        return self._backward(delta, input_gradient)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
