"""SciPy's L-BFGS-B as an optimiser."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.minimiser import Ending, Minimiser, Objective
from fastfcn.optim.optimizer import DECAY_OPTIONS


class ScipyLBFGS(Minimiser):
    """SciPy's L-BFGS-B without bounds, which scikit-learn's ``solver="lbfgs"`` is.

    It works in float64 on one vector of all parameters; loss and gradient come from the network in
    its own precision. What it remembers of the curvature ends with the fit.

    Parameters
    ----------
    parameters : list of Parameter
        What to train.
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
    weight_decay, decay_bias, decay_by_batch
        As :class:`fastfcn.optim.LBFGS`.
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

    def __init__(
        self,
        parameters: list[Parameter],
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
        self.history_size, self.max_fun = history_size, max_fun
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.max_line_search = max_line_search

    @property
    def lr(self) -> float:
        """Always 1: the line search decides how far a step goes."""
        return 1.0

    @lr.setter
    def lr(self, value: float) -> None:
        if value != 1.0:
            raise ValueError(
                f"solver='lbfgs' has no lr, a line search finds each step, got {value}"
            )

    def minimise(
        self, objective: Objective, begin: Callable[[], None], iterated: Callable[[], None]
    ) -> Ending:
        self.evaluations, self.converged = 0, False
        function = OverVector(self, objective)
        reached = function.theta()
        begun = False

        def evaluate(theta: Array) -> tuple[float, Array]:
            nonlocal begun
            if not begun:  # not sooner: an iteration may have been the last
                begin()
                begun = True
            self.evaluations += 1
            return function(theta)

        def settle(theta: Array) -> None:
            nonlocal reached, begun
            reached, begun = theta.copy(), False
            self.value = function.settle(theta)
            self.steps += 1
            iterated()

        options = {
            "maxcor": self.history_size,
            "gtol": self.tolerance_grad,
            "ftol": self.tolerance_change,
            "maxfun": self.max_fun,
            "maxls": self.max_line_search,
            "maxiter": np.iinfo(np.int32).max,  # the caller counts, and ends by an exception
        }
        try:
            # SciPy's vectors are short; BLAS's threads would wait for work on the cores of ours.
            with threadpool_limits(1, "blas"):
                result: Any = minimize(
                    evaluate, reached, method="L-BFGS-B", jac=True, callback=settle, options=options
                )
        except BaseException:
            function.place(reached)  # not where a line search happens to be
            raise
        self.converged = bool(result.success)
        if begun:  # a line search found nothing better, or there was no need for one
            settle(result.x)
        return Ending(self.converged, str(result.message).strip(" :"))


class OverVector:
    """A loss with its penalty as a function of one vector of all parameters.

    Parameters
    ----------
    optimizer : Minimiser
        Whose parameters and penalty they are.
    objective : Objective
        The loss.
    """

    def __init__(self, optimizer: Minimiser, objective: Objective) -> None:
        self._optimizer, self._objective = optimizer, objective
        self._at: Array | None = None
        self._value = 0.0

    def theta(self) -> Array:
        """Return the parameters as one vector."""
        parameters = self._optimizer.parameters
        return np.concatenate([p.copy().ravel() for p in parameters]).astype(np.float64)

    def place(self, theta: Array) -> None:
        """Make a vector the parameters."""
        first = 0
        for parameter in self._optimizer.parameters:
            values = theta[first : first + parameter.size]
            with np.errstate(over="ignore"):  # a line search may go far
                parameter.data = values.reshape(parameter.shape)
            first += parameter.size

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient."""
        self.place(theta)
        self._at = theta.copy()
        value, parts = self._objective.evaluate(), []
        decays = self._optimizer.decays(self._objective.samples)
        for parameter in self._optimizer.parameters:
            gradient = parameter.view(self._objective.gradients(parameter.buffer), parameter.offset)
            values = parameter.copy()
            penalty = decays[len(parameter.shape) == 1] * values.astype(np.float64)
            value += 0.5 * float((penalty * values).sum())
            parts.append((gradient + penalty).ravel())
        self._value = value
        return value, np.concatenate(parts)

    def settle(self, theta: Array) -> float:
        """Leave the parameters, and the last evaluation, at a vector; return the value there."""
        if self._at is None or not np.array_equal(theta, self._at, equal_nan=True):
            self(theta)
        self.place(theta)  # a callback may have changed the network
        return self._value
