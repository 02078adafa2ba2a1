"""fastfcn on float32 rows, which is what the other peers take."""

from collections.abc import Callable
from typing import Any

import fastfcn as ff
from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem
from fastfcn import losses, nn, optim


def network(problem: Problem) -> Any:
    """Return the problem's network."""
    layers: list[Any] = []
    for weight, bias in problem.weights:
        linear = nn.Linear(*weight.shape)
        linear.weight, linear.bias = weight, bias
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class EpochEnds:
    """Callback that ends a lap with each epoch."""

    def __init__(self, lap: Lap) -> None:
        self._lap = lap

    def on_epoch_end(self, run: Any) -> None:
        """End a lap."""
        self._lap(lambda rows: ff.predict(run.net, rows))


def fit(problem: Problem, epochs: int, lap: Lap, x: Any, scale: float, **options: Any) -> None:
    """Train on x·scale; as many threads as Numba is set to, which is fastfcn's own choice."""
    net = network(problem)
    ff.fit(
        net,
        x,
        problem.y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM),
        batch_size=problem.batch,
        epochs=epochs,
        seed=0,
        scale=scale,
        **options,
        callbacks=[EpochEnds(lap)],
    )


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by ``fit``."""
    fit(problem, epochs, lap, problem.x, 1.0)


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by ``ff.predict``."""
    net = network(problem)
    return lambda: ff.predict(net, x)
