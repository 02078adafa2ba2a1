"""Losses: call one for its value, ``.grad`` for the output delta.

Value and gradient always belong to one reduction: ``grad`` is the gradient of what the call returns
(for ``reduction="none"``, of its sum). Values are float64.
"""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastfcn.buffers import Array
from fastfcn.frame import Frame
from fastfcn.validation import as_matrix, as_real
from fastfcn_kernels import losses as kernels
from fastfcn_kernels import table as t

_REDUCTIONS = ("mean", "sum", "none")


class Targets(NamedTuple):
    """Targets as the kernels take them."""

    code: int
    labels: Array
    """int64 (n,), or empty for a loss with float targets."""
    values: Array
    """Real (n, K), or one unread row for a loss with labels."""

    def rows(self, index: Array) -> "Targets":
        """Return the targets of some rows."""
        if self.labels.size:
            return self._replace(labels=self.labels[index])
        return self._replace(values=self.values[index])


class Loss:
    """Base of the losses.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        How the losses of a batch become one value.
    """

    label_smoothing = 0.0
    ignore_index = -100
    elementwise: ClassVar[bool] = False
    """Whether each output has a loss of its own, so that "none" keeps the output's shape."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {_REDUCTIONS}, got {reduction!r}")
        self.reduction = reduction
        self.weight: Array = np.zeros(0)

    def __call__(self, output: Any, target: Any) -> Any:
        """Return the loss of a batch: a float, or an array for ``reduction="none"``.

        Parameters
        ----------
        output : array_like (n, K)
            The network's output.
        target : array_like
            The targets, one row each.
        """
        return self._evaluate(output, target)[0]

    def grad(self, output: Any, target: Any) -> Array:
        """Return the gradient with respect to ``output``, of its shape and precision."""
        return self._evaluate(output, target)[1]

    def _evaluate(self, output: Any, target: Any) -> tuple[Any, Array]:
        given = np.asarray(output)
        out = as_matrix(given, "output")
        dtype = np.dtype(np.float64 if out.dtype == np.float64 else np.float32)
        out = np.ascontiguousarray(out, dtype)
        self.check_output(out)
        n, outputs = out.shape
        targets = self.targets(target, n, outputs, dtype)
        rows, values = out, targets.values
        if self.elementwise:  # each element a row of its own
            rows, values = out.reshape(-1, 1), targets.values.reshape(-1, 1)
        losses = np.empty(len(rows))
        delta = np.empty_like(rows)
        frame = Frame(dtype)
        self.fill(frame, targets._replace(values=values))
        frame.point(t.OUTPUT, rows)
        frame.point(t.OUTPUT_DELTA, delta)
        frame[t.N_OUTPUT] = frame[t.LD_OUTPUT] = rows.shape[1]
        frame.point(t.VALUES, losses)
        frame.run(kernels.loss_and_delta, 0, 0, len(rows), 1)
        delta = delta.reshape(out.shape)
        if self.reduction == "none":
            return losses.reshape(out.shape) if self.elementwise else losses, delta
        total = float(losses.sum())
        if self.reduction == "sum":
            return total, delta
        divisor = self.divisor(targets)
        return total / divisor if divisor else float("nan"), delta

    def fill(self, frame: Frame, targets: Targets) -> None:
        """Describe the loss and its targets to the kernels."""
        frame[t.LOSS_CODE], frame[t.IGNORE_INDEX] = targets.code, self.ignore_index
        frame[t.MEAN] = self.reduction == "mean"
        frame.point(t.SMOOTHING, np.array([self.label_smoothing]))
        if self.weight.size:
            frame.point(t.CLASS_WEIGHT, self.weight)
        frame.point(t.LABELS, targets.labels)
        frame.point(t.TARGETS, targets.values)
        frame.link(t.LOSS, kernels.loss_rows)

    def divisor(self, targets: Targets) -> float:
        """Return what the sum of all targets' losses is divided by for a mean."""
        if not targets.labels.size:
            rows, outputs = targets.values.shape
            return float(rows * outputs) if self.elementwise else float(rows)
        counted = targets.labels[targets.labels != self.ignore_index]
        return float(self.weight[counted].sum()) if self.weight.size else float(len(counted))

    def check_output(self, output: Array) -> None:
        """Raise where an output cannot be this loss's."""

    def check_network(self, last: str, outputs: int) -> None:
        """Raise where a network that ends in layer ``last`` does not fit this loss."""

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Check targets and return them as the kernels take them."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


