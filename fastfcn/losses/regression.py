"""Losses of numbers."""

from typing import Any

import numpy as np

from fastfcn.losses.loss import Loss
from fastfcn.losses.targets import NO_LABELS, Targets, float_targets
from fastfcn.validation import as_flag, as_real
from fastfcn_kernels import losses as kernels


class _RegressionLoss(Loss):
    """What losses of the difference between output and target share: any finite target."""

    elementwise = True

    def targets(self, target: Any, n: int, outputs: int, dtype: np.dtype[Any]) -> Targets:
        return Targets(NO_LABELS, float_targets(np.asarray(target), n, outputs, dtype))


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
        self.half = as_flag(half, "half")

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
        values = float_targets(np.asarray(target), n, outputs, dtype)
        if (values < 0).any():
            raise ValueError(f"target must not be negative, got {values.min()}")
        return Targets(NO_LABELS, values)
