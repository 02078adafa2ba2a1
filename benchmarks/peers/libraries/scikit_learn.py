"""scikit-learn's ``MLPClassifier``, an epoch at a time by ``partial_fit``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


def classifier(problem: Problem) -> Any:
    """Return the problem's network at the references' settings.

    The classifier makes its arrays at its first ``partial_fit``: here a step on one batch, after
    which the weights are the problem's. What is left of that step is its velocity.
    """
    net = MLPClassifier(
        problem.sizes[1:-1],
        solver="sgd",
        learning_rate="constant",
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        alpha=0.0,
        batch_size=problem.batch,
        random_state=0,
    )
    first = slice(problem.batch)
    net.partial_fit(problem.x[first], problem.y[first], classes=np.arange(problem.sizes[-1]))
    for weight, bias, (own_weight, own_bias) in zip(
        net.coefs_, net.intercepts_, problem.weights, strict=True
    ):
        weight[:], bias[:] = own_weight, own_bias
    return net


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train; ``partial_fit`` shuffles the rows and goes through them once."""
    net = classifier(problem)
    for _ in range(epochs):
        net.partial_fit(problem.x, problem.y)
        lap(net.predict_proba)


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict probabilities: the classifier does not give the outputs before its softmax."""
    net = classifier(problem)
    return lambda: net.predict_proba(x)
