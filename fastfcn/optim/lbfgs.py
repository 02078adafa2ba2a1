"""L-BFGS."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastfcn.buffers import Array, Buffer
from fastfcn.nn.parameter import Parameter
from fastfcn.optim.descent import Descent
from fastfcn.optim.line_search import Point, strong_wolfe
from fastfcn.optim.minimiser import Ending, Minimiser, Objective
from fastfcn.optim.optimizer import DECAY_OPTIONS
from fastfcn.validation import as_int, as_not_negative

ROUNDINGS = 16.0
"""Of a loss: a search that could lower it by no more, and fails, has reached the minimum."""
MOST_PAIRS = 1000
"""Steps and changes of the gradient remembered at most."""


class LBFGS(Minimiser):
    """L-BFGS: quasi-Newton steps over all samples, as far as a line search finds it worth.

    For small data and networks. In :func:`fastfcn.fit` an epoch is an iteration over all rows,
    which may evaluate the loss several times; ``batch_size``, ``shuffle`` and ``seed`` count for
    nothing, and the fit ends before its last epoch where the minimum is reached. In a loop of one's
    own, :meth:`step` is given a function that evaluates the loss.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 1.0
        Step length that each line search tries first, in units of the quasi-Newton step.
    max_iter : int, default 20
        Iterations in a call of ``step``; ``fit`` counts its epochs.
    history_size : int, default 10
        Iterations that the estimate of the curvature remembers, at most 1000.
    tolerance_grad : float, default 1e-5
        Done when no element of the gradient is larger.
    tolerance_change : float, default 1e-9
        Done when an iteration lowers the loss by no more than this, relative to the larger loss or
        to 1; not the first, whose length is a guess.
    max_fun : int, default 15000
        Evaluations of the loss in a fit, or a call of ``step``; the iteration that exceeds them is
        the last.
    max_line_search : int, default 25
        Evaluations in a line search.
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
        Evaluations of loss and gradient in the last fit, or call of ``step``.
    converged : bool
        Whether that reached a minimum by the tolerances.
    pairs : int
        Steps remembered since the memory was last empty.

    Notes
    -----
    PyTorch's LBFGS with ``line_search_fn="strong_wolfe"``, iteration by iteration to rounding. The
    state are 2 ``history_size`` vectors of all parameters in their precision, and four more are
    used on the way; sums are of float64. It carries over from fit to fit and from step to step, so
    the curvature is not learnt anew. Where a line search finds nothing, it is forgotten.

    References
    ----------
    Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989. Nocedal
    and Wright, Numerical optimization, 2006, chapters 3 and 7.

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

    options = (
        "lr",
        "max_iter",
        "history_size",
        "tolerance_grad",
        "tolerance_change",
        "max_fun",
        "max_line_search",
        *DECAY_OPTIONS,
    )
    counters = ("steps", "pairs")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1.0,
        max_iter: int = 20,
        history_size: int = 10,
        tolerance_grad: float = 1e-5,
        tolerance_change: float = 1e-9,
        max_fun: int = 15000,
        max_line_search: int = 25,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        self.max_iter = as_int(max_iter, "max_iter", 1)
        self.history_size = as_int(history_size, "history_size", 1)
        if self.history_size > MOST_PAIRS:
            raise ValueError(
                f"history_size must be at most {MOST_PAIRS}, got {self.history_size}; some tens "
                "are plenty, and each keeps two copies of all parameters"
            )
        self.tolerance_grad = as_not_negative(tolerance_grad, "tolerance_grad")
        self.tolerance_change = as_not_negative(tolerance_change, "tolerance_change")
        self.max_fun = as_int(max_fun, "max_fun", 1)
        self.max_line_search = as_int(max_line_search, "max_line_search", 1)
        self.pairs = 0
        super().__init__(parameters, lr, weight_decay, decay_bias, decay_by_batch)

    @property
    def slots(self) -> tuple[str, ...]:
        places = range(self.history_size)
        return (*(f"step_{i}" for i in places), *(f"change_{i}" for i in places))

    def step(  # type: ignore[override]  # as PyTorch's
        self, closure: Callable[[], Any] | None = None, samples: float = 1.0
    ) -> float:
        """Iterate at most ``max_iter`` times.

        Parameters
        ----------
        closure : callable
            Sets the gradients to zero, computes the loss at the parameters as they are and its
            gradients, and returns the loss. Called several times.
        samples : float, default 1.0
            Samples of the batch, or the sum of their weights: read with ``decay_by_batch`` only.

        Returns
        -------
        float
            The loss before the first iteration, as the closure returned it; ``value`` is that
            after the last.

        Raises
        ------
        TypeError
            Where the closure is none, or returns no number; where samples are none.
        ValueError
            Where the loss or its gradient is not finite to begin with, or samples are below 0;
            nothing is changed then.

        Examples
        --------
        >>> import numpy as np
        >>> from fastfcn import losses, nn
        >>> x = np.linspace(-1, 1, 50).reshape(-1, 1)
        >>> net, loss = nn.Sequential(nn.Linear(1, 1, dtype="float64")), losses.MSELoss()
        >>> lbfgs = LBFGS(net.parameters())
        >>> def closure():
        ...     lbfgs.zero_grad()
        ...     output = net(x)
        ...     net.backward(loss.grad(output, 3 * x - 2))
        ...     return loss(output, 3 * x - 2)
        >>> first = lbfgs.step(closure)
        >>> net[0].weight.round(3), net[0].bias.round(3), lbfgs.value < 1e-6 < first
        (array([[3.]]), array([-2.]), True)
        """
        if not callable(closure):
            raise TypeError(
                "closure must be a function that sets the gradients to zero, computes loss and "
                f"gradients, and returns the loss, got {closure!r}; or train with fastfcn.fit"
            )
        objective = _Closure(closure, as_not_negative(samples, "samples"))
        descent = self._descent(objective)
        if not descent.is_finite():
            raise ValueError(
                f"loss and gradients must be finite to begin with, got a loss of {descent.value}; "
                "scale the data, or begin with smaller weights"
            )
        for _ in range(self.max_iter):
            if self._iterate(descent) is not None:
                break
        return objective.first

    def minimise(
        self, objective: Objective, begin: Callable[[], None], iterated: Callable[[], None]
    ) -> Ending:
        begin()
        descent = self._descent(objective)
        while True:
            ending = self._iterate(descent)
            iterated()
            if ending is not None:
                return ending
            begin()
            descent.follow()

    def compile(self) -> None:
        Descent.compile(self.dtype)

    def _descent(self, objective: Objective) -> Descent:
        self.evaluations, self.converged = 0, False
        return Descent(self, objective)

    def _iterate(self, descent: Descent) -> Ending | None:
        """Go on from the last evaluation; return why there is nothing more to do, or None."""
        ending = self._improve(descent)
        self.value = descent.value
        self.converged = ending is not None and ending.converged
        return ending

    def _improve(self, descent: Descent) -> Ending | None:
        before = descent.value
        if not descent.is_finite():
            return Ending(False, f"loss or gradient is not finite, the loss {before}")
        flat = Ending(True, f"no element of the gradient is above {self.tolerance_grad:g}")
        if descent.steepest <= self.tolerance_grad:
            return flat
        knew = self.pairs > 0
        while not self._go_down(descent):
            hidden = ROUNDINGS * float(np.finfo(self.dtype).eps) * abs(before)
            if 0.0 < -descent.slope * self._first_try(descent) <= hidden:
                return Ending(True, "rounding hides what could still be gained")
            if not self.pairs:
                return Ending(False, "no lower loss was found along the gradient")
            self.pairs = 0  # what it remembers misleads
        self.steps += 1
        self.last_lr = self.lr
        if descent.steepest <= self.tolerance_grad:
            return flat
        after = descent.value
        scale = max(abs(before), abs(after), 1.0)
        if knew and before - after <= self.tolerance_change * scale:
            return Ending(True, f"the loss was lowered by no more than {self.tolerance_change:g}")
        if self.evaluations >= self.max_fun:
            return Ending(False, f"max_fun={self.max_fun} evaluations are reached")
        return None

    def _go_down(self, descent: Descent) -> bool:
        """Search along the direction that the memory says; tell whether there is a lower loss."""
        descent.aim()
        if not descent.slope < 0.0:
            return False
        t = self._first_try(descent)
        start = Point(0.0, descent.value, descent.slope)
        with descent.trying():
            found = strong_wolfe(descent.at, start, t, descent.longest, self.max_line_search)
            if found.t != descent.t:
                descent.at(found.t)
        if found.t > 0.0:
            descent.remember()
        return found.t > 0.0

    def _first_try(self, descent: Descent) -> float:
        """Return how far along the direction to go first."""
        if self.pairs:
            return self.lr
        return self.lr * min(1.0, 1.0 / descent.total)  # a gradient does not say how far


class _Closure:
    """A closure as what a minimiser evaluates; gradients are where backward passes leave them."""

    def __init__(self, closure: Callable[[], Any], samples: float) -> None:
        self._closure, self.samples = closure, samples
        self.first = float("nan")
        self._called = False

    def evaluate(self) -> float:
        value = self._closure()
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"closure must return the loss, a number, got {value!r}") from None
        if not self._called:
            self.first, self._called = value, True
        return value

    def gradients(self, buffer: Buffer) -> Array:
        return buffer.grads
