"""The search along a direction: the strong Wolfe conditions, and the oracle's trials."""

import numpy as np
import pytest

import reference.lbfgs
from fastfcn.optim.line_search import Point, lowest_between, strong_wolfe


def bumpy(seed):
    """A function that falls at 0 and rises far away, with valleys between."""
    rng = np.random.default_rng(seed)
    size, rate, phase = rng.normal(size=(3, 6))
    rate *= 10.0 ** rng.uniform(-1, 1)
    curve = 10.0 ** rng.uniform(-2, 2)
    raw = size @ (rate * np.cos(phase))
    tilt = -raw - 10.0 ** rng.uniform(-1, 1)

    def function(t):
        value = size @ np.sin(rate * t + phase) + tilt * t + curve * t * t
        return float(value), float(size @ (rate * np.cos(rate * t + phase)) + tilt + 2 * curve * t)

    return function


def searched(function, t, most=25, longest=1.0):
    """Where the search ends, and what it tried."""
    tried = []

    def at(t):
        tried.append(t)
        return Point(t, *function(t))

    return strong_wolfe(at, Point(0.0, *function(0.0)), t, longest, most), tried


@pytest.mark.parametrize("first", [1e-3, 1.0, 50.0])
def test_it_tries_what_the_oracle_tries(first):
    lengths = set()
    for seed in range(200):
        function, theirs = bumpy(seed), []

        def phi(t, function=function, theirs=theirs):
            theirs.append(t)
            return function(t)

        t = reference.lbfgs.search(phi, *function(0.0), first, 1.0, 25)
        found, ours = searched(function, first)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        np.testing.assert_allclose(found.t, t, rtol=1e-6)
        lengths.add(len(ours))
    assert len(lengths) > 3


@pytest.mark.parametrize("first", [1e-3, 1.0, 50.0])
def test_what_it_finds_satisfies_the_strong_wolfe_conditions(first):
    for seed in range(200):
        function = bumpy(seed)
        start = Point(0.0, *function(0.0))
        found, tried = searched(function, first, most=100)
        assert found == Point(found.t, *function(found.t)) and len(tried) < 100
        assert found.value <= start.value + 1e-4 * found.t * start.slope
        assert abs(found.slope) <= 0.9 * abs(start.slope)


@pytest.mark.parametrize("most", [1, 2, 3, 25])
def test_it_tries_no_more_than_it_may_and_ends_no_higher_than_it_began(most):
    for seed in range(50):
        function = bumpy(seed)
        for first in (1e-6, 50.0):
            found, tried = searched(function, first, most)
            assert len(tried) <= most
            assert found.value <= function(0.0)[0]


def test_where_the_function_is_infinite_it_halves_the_way():
    def wall(t):
        return (-t, -1.0 if t < 0.3 else 1.0) if t < 0.4 else (np.inf, np.inf)

    found, tried = searched(wall, 8.0)
    assert tried[:5] == [8.0, 4.0, 2.0, 1.0, 0.5]
    assert 0.0 < found.t < 0.4


def test_a_bracket_in_which_no_parameter_moves_is_not_searched():
    found, tried = searched(lambda t: (1.0, -1.0) if t else (0.0, -1.0), 1.0, longest=1e-10)
    assert found.t == 0.0 and tried == [1.0]


def test_the_lowest_point_of_a_cubic_is_exact():
    def cubic(t):
        return Point(t, t**3 - 3 * t, 3 * t**2 - 3)

    for a, b in [(0.5, 2.0), (2.0, 0.5), (-0.9, 3.0)]:
        assert lowest_between(cubic(a), cubic(b), -1.0, 9.0) == pytest.approx(1.0, rel=1e-14)
    assert lowest_between(cubic(0.5), cubic(2.0), 1.5, 9.0) == 1.5
    line = Point(0.0, 0.0, -1.0), Point(1.0, -1.0, -1.0)
    assert lowest_between(*line, 1.0, 10.0) == 5.5
    assert lowest_between(line[0], Point(1.0, np.inf, np.inf), 0.0, 1.0) == 0.5
