"""Learning-rate schedules: what each training step multiplies the optimiser's ``lr`` by.

A schedule is a function of a step's number alone and keeps nothing. :func:`fastfcn.fit` counts from
the optimiser's ``steps``, those of earlier fits included, to the end of its own last epoch. So
where a run of 20 epochs ended after 10, ``fit(epochs=10)`` with the same optimiser, or one that has
loaded its state, goes on with the rates of epochs 11 to 20. A new optimiser begins anew.

Anything with a method ``factors`` like :meth:`Schedule.factors` serves as a schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fastfcn.buffers import Array
from fastfcn.validation import as_int, as_not_negative, as_positive, as_real


@runtime_checkable
class Schedule(Protocol):
    """What a schedule has."""

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the factors of the learning rate, one for each step.

        Parameters
        ----------
        steps : ndarray (n,) of int64
            Numbers of steps, from 0.
        steps_per_epoch : int
            Batches of an epoch.
        total_steps : int
            Number of the step after the last.

        Returns
        -------
        ndarray (n,)
            At least 0.
        """


@dataclass(frozen=True)
class StepLR:
    """γ^⌊epoch / step_size⌋: a drop every few epochs.

    Parameters
    ----------
    step_size : int
        Epochs from one drop to the next.
    gamma : float, default 0.1
        γ > 0.

    Examples
    --------
    >>> StepLR(2, gamma=0.5).factors(np.arange(5), steps_per_epoch=1, total_steps=5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        as_int(self.step_size, "step_size", 1)
        as_positive(self.gamma, "gamma")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        return _power(self.gamma, steps // steps_per_epoch // self.step_size)


@dataclass(frozen=True)
class MultiStep:
    """γ^k with k the milestones that are past: a drop at each.

    Parameters
    ----------
    milestones : sequence of int
        Epochs, counted from 0, that begin with a drop.
    gamma : float, default 0.1
        γ > 0.

    Examples
    --------
    >>> MultiStep([1, 3], gamma=0.5).factors(np.arange(5), steps_per_epoch=1, total_steps=5)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.milestones, list | tuple):
            raise TypeError(f"milestones must be a list of epochs, got {self.milestones!r}")
        epochs = (as_int(epoch, "milestones", 0) for epoch in self.milestones)
        object.__setattr__(self, "milestones", tuple(sorted(epochs)))
        as_positive(self.gamma, "gamma")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        past = np.searchsorted(self.milestones, steps // steps_per_epoch, side="right")
        return _power(self.gamma, past)


@dataclass(frozen=True)
class Exponential:
    """γ^epoch.

    Parameters
    ----------
    gamma : float
        γ > 0.

    Examples
    --------
    >>> Exponential(0.5).factors(np.arange(4), steps_per_epoch=2, total_steps=4)
    array([1. , 1. , 0.5, 0.5])
    """

    gamma: float

    def __post_init__(self) -> None:
        as_positive(self.gamma, "gamma")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        return _power(self.gamma, steps // steps_per_epoch)


@dataclass(frozen=True)
class Polynomial:
    """f + (1 - f)(1 - t/T)^power in step t of T; a straight line by default.

    Parameters
    ----------
    power : float, default 1.0
        Above 0.
    final : float, default 0.0
        f ≥ 0, which the step after the last would have.

    Examples
    --------
    >>> Polynomial().factors(np.arange(4), steps_per_epoch=2, total_steps=4)
    array([1.  , 0.75, 0.5 , 0.25])
    """

    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        as_positive(self.power, "power")
        as_not_negative(self.final, "final")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        left: Array = (1.0 - _part(steps, total_steps)) ** self.power
        return self.final + (1.0 - self.final) * left


@dataclass(frozen=True)
class Cosine:
    """f + (1 - f)(1 + cos πt/T)/2 in step t of T.

    Parameters
    ----------
    final : float, default 0.0
        f ≥ 0, which the step after the last would have.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2017; without the
    restarts.

    Examples
    --------
    >>> Cosine().factors(np.arange(4), steps_per_epoch=2, total_steps=4).round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        as_not_negative(self.final, "final")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        return _cosine(1.0, self.final, _part(steps, total_steps))


@dataclass(frozen=True)
class InverseScaling:
    """1 / (1 + t)^power in step t.

    Parameters
    ----------
    power : float, default 0.5
        Above 0.

    Examples
    --------
    >>> InverseScaling().factors(np.arange(4), steps_per_epoch=2, total_steps=4).round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        as_positive(self.power, "power")

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        return 1.0 / (1.0 + steps) ** self.power


@dataclass(frozen=True)
class OneCycle:
    """Up from a small rate to the largest, and down to a far smaller one, along half cosines.

    Parameters
    ----------
    pct_start : float, default 0.3
        Share of the steps that go up, in [0, 1].
    div_factor : float, default 25.0
        The largest rate, divided by the first.
    final_div_factor : float, default 1e4
        The first rate, divided by the last.
    max_factor : float, default 1.0
        Factor at the top: by default the optimiser's ``lr`` is the largest rate.

    Notes
    -----
    PyTorch's, whose ``max_lr`` is ``lr`` here, without the cycle of the momentum.

    References
    ----------
    Smith and Topin, Super-convergence: very fast training of neural networks using large learning
    rates, 2019.

    Examples
    --------
    >>> OneCycle(0.5, 10, 10).factors(np.arange(6), steps_per_epoch=6, total_steps=6).round(3)
    array([0.1  , 0.55 , 1.   , 0.752, 0.258, 0.01 ])
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    max_factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= as_real(self.pct_start, "pct_start") <= 1.0:
            raise ValueError(f"pct_start must be in [0, 1], got {self.pct_start}")
        for name in ("div_factor", "final_div_factor", "max_factor"):
            as_positive(getattr(self, name), name)

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        top = self.pct_start * total_steps - 1.0
        last = total_steps - 1.0
        first = 1.0 / self.div_factor
        # Where one half has no steps, any number above 0 will do for its length.
        up = _cosine(first, 1.0, np.clip(steps / (top if top > 0.0 else 1.0), 0.0, 1.0))
        part = (steps - top) / (last - top if last > top else 1.0)
        down = _cosine(1.0, first / self.final_div_factor, np.clip(part, 0.0, 1.0))
        return self.max_factor * np.where(steps <= top, up, down)


@dataclass(frozen=True)
class WarmUp:
    """A straight line from a small factor to 1; then another schedule, from its beginning.

    Parameters
    ----------
    steps : int, optional
        Steps until 1 is reached. Give these or ``epochs``.
    epochs : int, optional
        Epochs until then.
    then : Schedule, optional
        What follows. It counts its steps from the end of the warm-up. 1 by default.
    start : float, default 0.1
        Factor of the first step, in [0, 1].

    Examples
    --------
    >>> schedule = WarmUp(steps=2, then=Cosine(), start=0.5)
    >>> schedule.factors(np.arange(6), steps_per_epoch=2, total_steps=6).round(3)
    array([0.5  , 0.75 , 1.   , 0.854, 0.5  , 0.146])
    """

    steps: int | None = None
    epochs: int | None = None
    then: Schedule | None = None
    start: float = 0.1

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("WarmUp must have steps or epochs, one of the two")
        as_int(self.steps if self.epochs is None else self.epochs, self._unit, 1)
        if not 0.0 <= as_real(self.start, "start") <= 1.0:
            raise ValueError(f"start must be in [0, 1], got {self.start}")
        if self.then is not None:
            check_schedule(self.then, "then")

    @property
    def _unit(self) -> str:
        return "steps" if self.epochs is None else "epochs"

    def factors(self, steps: Array, steps_per_epoch: int, total_steps: int) -> Array:
        length = (self.epochs or 0) * steps_per_epoch if self.steps is None else self.steps
        result = self.start + (1.0 - self.start) * np.minimum(steps / length, 1.0)
        later = steps >= length
        if self.then is not None and later.any():
            left = max(total_steps - length, 1)
            result[later] = self.then.factors(steps[later] - length, steps_per_epoch, left)
        return result


def check_schedule(schedule: Any, name: str = "schedule") -> Schedule:
    """Return what is a schedule.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(schedule, type):
        raise TypeError(
            f"{name} must be an object, got the class {schedule.__name__}; make one with "
            f"{schedule.__name__}()"
        )
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"{name} must be one of fastfcn.schedules, or have a method factors(steps, "
            f"steps_per_epoch, total_steps), got {schedule!r}"
        )
    return schedule


def factors_of(
    schedule: Schedule | None, steps_done: int, steps_per_epoch: int | None, epochs: int
) -> Callable[[int, int], Array]:
    """Return a fit's factors as a function of a first step and how many.

    Parameters
    ----------
    schedule : Schedule or None
        None: 1 throughout.
    steps_done : int
        The optimiser's steps before the fit.
    steps_per_epoch : int or None
        None where it is not known before.
    epochs : int
        Of this fit.

    Raises
    ------
    TypeError, ValueError
        For something else than a schedule; where it is not known how many batches there will be.
        What is returned raises ValueError for factors that cannot be used.
    """
    if schedule is None:
        return lambda first, count: np.ones(count)
    if steps_per_epoch is None:
        raise ValueError(
            "schedule must be None where x does not tell how many batches it gives; pass one with "
            "len(), or fastfcn.callbacks.LearningRateScheduler"
        )
    chosen, per_epoch = check_schedule(schedule), steps_per_epoch
    total = steps_done + epochs * per_epoch

    def factors(first: int, count: int) -> Array:
        values = np.asarray(
            chosen.factors(np.arange(first, first + count), per_epoch, total), np.float64
        )
        if values.shape != (count,):
            raise ValueError(
                f"factors of {chosen!r} must have shape ({count},), got {values.shape}"
            )
        if not (np.isfinite(values) & (values >= 0.0)).all():
            raise ValueError(
                f"factors of {chosen!r} must be finite and at least 0, got {values.min()} to "
                f"{values.max()}"
            )
        return values

    return factors


def _power(gamma: float, exponents: Array) -> Array:
    """Return γ to the power of each exponent."""
    powers: Array = np.power(gamma, exponents, dtype=np.float64)
    return powers


def _part(steps: Array, total_steps: int) -> Array:
    """Return which part of all steps lies behind; at most 1, as a loader may give more of them."""
    part: Array = np.minimum(steps / max(total_steps, 1), 1.0)
    return part


def _cosine(first: float, last: float, part: Array) -> Array:
    """Return the half cosine from ``first``, where ``part`` is 0, to ``last``, where it is 1."""
    return last + (first - last) * (1.0 + np.cos(np.pi * part)) / 2.0
