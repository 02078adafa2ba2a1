"""fastfcn on images as they come, uint8, scaled as they are read."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastfcn as ff
from benchmarks.peers.libraries import Lap
from benchmarks.peers.libraries.fastfcn import fit, network
from benchmarks.peers.problem import Problem

SCALE = 1 / 255


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by ``fit``."""
    fit(problem, epochs, lap, problem.pixels, SCALE)


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by ``ff.predict``."""
    net, pixels = network(problem), np.rint(x * 255).astype(np.uint8)
    return lambda: ff.predict(net, pixels, scale=SCALE)
