"""Training on all data at once: loss and gradient as functions of the parameters."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.data import Data
from fastfcn.epochs import After, Recipe, Trainer
from fastfcn.history import Tally
from fastfcn.optim import LBFGS
from fastfcn.plan import Plan
from fastfcn.threads import threads
from fastfcn_kernels import passes, training
from fastfcn_kernels import table as t
from fastfcn_kernels.losses import ONE

ROWS = 1024
"""Rows that go through the network at once: memory is for these and not for all."""

GAVE_UP = "minimiser stopped"
"""How the reason of a fit that stopped short of a minimum begins."""


class Objective(Trainer):
    """Loss and gradient of a network over all data, as functions of what an optimiser trains.

    Gradients of some rows at a time come from the kernels of a training step, without its update,
    and are added up in float64, in the rows' order.

    Parameters
    ----------
    recipe : Recipe
        The network and loss; what is trained, and its penalty, by its LBFGS.
    data : Data
        All of them.
    """

    optimizer: LBFGS

    def __init__(self, recipe: Recipe, data: Data) -> None:
        # Cut to any norm, gradients are left for the step that follows, which is left out.
        recipe = recipe._replace(clip_norm=1.0)
        super().__init__(recipe, data, min(ROWS, data.source.rows), recipe.factors(1, 1))
        assert isinstance(recipe.optimizer, LBFGS)
        self.optimizer = recipe.optimizer
        frame = self._space.frame
        frame.phases([training.learn, training.update])  # one each: no layer looks at a whole batch
        frame[t.DIVISOR] = ONE
        frame[t.ORDER] = 0
        self.seen = data.source.rows
        self._order = np.arange(self.seen)
        self._divisor = recipe.loss.divisor(data.targets) or 1.0
        weights = data.targets.weights
        self._samples_in_all = float(weights.sum()) if weights.size else float(self.seen)
        self._at: Array | None = None

    def compile(self, validates: bool) -> None:
        self._sum_gradients(0, self._n_threads)
        if self._pace.free:  # may go on with one thread
            self._sum_gradients(0, 1)
        if validates:
            self.compile_prediction()

    def theta(self) -> Array:
        """Return the parameters as one vector."""
        parameters = self.optimizer.parameters
        return np.concatenate([p.copy().ravel() for p in parameters]).astype(np.float64)

    def place(self, theta: Array) -> None:
        """Make a vector the network's parameters."""
        first = 0
        for parameter in self.optimizer.parameters:
            values = theta[first : first + parameter.size]
            with np.errstate(over="ignore"):  # a line search may go far
                parameter.data = values.reshape(parameter.shape)
            first += parameter.size

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient, with the penalty."""
        self.place(theta)
        self._at = theta.copy()
        alone, started = self._pace.alone(), time.perf_counter()
        sums = self._sum_gradients(self.seen, 1 if alone else self._n_threads)
        self._pace.record(alone, self.seen / max(time.perf_counter() - started, 1e-6))
        value, penalties = self.optimizer.penalty(self._samples_in_all)
        value += float(self._values.sum()) / self._divisor
        pairs = zip(self.optimizer.parameters, penalties, strict=True)
        parts = [p.view(sums, p.offset) / self._divisor + penalty for p, penalty in pairs]
        return value, np.concatenate([part.ravel() for part in parts])

    def settle(self, theta: Array) -> float:
        """Leave the network at a vector, with its rows' losses; return the value there."""
        if self._at is None or not np.array_equal(theta, self._at, equal_nan=True):
            return self(theta)[0]
        self.place(theta)  # a callback may have changed the network
        penalty, _ = self.optimizer.penalty(self._samples_in_all)
        return penalty + float(self._values.sum()) / self._divisor

    def _sum_gradients(self, n: int, n_threads: int | None) -> Array:
        """Return the gradient of the sum of the first n rows' losses, flat as the parameters."""
        space = self._space
        gradients = self._space.frame.array(t.GRADS)
        sums = np.zeros(gradients.size)
        with threads(n_threads, self._work) as count:
            count = min(count, space.copies)
            space.run(passes.prepare, 0, 0, count)
            for first in range(0, max(n, 1), self._batch):  # once without rows, for the compiler
                stop = min(n, first + self._batch)
                space.frame.train(space.address, first, stop, self._batch, count)
                sums += gradients
        return sums


