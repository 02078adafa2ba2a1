"""What optimisers have in common that need the loss at several points for a step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fastfcn.buffers import Array, Buffer
from fastfcn.optim.optimizer import Optimizer


class Ending(NamedTuple):
    """Why there is no further iteration."""

    converged: bool
    reason: str


class Objective(Protocol):
    """A loss over all samples, as a function of the parameters that a minimiser trains."""

    samples: float
    """How many, or the sum of their weights."""

    def evaluate(self) -> float:
        """Return the loss at the parameters as they are, and keep its gradient."""

    def gradients(self, buffer: Buffer) -> Array:
        """Return the last gradient by what is in a buffer, laid out as that."""


class Minimiser(Optimizer):
    """Base of optimisers that minimise a loss over all samples, an iteration an epoch.

    Attributes
    ----------
    value : float
        Loss with the penalty after the last iteration; NaN before the first.
    evaluations : int
        Evaluations of loss and gradient in the last fit, or call of ``step``.
    converged : bool
        Whether that reached a minimum by the tolerances.
    """

    value: float = float("nan")
    evaluations: int = 0
    converged: bool = False

    def minimise(
        self, objective: Objective, begin: Callable[[], None], iterated: Callable[[], None]
    ) -> Ending:
        """Iterate until there is nothing to gain, and leave the parameters there.

        Parameters
        ----------
        objective : Objective
            What to minimise, but for the penalty.
        begin : callable
            Called before each iteration. What it raises ends the minimisation, with the parameters
            as they are after the last iteration; so does what ``objective`` raises.
        iterated : callable
            Called after each iteration, with the parameters and the last evaluation at its end.

        Returns
        -------
        Ending
        """
        raise NotImplementedError

    def compile(self) -> None:
        """Compile or load kernels, so that minimising does not."""

    def decays(self, samples: float) -> tuple[float, float]:
        """Return λ for weights and for other parameters, in a loss over so many samples."""
        decay = self.weight_decay
        if self.decay_by_batch:
            decay = decay / samples if samples > 0.0 else 0.0
        return decay, decay if self.decay_bias else 0.0

    def step(self, *unused: Any) -> Any:
        """Raise TypeError: a step needs the loss at several points."""
        raise TypeError(f"{type(self).__name__} must be used by fastfcn.fit, and has no step")
