"""L-BFGS, through SciPy."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.optimizer import DECAY_OPTIONS, Optimizer
from fastfcn.validation import as_int, as_not_negative
from fastfcn_kernels import optimisers as kernels


class Minimum(NamedTuple):
    """Where a minimisation ended."""

    theta: Array
    converged: bool
    reason: str
    """SciPy's words."""


class LBFGS(Optimizer):
    """L-BFGS: quasi-Newton steps, each over all samples, as far as a line search finds it worth.

    For small data and networks. It is used by :func:`fastfcn.fit` alone: an epoch there is an
    iteration over all rows, which may evaluate the loss several times, and ``batch_size``,
    ``shuffle`` and ``seed`` count for nothing. The fit ends before its last epoch where the
    minimum is reached.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    history_size : int, default 10
        Steps that the estimate of the curvature remembers.
    tolerance_grad : float, default 1e-5
        Done when no element of the gradient is larger.
    tolerance_change : float, default 2.2e-9
        Done when an iteration lowers the loss by no more than this, relative to the larger loss or
        to 1.
    max_fun : int, default 15000
        Evaluations of the loss in a fit; the iteration that exceeds them is the last.
    max_line_search : int, default 20
        Evaluations in an iteration.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ/2 Σ θ² to the loss.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of samples (the sum of their weights).

    Attributes
    ----------
    value : float
        Loss with the penalty after the last iteration; NaN before the first.
    evaluations : int
        Evaluations of loss and gradient in the last fit.
    converged : bool
        Whether the last fit reached a minimum by the tolerances.

    Notes
    -----
    SciPy's L-BFGS-B without bounds. It works in float64 on one vector of all parameters, with about
    2 ``history_size`` + 5 more of that length; loss and gradient come from the network in its own
    precision, some rows at a time, summed in float64. What it remembers of the curvature ends with
    the fit: a fit that goes on with the weights of another begins to learn it anew.

    References
    ----------
    Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989.

    Raises
    ------
    ValueError, TypeError
        For a hyperparameter out of its range, no parameters, or one given twice.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfcn as ff
    >>> from fastfcn import losses, nn
    >>> x = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> net = nn.Sequential(nn.Linear(1, 1, dtype="float64"))
    >>> lbfgs = LBFGS(net.parameters())
    >>> history = ff.fit(net, x, 3 * x - 2, loss=losses.MSELoss(), optimizer=lbfgs, epochs=100)
    >>> net[0].weight.round(3), net[0].bias.round(3), lbfgs.converged
    (array([[3.]]), array([-2.]), True)
    """

    slots = ()
    options = (
        "history_size",
        "tolerance_grad",
        "tolerance_change",
        "max_fun",
        "max_line_search",
        *DECAY_OPTIONS,
    )
    kernel = kernels.sgd  # never called

    def __init__(
        self,
        parameters: Iterable[Parameter],
        history_size: int = 10,
        tolerance_grad: float = 1e-5,
        tolerance_change: float = 2.2e-9,
        max_fun: int = 15000,
        max_line_search: int = 20,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        super().__init__(parameters, 1.0, weight_decay, decay_bias, decay_by_batch)
        self.history_size = as_int(history_size, "history_size", 1)
        self.tolerance_grad = as_not_negative(tolerance_grad, "tolerance_grad")
        self.tolerance_change = as_not_negative(tolerance_change, "tolerance_change")
        self.max_fun = as_int(max_fun, "max_fun", 1)
        self.max_line_search = as_int(max_line_search, "max_line_search", 1)
        self.value, self.evaluations, self.converged = float("nan"), 0, False

    @property
    def lr(self) -> float:
        """Always 1: the line search decides how far a step goes."""
        return 1.0

    @lr.setter
    def lr(self, value: float) -> None:
        if value != 1.0:
            raise ValueError(f"LBFGS has no lr, as a line search finds each step's, got {value}")

    def step(self, samples: float = 1.0) -> None:
        """Raise TypeError: L-BFGS needs the loss at several points for a step."""
        raise TypeError("LBFGS must be used by fastfcn.fit, and has no step of its own")

    def penalty(self, samples: float) -> tuple[float, list[Array]]:
        """Return what the weight decay adds to the loss, and to each parameter's gradient.

        Parameters
        ----------
        samples : float
            All samples, or the sum of their weights.
        """
        factor = self.weight_decay
        if self.decay_by_batch:
            factor = factor / samples if samples > 0.0 else 0.0
        value, gradients = 0.0, []
        for parameter in self.parameters:
            decays = self.decay_bias or len(parameter.shape) > 1
            gradient = (factor if decays else 0.0) * parameter.copy().astype(np.float64)
            value += 0.5 * float((gradient * parameter.copy()).sum())
            gradients.append(gradient)
        return value, gradients

    def minimise(
        self,
        objective: Callable[[Array], tuple[float, Array]],
        theta: Array,
        iterated: Callable[[Array], None],
    ) -> Minimum:
        """Minimise a function of a vector.

        Parameters
        ----------
        objective : callable
            Returns value and gradient, new arrays both.
        theta : ndarray (n,) of float64
            Where to begin.
        iterated : callable
            Called with the vector after each iteration.

        Returns
        -------
        Minimum
        """
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        options = {
            "maxcor": self.history_size,
            "gtol": self.tolerance_grad,
            "ftol": self.tolerance_change,
            "maxfun": self.max_fun,
            "maxls": self.max_line_search,
            "maxiter": np.iinfo(np.int32).max,  # the caller counts, and ends by an exception
        }
        # SciPy's vectors are short, and BLAS's threads would wait for work on the cores of ours.
        with threadpool_limits(1, "blas"):
            result: Any = minimize(
                objective, theta, method="L-BFGS-B", jac=True, callback=iterated, options=options
            )
        return Minimum(result.x, bool(result.success), str(result.message).strip(" :"))
