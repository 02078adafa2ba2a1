"""Binary cross-entropies: each output a yes or no of its own."""

from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.losses.loss import Loss
from fastfcn.losses.targets import NO_LABELS, Targets, float_targets
from fastfcn_kernels import losses as kernels


class _BinaryLoss(Loss):
    """What binary cross-entropies share: targets between 0 and 1, a threshold for outputs."""

    elementwise = True

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        values = float_targets(np.asarray(target), n, outputs, dtype)
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"target must be between 0 and 1, got {values.min()} to {values.max()}"
            )
        return Targets(NO_LABELS, values)


class BCELoss(_BinaryLoss):
    """Binary cross-entropy of probabilities: -(y log p + (1 - y) log(1 - p)), element by element.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Notes
    -----
    As PyTorch's: logarithms are no less than -100, and the gradient (p - y) / (p (1 - p)) divides
    by no less than 1e-12. On logits :class:`BCEWithLogitsLoss` needs neither.

    Examples
    --------
    >>> round(BCELoss()([[0.9], [0.2]], [1, 0]), 4)
    0.1643
    """

    kernel = kernels.BCE
    threshold = 0.5

    def check_output(self, output: Array) -> None:
        if ((output < 0) | (output > 1)).any():
            raise ValueError(
                f"output must be probabilities in [0, 1], got {np.nanmin(output)} to "
                f"{np.nanmax(output)}; for logits use BCEWithLogitsLoss"
            )

    def check_network(self, last: str, outputs: int) -> None:
        if last not in ("Sigmoid", "Softmax"):
            raise ValueError(
                f"BCELoss takes probabilities, but the network ends in {last}; add Sigmoid, or "
                "better use BCEWithLogitsLoss"
            )


class BCEWithLogitsLoss(_BinaryLoss):
    """Binary cross-entropy of sigmoid(output), stable for logits of any size.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Examples
    --------
    >>> BCEWithLogitsLoss()([[1e4], [-1e4]], [1, 1])
    5000.0
    """

    kernel = kernels.BCE_WITH_LOGITS
    threshold = 0.0

    def check_network(self, last: str, outputs: int) -> None:
        if last in ("Sigmoid", "Softmax"):
            raise ValueError(
                f"BCEWithLogitsLoss takes logits and applies the sigmoid itself, but the network "
                f"ends in {last}; leave that layer out"
            )