class _Enough(Exception):
    """No further iteration is wanted."""


class Iterations:
    """Epochs of a minimiser: an iteration over all data each.

    Parameters
    ----------
    recipe : Recipe
        How to train, with an LBFGS.
    data : Data
        All of them.
    """

    def __init__(self, recipe: Recipe, data: Data) -> None:
        self._recipe, self.first = recipe, data
        self.accuracy = data.accuracy
        self.samples: int | None = data.source.rows
        self.batches: int | None = 1

    def prepare(self, validates: bool) -> None:
        """Make the buffers, and compile or load the kernels."""
        self._objective = Objective(self._recipe, self.first)
        self._objective.compile(validates)

    def drive(
        self,
        begin: Callable[[], bool],
        after: After,
        end: Callable[[float], None],
        stop: Callable[[str], None],
    ) -> None:
        """Iterate until the minimum is reached or no further epoch is wanted.

        Parameters
        ----------
        begin : callable
            Begins an epoch; returns False where none is wanted.
        after : callable
            Called with the samples and batches of an iteration; what it returns is for ``begin``.
        end : callable
            Ends an epoch, given the seconds it took.
        stop : callable
            Given the reason why there will be no more.
        """
        objective, optimizer = self._objective, self._objective.optimizer
        optimizer.evaluations, optimizer.converged = 0, False
        reached = objective.theta()
        started: float | None = None

        def evaluate(theta: Array) -> tuple[float, Array]:
            nonlocal started
            if started is None:  # not sooner: an iteration may have been the last
                if not begin():
                    raise _Enough
                started = time.perf_counter()
            optimizer.evaluations += 1
            return objective(theta)

        def iterated(theta: Array) -> None:
            nonlocal reached, started
            reached = theta.copy()
            optimizer.value = objective.settle(theta)
            optimizer.steps += 1
            seconds = time.perf_counter() - (started or 0.0)
            started = None
            after(objective.seen, 1)
            end(seconds)

        try:
            found = optimizer.minimise(evaluate, reached, iterated)
        except _Enough:
            return
        except BaseException:
            objective.place(reached)  # not where a line search happens to be
            raise
        optimizer.converged = found.converged
        if started is not None:  # a line search found nothing better, or there was no need for one
            iterated(found.theta)
        stop(f"{'converged' if found.converged else GAVE_UP}: {found.reason}")

    def total(self) -> Tally:
        """Add up all rows at the last iteration's end."""
        return self._objective.tally(0, self._objective.seen)

    def recent(self) -> Tally:
        """Add up all rows at the last iteration's end."""
        return self.total()


def check_minimised(plan: Plan, whole: bool, **unused: Any) -> None:
    """Raise unless a network's loss is a function of its parameters, and other arguments are None.

    Parameters
    ----------
    plan : Plan
        The network.
    whole : bool
        Whether all samples are there at once.
    **unused
        Arguments of ``fit``.

    Raises
    ------
    TypeError
        Where samples come batch by batch.
    ValueError
        For layers that draw numbers, or mix the rows that happen to be together; for arguments of
        ``fit`` that mean nothing to a minimiser.
    """
    if not whole:
        raise TypeError("x must be an array for LBFGS, which needs all samples at once")
    for kind, name in ((t.DROPOUT, "Dropout"), (t.BATCH_NORM, "BatchNorm1d")):
        if any(stage.kind == kind for stage in plan.stages):
            raise ValueError(
                f"net must have no {name} for LBFGS, whose loss must be a function of the "
                "parameters alone; leave it out, or train with Adam"
            )
    for name, value in unused.items():
        if value is not None:
            raise ValueError(f"{name} must be None for LBFGS, got {value!r}")
