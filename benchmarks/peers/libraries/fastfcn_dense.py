"""fastfcn on float32 rows, with products with zeros computed as its peers compute them."""

from collections.abc import Callable
from typing import Any

from benchmarks.peers.libraries import Lap, fastfcn
from benchmarks.peers.problem import Problem


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by ``fit``."""
    fastfcn.fit(problem, epochs, lap, problem.x, 1.0, skip_zeros=False)


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by ``ff.predict``."""
    return fastfcn.predictor(problem, x, threads)
