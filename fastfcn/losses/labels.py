"""Losses over class indices."""

from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.losses.loss import Loss
from fastfcn.losses.targets import NO_LABELS, Targets, class_labels, float_targets
from fastfcn.validation import as_real
from fastfcn_kernels import losses as kernels


class _ClassLoss(Loss):
    """What losses over class indices share: class weights and an ignored label."""

    def __init__(self, weight: Any, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        if weight is not None:
            self.weight = np.array(weight, np.float64)
            if self.weight.ndim != 1 or not self.weight.size:
                raise ValueError(f"weight must have shape (K,), got {self.weight.shape}")
            if not (np.isfinite(self.weight) & (self.weight >= 0)).all():
                raise ValueError("weight must be finite and not negative")
        if not isinstance(ignore_index, int | np.integer) or isinstance(ignore_index, bool):
            raise TypeError(f"ignore_index must be an int, got {ignore_index!r}")
        self.ignore_index = int(ignore_index)

    def _check_outputs(self, outputs: int) -> None:
        if outputs < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 outputs, one a class, got {outputs}; for "
                "one output use BCEWithLogitsLoss"
            )
        if self.weight.size not in (0, outputs):
            raise ValueError(
                f"weight must have one entry a class, {outputs}, got {self.weight.size}"
            )

    def check_output(self, output: Array) -> None:
        self._check_outputs(output.shape[1])


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of softmax: -log softmax(output)[target].

    Parameters
    ----------
    weight : array_like (K,), optional
        Weight of each class.
    ignore_index : int, default -100
        Label whose rows count for nothing (class indices only).
    label_smoothing : float, default 0.0
        Share of the target, in [0, 1], that is spread evenly over the classes.
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over the weights of the rows' classes; over the rows for probabilities.

    Notes
    -----
    ``output`` are logits, ``target`` class indices (n,), one-hot rows or probabilities (n, K).
    δ = p - y, over the batch for a mean. Formulas as in reference 000, section 2.4, and PyTorch.

    Examples
    --------
    >>> loss = CrossEntropyLoss()
    >>> round(loss([[2.0, 0.0], [0.0, 0.0]], [0, 1]), 4)
    0.41
    >>> loss.grad([[0.0, 0.0]], [1])
    array([[ 0.5, -0.5]])
    """

    kernel = kernels.CROSS_ENTROPY

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = as_real(label_smoothing, "label_smoothing")
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")

    @property
    def parameter(self) -> float:
        return self.label_smoothing

    def check_network(self, last: str, outputs: int) -> None:
        self._check_outputs(outputs)
        if last in ("Softmax", "Sigmoid"):
            raise ValueError(
                f"CrossEntropyLoss takes logits and applies softmax itself, but the network ends "
                f"in {last}; leave that layer out"
            )

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        given = np.asarray(target)
        if given.ndim != 2:
            labels = class_labels(given, n, outputs, self.ignore_index)
            return Targets(labels, np.zeros((1, 1), dtype))
        if given.shape == (n, 1):  # with at least two classes, this is not one column of them
            raise ValueError(
                f"target must have shape ({n},) for class indices, or ({n}, {outputs}) for "
                f"probabilities, got {given.shape}; pass y.ravel()"
            )
        values = float_targets(given, n, outputs, dtype)
        sums = values.sum(axis=1, dtype=np.float64)
        if (values < 0).any() or (abs(sums - 1.0) > 1e-3).any():
            raise ValueError(
                "rows of target must be probabilities: not negative, summing to 1; class indices "
                f"have shape ({n},)"
            )
        return Targets(NO_LABELS, values)


class NLLLoss(_ClassLoss):
    """Negative log-likelihood: -output[target], for outputs that are log-probabilities.

    Parameters
    ----------
    weight : array_like (K,), optional
        Weight of each class.
    ignore_index : int, default -100
        Label whose rows count for nothing.
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over the weights of the rows' classes.

    Examples
    --------
    >>> NLLLoss()([[-0.5, -1.0]], [1])
    1.0
    """

    kernel = kernels.NLL

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, ignore_index, reduction)

    def check_network(self, last: str, outputs: int) -> None:
        self._check_outputs(outputs)
        if last in ("Softmax", "Sigmoid"):
            raise ValueError(
                f"NLLLoss takes log-probabilities, but the network ends in {last}; leave that "
                "layer out and use CrossEntropyLoss"
            )

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        labels = class_labels(np.asarray(target), n, outputs, self.ignore_index)
        return Targets(labels, np.zeros((1, 1), dtype))
