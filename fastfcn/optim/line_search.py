"""How far to go along a direction: a line search for the strong Wolfe conditions."""

import math
from collections.abc import Callable
from typing import NamedTuple

ENOUGH = 1e-4
"""c₁: the share of the decrease that the first slope promises which a step must bring."""
FLAT = 0.9
"""c₂: the share of the first slope, either way, that may be left."""
NARROW = 1e-9
"""A bracket in which no parameter moves by more holds nothing to look for."""


class Point(NamedTuple):
    """A function of the way t along a direction."""

    t: float
    value: float
    slope: float


def strong_wolfe(
    function: Callable[[float], Point], start: Point, t: float, longest: float, most: int
) -> Point:
    """Look for a point with a lower value where the function is flatter.

    Parameters
    ----------
    function : callable
        Evaluates the function at t; infinite where it is not defined.
    start : Point
        Where t is 0, with a slope below 0.
    t : float
        What to try first, above 0.
    longest : float
        How far the parameter moves most for a unit of t.
    most : int
        Evaluations at most, from 1.

    Returns
    -------
    Point
        One that satisfies the strong Wolfe conditions, φ(t) ≤ φ(0) + c₁ t φ'(0) and φ'(t) between
        c₂ φ'(0) and -c₂ φ'(0); else the lowest that was kept, which may be the start.

    References
    ----------
    Nocedal and Wright, Numerical optimization, 2006, algorithms 3.5 and 3.6.
    """
    search = _Search(function, start, most)
    last, here = start, search.at(t)
    while search.is_low(here) and (last is start or here.value < last.value):
        if search.is_flat(here):
            return here
        if here.slope >= 0.0 or not search.left:
            return search.narrow(here, last, longest)
        least, farthest = here.t + 0.01 * (here.t - last.t), 10.0 * here.t
        last, here = here, search.at(lowest_between(last, here, least, farthest))
    return search.narrow(last, here, longest)


class _Search:
    """Evaluations of a line search, and its conditions."""

    def __init__(self, function: Callable[[float], Point], start: Point, most: int) -> None:
        self._function, self._start, self._most = function, start, most
        self.done = 0

    @property
    def left(self) -> bool:
        """Whether there may be another evaluation."""
        return self.done < self._most

    def at(self, t: float) -> Point:
        self.done += 1
        return self._function(t)

    def is_low(self, point: Point) -> bool:
        return point.value <= self._start.value + ENOUGH * point.t * self._start.slope

    def is_flat(self, point: Point) -> bool:
        return abs(point.slope) <= -FLAT * self._start.slope

    def narrow(self, low: Point, high: Point, longest: float) -> Point:
        """Close in on a point between two; return the one found, else the low end.

        The low end satisfies the first condition and is lower than any other that does; from it,
        the function falls towards the high end.
        """
        stalled = False
        while self.left and abs(high.t - low.t) * longest >= NARROW:
            left, right = min(low.t, high.t), max(low.t, high.t)
            t = lowest_between(low, high, left, right)
            margin = 0.1 * (right - left)
            near = min(t - left, right - t) < margin
            if near and stalled:
                t = right - margin if right - t < t - left else left + margin
            stalled = near and not stalled  # it may come near an end, but not twice in a row
            here = self.at(t)
            if not self.is_low(here) or here.value >= low.value:
                high = here
                continue
            if self.is_flat(here):
                return here
            if here.slope * (high.t - low.t) >= 0.0:
                high = low
            low = here
        return low


def lowest_between(a: Point, b: Point, least: float, most: float) -> float:
    """Return where the cubic through two points with their slopes is lowest, between two bounds.

    Parameters
    ----------
    a, b : Point
        Two different ones.
    least, most : float
        The bounds; their middle where the cubic has no minimum, or a point is infinite.

    References
    ----------
    Nocedal and Wright, Numerical optimization, 2006, equation 3.59.
    """
    first = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.t - b.t)
    square = first * first - a.slope * b.slope
    if not 0.0 <= square < math.inf:
        return 0.5 * (least + most)
    second = math.copysign(math.sqrt(square), b.t - a.t)
    divisor = b.slope - a.slope + 2.0 * second
    if divisor == 0.0:
        return 0.5 * (least + most)
    t = b.t - (b.t - a.t) * (b.slope + second - first) / divisor
    return min(max(t, least), most) if math.isfinite(t) else 0.5 * (least + most)
