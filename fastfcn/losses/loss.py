"""What losses have in common."""

import inspect
from typing import Any, ClassVar

import numpy as np

from fastfcn.buffers import Array
from fastfcn.frame import Frame
from fastfcn.losses.targets import Targets
from fastfcn.validation import as_matrix, as_weights
from fastfcn_kernels import losses as kernels
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native

_REDUCTIONS = ("mean", "batchmean", "sum", "none")


class Loss:
    """Base of the losses.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        How the losses of a batch become one value.

    Notes
    -----
    With weights w of the samples and losses l of a sample's outputs, "sum" is Σ w Σ l, "batchmean"
    (Σ w Σ l) / Σ w, and "mean" that divided by the number of outputs too, where each output has a
    loss of its own. Losses over class indices count a sample's class weight into l, and "mean" into
    the divisor as well. "none" gives the terms, w l.
    """

    label_smoothing = 0.0
    ignore_index = -100
    kernel: ClassVar[Native]
    """What computes it."""
    elementwise: ClassVar[bool] = False
    """Whether each output has a loss of its own, so that "none" keeps the output's shape."""
    threshold: ClassVar[float | None] = None
    """What parts the outputs of a binary loss; None for others."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {_REDUCTIONS}, got {reduction!r}")
        self.reduction = reduction
        self.weight: Array = np.zeros(0)

    @property
    def parameter(self) -> float:
        """The number that the kernel is given."""
        return 0.0

    def __call__(self, output: Any, target: Any, sample_weight: Any = None) -> Any:
        """Return the loss of a batch: a float, or an array for ``reduction="none"``.

        Parameters
        ----------
        output : array_like (n, K)
            The network's output.
        target : array_like
            The targets, one row each.
        sample_weight : array_like (n,), optional
            How many times each row counts; once by default.
        """
        return self._evaluate(output, target, sample_weight)[0]

    def grad(self, output: Any, target: Any, sample_weight: Any = None) -> Array:
        """Return the gradient with respect to ``output``, of its shape and precision."""
        return self._evaluate(output, target, sample_weight)[1]

    def _evaluate(self, output: Any, target: Any, sample_weight: Any) -> tuple[Any, Array]:
        given = np.asarray(output)
        out = as_matrix(given, "output")
        dtype = np.dtype(np.float64 if out.dtype == np.float64 else np.float32)
        out = np.ascontiguousarray(out, dtype)
        self.check_output(out)
        n, outputs = out.shape
        targets = self.targets(target, n, outputs, dtype)
        if sample_weight is not None:
            targets = targets._replace(weights=as_weights(sample_weight, n))
        rows = out
        if self.elementwise and self.reduction == "none":  # each element a row of its own
            rows = out.reshape(-1, 1)
            weights = np.repeat(targets.weights, outputs)
            targets = targets._replace(values=targets.values.reshape(-1, 1), weights=weights)
        losses = np.empty(len(rows))
        delta = np.empty_like(rows)
        frame = Frame(dtype)
        self.fill(frame, targets)
        frame.point(t.OUTPUT, rows)
        frame.point(t.OUTPUT_DELTA, delta)
        frame[t.N_OUTPUT] = frame[t.LD_OUTPUT] = rows.shape[1]
        frame.point(t.VALUES, losses)
        frame.run(kernels.loss_and_delta, 0, 0, len(rows), 1)
        delta = delta.reshape(out.shape)
        if self.reduction == "none":
            return losses.reshape(out.shape) if self.elementwise else losses, delta
        divisor = self.divisor(targets)
        return float(losses.sum()) / divisor if divisor else float("nan"), delta

    def fill(self, frame: Frame, targets: Targets) -> None:
        """Describe the loss and its targets to the kernels."""
        frame.link(t.LOSS, self.kernel)
        frame.point(t.LOSS_PARAMETER, np.array([self.parameter]))
        frame[t.DIVISOR], frame[t.IGNORE_INDEX] = self._divided_by(targets), self.ignore_index
        frame.point(t.TARGETS, targets.values)
        for field, array in (
            (t.LABELS, targets.labels),
            (t.SAMPLE_WEIGHT, targets.weights),
            (t.CLASS_WEIGHT, self.weight),
        ):
            frame[field] = 0
            if array.size:
                frame.point(field, array)

    def _divided_by(self, targets: Targets) -> int:
        """Return the kernels' code of what the sum of a batch's losses is divided by."""
        if self.reduction in ("sum", "none"):
            return kernels.ONE
        if self.reduction == "mean" and self.elementwise:
            return kernels.ELEMENTS
        if self.reduction == "mean" and targets.labels.size and self.weight.size:
            return kernels.CLASS_WEIGHTS
        return kernels.ROWS

    def divisor(self, targets: Targets) -> float:
        """Return what the sum of all targets' losses is divided by."""
        kind = self._divided_by(targets)
        if kind == kernels.ONE:
            return 1.0
        counts = self.counts(targets)
        if kind == kernels.CLASS_WEIGHTS:
            counted = targets.labels != self.ignore_index
            counts = counts[counted] * self.weight[targets.labels[counted]]
        return float(counts.sum()) * (targets.values.shape[1] if kind == kernels.ELEMENTS else 1)

    def measures_accuracy(self, targets: Targets) -> bool:
        """Tell whether an output can be right or wrong: there are labels, or a threshold."""
        return bool(targets.labels.size) or self.threshold is not None

    def right(self, outputs: Array, targets: Targets) -> Array:
        """Return for each sample whether its output is right.

        That is, its label's output is the largest; for a binary loss all outputs are on their
        targets' side of the threshold.
        """
        if self.threshold is None:
            right: Array = outputs.argmax(axis=1) == targets.labels
        else:
            right = ((outputs > self.threshold) == (targets.values > 0.5)).all(axis=1)
        return right

    def counts(self, targets: Targets) -> Array:
        """Return how many times each sample counts: its weight, 0 where its label is ignored."""
        # Booleans where there are no weights: an epoch's samples take little memory.
        weights = targets.weights if targets.weights.size else np.ones(targets.rows, np.bool_)
        return weights * (targets.labels != self.ignore_index) if targets.labels.size else weights

    def check_output(self, output: Array) -> None:
        """Raise where an output cannot be this loss's."""

    def check_network(self, last: str, outputs: int) -> None:
        """Raise where a network that ends in layer ``last`` does not fit this loss."""

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Check targets and return them as the kernels take them."""
        raise NotImplementedError

    def __repr__(self) -> str:
        said = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            if isinstance(value, np.ndarray):  # of class weights, empty without
                value = value.tolist() or None
            if value != parameter.default:
                said.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(said)})"
