"""What a network's outputs stand for, by the loss that it is trained with."""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, softmax

from fastfcn.buffers import Array
from fastfcn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, PoissonNLLLoss

_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "softmax": lambda z: np.asarray(softmax(z, axis=1)),
    "logistic": lambda z: np.asarray(expit(z)),
    "exp": lambda z: np.asarray(np.exp(z)),
    "identity": lambda z: z,
}


def out_activation(loss: Loss) -> str:
    """Name what turns outputs into probabilities or numbers: scikit-learn's names."""
    if isinstance(loss, CrossEntropyLoss):
        return "softmax"
    if isinstance(loss, BCEWithLogitsLoss):
        return "logistic"
    return "exp" if isinstance(loss, PoissonNLLLoss) else "identity"


def activated(name: str, output: Array) -> Array:
    """Return what outputs (n, K) stand for, in their precision."""
    return _FUNCTIONS[name](output)


def as_probabilities(shares: Array) -> Array:
    """Return estimates (n, K) of rows' shares in K classes as probabilities, which add up to 1.

    Parameters
    ----------
    shares : ndarray (n, K)
        In [0, 1]. A row without any is given to all classes alike.
    """
    sums = shares.sum(axis=1, keepdims=True)
    p = np.full_like(shares, 1.0 / shares.shape[1])
    np.divide(shares, sums, out=p, where=sums > 0.0)
    return p
