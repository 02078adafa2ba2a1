"""The vectors of a descent, and what is done to them."""

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfcn.buffers import Array, aligned_zeros
from fastfcn.optim.line_search import Point
from fastfcn.optim.minimiser import Objective
from fastfcn_kernels import lbfgs as kernels
from fastfcn_kernels.compilation import Native

if TYPE_CHECKING:
    from fastfcn.optim.lbfgs import LBFGS

SMALLEST_CURVATURE = 2.0**-52
"""A step s that changed the gradient by y is remembered where Σ s y is above this times Σ y²."""


class Descent:
    """Parameters on their way down: where an iteration began, its direction, and two gradients.

    Vectors are laid out as the optimiser's slots are.

    Parameters
    ----------
    optimizer : LBFGS
        Whose parameters are moved, and whose memory is read and written.
    objective : Objective
        What is evaluated.

    Attributes
    ----------
    t : float
        How far along the direction the last evaluation was.
    value : float
        The loss there, with the penalty.
    slope, steepest, longest, total : float
        Slope along the direction; largest element of the gradient, and of the direction; sum of
        the gradient's elements. All by their size but for the slope.
    """

    def __init__(self, optimizer: "LBFGS", objective: Objective) -> None:
        self._optimizer, self._objective = optimizer, objective
        vectors = [aligned_zeros(optimizer.slot, optimizer.dtype) for _ in range(4)]
        self._start, self._direction, self._gradient, self._old_gradient = vectors
        self._found = np.zeros(4)
        self._stand()
        self._evaluate(0.0)

    @staticmethod
    def compile(dtype: np.dtype[Any]) -> None:
        """Compile or load the kernels."""
        for kernel in (
            kernels.find_direction,
            kernels.measure,
            kernels.penalise,
            kernels.move,
            kernels.make_pair,
            kernels.multiply,
        ):
            kernel.function(dtype)

    def is_finite(self) -> bool:
        """Tell whether loss and gradient are."""
        return math.isfinite(self.value) and math.isfinite(self.slope)

    def follow(self) -> None:
        """Evaluate again where the parameters are elsewhere than an iteration left them."""
        if not all(
            np.array_equal(run.values, self._start[run.place]) for run in self._optimizer.runs()
        ):
            self._stand()
            self._evaluate(0.0)

    def aim(self) -> None:
        """Choose the direction by what the optimiser remembers."""
        optimizer = self._optimizer
        optimizer.check_state()  # each time: a callback may have changed it
        self._call(
            kernels.find_direction,
            self._gradient, optimizer.state, optimizer.slot, optimizer.history_size,
            optimizer.pairs, self._direction, np.zeros(2 * optimizer.history_size),
        )  # fmt: skip
        self._measure()

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """Keep start and gradient while a line search moves the parameters.

        Whatever it raises, they are back at the start then; else where it ended is the next start.
        """
        self._old_gradient[...] = self._gradient
        try:
            yield
        except BaseException:
            self._move(0.0)
            raise
        self._stand()

    def at(self, t: float) -> Point:
        """Evaluate at a point of the direction, infinite where that is not finite."""
        self._move(t)
        self._evaluate(t)
        if self.is_finite():
            return Point(t, self.value, self.slope)
        return Point(t, math.inf, math.inf)

    def remember(self) -> None:
        """Keep the step to the last evaluation, and what it changed in the gradient."""
        optimizer, size = self._optimizer, self._optimizer.slot
        step, change = self._direction, self._old_gradient
        self._call(kernels.make_pair, self._gradient, change, step, self.t, size)
        if self._product(step, change) > SMALLEST_CURVATURE * self._product(change, change):
            memory = optimizer.state.reshape(2, optimizer.history_size, size)
            memory[:, optimizer.pairs % optimizer.history_size] = step, change
            optimizer.pairs += 1

    def _stand(self) -> None:
        """Make the parameters as they are the start."""
        for run in self._optimizer.runs():
            self._start[run.place] = run.values

    def _move(self, t: float) -> None:
        """Put the parameters t along the direction from the start."""
        for run in self._optimizer.runs():
            start, direction, theta = self._start[run.place], self._direction[run.place], run.values
            run.buffer.changed()  # first: Ctrl-C may come before anything that follows
            if t == 0.0:
                theta[...] = start
            else:
                self._call(kernels.move, start, direction, theta, t, theta.size)

    def _evaluate(self, t: float) -> None:
        """Evaluate loss and gradient, with the penalty, at the parameters as they are."""
        optimizer, objective = self._optimizer, self._objective
        optimizer.evaluations += 1
        value = objective.evaluate()
        penalty, decays = np.zeros(1), optimizer.decays(objective.samples)
        for run in self._optimizer.runs():
            theta, gradient = run.values, self._gradient[run.place]
            given = run.of(objective.gradients(run.buffer))
            self._call(
                kernels.penalise, theta, given, gradient, decays[run.others], theta.size, penalty
            )
        self.t, self.value = t, value + float(penalty[0])
        self._measure()

    def _measure(self) -> None:
        """Measure gradient and direction."""
        found = self._found
        self._call(kernels.measure, self._gradient, self._direction, self._optimizer.slot, found)
        self.slope, self.steepest = float(found[kernels.SLOPE]), float(found[kernels.STEEPEST])
        self.longest, self.total = float(found[kernels.LONGEST]), float(found[kernels.TOTAL])

    def _product(self, a: Array, b: Array) -> float:
        self._call(kernels.multiply, a, b, a.size, self._found)
        return float(self._found[0])

    def _call(self, kernel: Native, *arguments: Any) -> None:
        """Call a kernel with arrays for their addresses."""
        given = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        kernel.function(self._optimizer.dtype)(*given)