def _class_labels(
    target: Array, n: int, outputs: int, ignore_index: int, name: str = "target"
) -> Array:
    """Return class indices as int64, each within the outputs or ignored."""
    if target.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one class a row, got {target.shape}")
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integer class indices, got dtype {target.dtype}")
    outside = ((target < 0) | (target >= outputs)) & (target != ignore_index)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"{name} must be between 0 and {outputs - 1}, the network's outputs, got {target[i]} "
            f"at {i}; scikit-learn's LabelEncoder numbers classes from 0"
        )
    return np.ascontiguousarray(target, np.int64)


def _float_targets(target: Array, n: int, outputs: int, dtype: np.dtype[Any]) -> Array:
    """Return float targets (n, outputs), finite."""
    if target.dtype.kind not in "fiub":
        raise TypeError(f"target must be real numbers, got dtype {target.dtype}")
    if target.ndim == 1 and outputs == 1:
        target = target[:, None]
    if target.shape != (n, outputs):
        raise ValueError(f"target must have shape ({n}, {outputs}), got {target.shape}")
    values = np.ascontiguousarray(target, dtype)
    if not np.isfinite(values).all():
        raise ValueError("target must be finite, got NaN or infinity")
    return values


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
    reduction : {"mean", "sum", "none"}, default "mean"
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
            labels = _class_labels(given, n, outputs, self.ignore_index)
            return Targets(kernels.CROSS_ENTROPY, labels, np.zeros((1, 1), dtype))
        values = _float_targets(given, n, outputs, dtype)
        sums = values.sum(axis=1, dtype=np.float64)
        if (values < 0).any() or (abs(sums - 1.0) > 1e-3).any():
            raise ValueError(
                "rows of target must be probabilities: not negative, summing to 1; class indices "
                f"have shape ({n},)"
            )
        return Targets(kernels.CROSS_ENTROPY_PROBABILITIES, np.zeros(0, np.int64), values)


class NLLLoss(_ClassLoss):
    """Negative log-likelihood: -output[target], for outputs that are log-probabilities.

    Parameters
    ----------
    weight : array_like (K,), optional
        Weight of each class.
    ignore_index : int, default -100
        Label whose rows count for nothing.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean is over the weights of the rows' classes.

    Examples
    --------
    >>> NLLLoss()([[-0.5, -1.0]], [1])
    1.0
    """

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
        labels = _class_labels(np.asarray(target), n, outputs, self.ignore_index)
        return Targets(kernels.NLL, labels, np.zeros((1, 1), dtype))


class _BinaryLoss(Loss):
    """What binary cross-entropies share: targets between 0 and 1."""

    elementwise = True
    code: ClassVar[int]

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        values = _float_targets(np.asarray(target), n, outputs, dtype)
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"target must be between 0 and 1, got {values.min()} to {values.max()}"
            )
        return Targets(self.code, np.zeros(0, np.int64), values)


class BCELoss(_BinaryLoss):
    """Binary cross-entropy of probabilities: -(y log p + (1 - y) log(1 - p)), element by element.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
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

    code = kernels.BCE

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
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Examples
    --------
    >>> BCEWithLogitsLoss()([[1e4], [-1e4]], [1, 1])
    5000.0
    """

    code = kernels.BCE_WITH_LOGITS

    def check_network(self, last: str, outputs: int) -> None:
        if last in ("Sigmoid", "Softmax"):
            raise ValueError(
                f"BCEWithLogitsLoss takes logits and applies the sigmoid itself, but the network "
                f"ends in {last}; leave that layer out"
            )


class MSELoss(Loss):
    """Squared error (output - target)², element by element.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean is over all elements; its gradient 2 (output - target) / elements goes with it.

    Examples
    --------
    >>> loss = MSELoss()
    >>> loss([[1.0, 2.0]], [[0.0, 0.0]])
    2.5
    >>> loss.grad([[1.0, 2.0]], [[0.0, 0.0]])
    array([[1., 2.]])
    """

    elementwise = True

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        values = _float_targets(np.asarray(target), n, outputs, dtype)
        return Targets(kernels.MSE, np.zeros(0, np.int64), values)
