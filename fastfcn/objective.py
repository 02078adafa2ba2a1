"""Training on all data at once: loss and gradient, and an epoch for each iteration."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfcn.buffers import Array, Buffer
from fastfcn.data import Data
from fastfcn.epochs import After, Recipe, Trainer
from fastfcn.history import Tally
from fastfcn.optim.minimiser import Minimiser
from fastfcn.pace import Way
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
    """Loss and gradient of a network over all data.

    Gradients come from the kernels of a training step, without its update. Up to `ROWS` rows are
    one batch; of more, the gradients of so many at a time are added up in float64, in their order.

    Parameters
    ----------
    recipe : Recipe
        The network and loss, and what is trained.
    data : Data
        All of them.

    Attributes
    ----------
    samples : float
        How many, or the sum of their weights.
    """

    def __init__(self, recipe: Recipe, data: Data) -> None:
        # Cut to any norm, gradients are left for the step that follows, which is left out.
        recipe = recipe._replace(clip_norm=1.0)
        super().__init__(recipe, data, min(ROWS, data.source.rows), recipe.factors(1, 1))
        frame = self._space.frame
        frame.phases([training.learn, training.update])  # one each: no layer looks at a whole batch
        frame[t.ORDER] = 0
        self.seen = data.source.rows
        self._order = np.arange(self.seen)
        self._divisor = recipe.loss.divisor(data.targets) or 1.0
        if self.seen > self._batch:
            frame[t.DIVISOR] = ONE  # and by all rows' in the end
        weights = data.targets.weights
        self.samples = float(weights.sum()) if weights.size else float(self.seen)

    def compile(self, validates: bool) -> None:
        for way in self._pace.ways:
            self._add_gradients(0, way)
        if validates:
            self.compile_prediction()

    def evaluate(self) -> float:
        """Return the loss at the network's parameters as they are, and keep its gradient."""
        self._check_whole()
        (way, _), started = self._pace.choose(self.seen), time.perf_counter()
        self._add_gradients(self.seen, way)
        self._pace.record(way, self.seen, time.perf_counter() - started)
        return float(self._values.sum()) / self._divisor

    def gradients(self, buffer: Buffer) -> Array:
        """Return the last gradient, laid out as the network's buffer."""
        return self._space.frame.array(t.GRADS)

    def _add_gradients(self, n: int, way: Way) -> None:
        """Leave the gradient of the loss over the first n rows."""
        space = self._space
        gradients = space.frame.array(t.GRADS)
        sums = np.zeros(gradients.size if n > self._batch else 0)
        with threads(1 if way is Way.ALONE else self._n_threads, self._work) as count:
            count = min(count, space.copies)
            space.run(passes.prepare, 0, 0, count)
            for first in range(0, max(n, 1), self._batch):  # once without rows, for the compiler
                stop = min(n, first + self._batch)
                space.frame.train(space.address, first, stop, self._batch, count)
                if sums.size:
                    sums += gradients
        if sums.size:
            np.divide(sums, self._divisor, out=gradients, casting="same_kind")


class _Enough(Exception):
    """No further iteration is wanted."""


class Iterations:
    """Epochs of a minimiser: an iteration over all data each.

    Parameters
    ----------
    recipe : Recipe
        How to train, with a minimiser.
    data : Data
        All of them.
    """

    def __init__(self, recipe: Recipe, data: Data) -> None:
        assert isinstance(recipe.optimizer, Minimiser)
        self._recipe, self._optimizer, self.first = recipe, recipe.optimizer, data
        self.accuracy = data.accuracy
        self.samples: int | None = data.source.rows
        self.batches: int | None = 1

    def prepare(self, validates: bool) -> None:
        """Make the buffers, and compile or load the kernels."""
        self._objective = Objective(self._recipe, self.first)
        self._objective.compile(validates)
        self._optimizer.compile()

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
        objective, started = self._objective, 0.0

        def next_one() -> None:
            nonlocal started
            if not begin():
                raise _Enough
            started = time.perf_counter()

        def iterated() -> None:
            seconds = time.perf_counter() - started
            after(objective.seen, 1)
            end(seconds)

        try:
            converged, reason = self._optimizer.minimise(objective, next_one, iterated)
        except _Enough:
            return
        stop(f"{'converged' if converged else GAVE_UP}: {reason}")

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
