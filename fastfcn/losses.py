"""Losses: call one for its value, ``.grad`` for the output delta.

Value and gradient always belong to one reduction: ``grad`` is the gradient of what the call returns
(for ``reduction="none"``, of its sum). Values are float64.
"""

import inspect
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastfcn.buffers import Array
from fastfcn.frame import Frame
from fastfcn.validation import as_matrix, as_real, as_weights
from fastfcn_kernels import losses as kernels
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native

_NO_LABELS = np.zeros(0, np.int64)
_REDUCTIONS = ("mean", "batchmean", "sum", "none")


class Targets(NamedTuple):
    """Targets as the kernels take them."""

    labels: Array
    """int64 (n,), or empty for a loss with float targets."""
    values: Array
    """Real (n, K), or one unread row for a loss with labels."""
    weights: Array = np.zeros(0)
    """float64 (n,): how many times each sample counts; empty where each counts once."""

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.labels) or len(self.values)

    def take(self, index: Array | slice) -> "Targets":
        """Return the targets of some samples; views, of a slice."""
        labels, values, weights = self
        return Targets(
            labels[index] if labels.size else labels,
            values if labels.size else values[index],
            weights[index] if weights.size else weights,
        )


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


def _class_labels(
    target: Array, n: int, outputs: int, ignore_index: int, name: str = "target"
) -> Array:
    """Return class indices as int64, each within the outputs or ignored."""
    if target.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one class a row, got {target.shape}")
    if target.dtype.kind not in "iu":
        way = "convert it with y.astype(int)"
        if target.dtype.kind == "f" and np.isnan(target).any():
            way = f"row {int(np.isnan(target).argmax())} has none: leave such rows out"
        elif target.dtype.kind not in "fb":
            way = "scikit-learn's LabelEncoder numbers classes from 0"
        raise TypeError(f"{name} must be integer class indices, got dtype {target.dtype}; {way}")
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
            labels = _class_labels(given, n, outputs, self.ignore_index)
            return Targets(labels, np.zeros((1, 1), dtype))
        if given.shape == (n, 1):  # with at least two classes, this is not one column of them
            raise ValueError(
                f"target must have shape ({n},) for class indices, or ({n}, {outputs}) for "
                f"probabilities, got {given.shape}; pass y.ravel()"
            )
        values = _float_targets(given, n, outputs, dtype)
        sums = values.sum(axis=1, dtype=np.float64)
        if (values < 0).any() or (abs(sums - 1.0) > 1e-3).any():
            raise ValueError(
                "rows of target must be probabilities: not negative, summing to 1; class indices "
                f"have shape ({n},)"
            )
        return Targets(_NO_LABELS, values)


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
        labels = _class_labels(np.asarray(target), n, outputs, self.ignore_index)
        return Targets(labels, np.zeros((1, 1), dtype))


class _BinaryLoss(Loss):
    """What binary cross-entropies share: targets between 0 and 1, a threshold for outputs."""

    elementwise = True

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        values = _float_targets(np.asarray(target), n, outputs, dtype)
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"target must be between 0 and 1, got {values.min()} to {values.max()}"
            )
        return Targets(_NO_LABELS, values)


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


class _RegressionLoss(Loss):
    """What losses of the difference between output and target share: any finite target."""

    elementwise = True

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        return Targets(_NO_LABELS, _float_targets(np.asarray(target), n, outputs, dtype))


class MSELoss(_RegressionLoss):
    """Squared error (output - target)², element by element.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements; its gradient 2 (output - target) / elements goes with it.
    half : bool, default False
        Whether to take half of it, whose gradient is the plain difference. With "batchmean" that is
        what scikit-learn's MLPRegressor follows.

    Examples
    --------
    >>> loss = MSELoss()
    >>> loss([[1.0, 2.0]], [[0.0, 0.0]])
    2.5
    >>> loss.grad([[1.0, 2.0]], [[0.0, 0.0]])
    array([[1., 2.]])
    """

    kernel = kernels.MSE

    def __init__(self, reduction: str = "mean", half: bool = False) -> None:
        super().__init__(reduction)
        if not isinstance(half, bool | np.bool_):
            raise TypeError(f"half must be True or False, got {half!r}")
        self.half = bool(half)

    @property
    def parameter(self) -> float:
        return 0.5 if self.half else 1.0


class L1Loss(_RegressionLoss):
    """Absolute error |output - target|, element by element.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Notes
    -----
    The gradient is the sign of the difference, and 0 where there is none.

    Examples
    --------
    >>> loss = L1Loss()
    >>> loss([[1.0, -2.0]], [[0.0, 0.0]])
    1.5
    >>> loss.grad([[1.0, -2.0]], [[0.0, 0.0]])
    array([[ 0.5, -0.5]])
    """

    kernel = kernels.L1


class HuberLoss(_RegressionLoss):
    """Half the squared error of small differences, the absolute error of large ones.

    Parameters
    ----------
    delta : float, default 1.0
        Where one goes over into the other, above 0.
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Notes
    -----
    d²/2 for a difference d up to ``delta``, delta (|d| - delta/2) beyond. The gradient is d, cut to
    [-delta, delta].

    Examples
    --------
    >>> loss = HuberLoss()
    >>> loss([[0.5, 3.0]], [[0.0, 0.0]])
    1.3125
    >>> loss.grad([[0.5, 3.0]], [[0.0, 0.0]])
    array([[0.25, 0.5 ]])
    """

    kernel = kernels.HUBER

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = as_real(delta, "delta")
        if self.delta <= 0.0:
            raise ValueError(f"delta must be above 0, got {delta}")

    @property
    def parameter(self) -> float:
        return self.delta


class PoissonNLLLoss(Loss):
    """Negative log-likelihood of counts, for outputs that are logarithms of the rate.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Notes
    -----
    e^output - target·output, without the terms that depend on the target alone; the gradient is
    e^output - target. Outputs above 709 are rates beyond float64's range, and the loss is infinite.
    Predicted rates are ``np.exp(fastfcn.predict(net, x))``.

    Examples
    --------
    >>> loss = PoissonNLLLoss()
    >>> loss([[0.0, 0.0]], [[1.0, 3.0]])
    1.0
    >>> loss.grad([[0.0, 0.0]], [[1.0, 3.0]])
    array([[ 0., -1.]])
    """

    elementwise = True
    kernel = kernels.POISSON_NLL

    def check_network(self, last: str, outputs: int) -> None:
        if last in ("Sigmoid", "Softmax", "Softplus", "ReLU"):
            raise ValueError(
                f"PoissonNLLLoss takes the logarithm of the rate, but the network ends in {last}, "
                "which is never negative; leave that layer out"
            )

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        values = _float_targets(np.asarray(target), n, outputs, dtype)
        if (values < 0).any():
            raise ValueError(f"target must not be negative, got {values.min()}")
        return Targets(_NO_LABELS, values)
