"""NumPy by hand: every result goes to a buffer that is there already."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


class Network:
    """Weights, gradients and velocities, each in one flat buffer, and the buffers of a batch."""

    def __init__(self, problem: Problem, rows: int) -> None:
        sizes, self.last = problem.sizes, len(problem.weights) - 1
        count = sum(weight.size + bias.size for weight, bias in problem.weights)
        self.theta, self.g, self.v = (np.zeros(count, np.float32) for _ in range(3))
        self.layers, self.grads = self._views(self.theta, sizes), self._views(self.g, sizes)
        for (weight, bias), (own_weight, own_bias) in zip(
            self.layers, problem.weights, strict=True
        ):
            weight[:], bias[:] = own_weight, own_bias
        self.a = [np.empty((rows, size), np.float32) for size in sizes]
        self.delta = [np.empty((rows, size), np.float32) for size in sizes[1:]]
        self.mask = [np.empty((rows, size), np.bool_) for size in sizes[1:]]
        self.column = np.empty((rows, 1), np.float32)
        self.rows = np.arange(rows)

    @staticmethod
    def _views(flat: Any, sizes: list[int]) -> list[tuple[Any, Any]]:
        views, at = [], 0
        for i, o in zip(sizes[:-1], sizes[1:], strict=True):
            views.append((flat[at : at + i * o].reshape(i, o), flat[at + i * o : at + (i + 1) * o]))
            at += (i + 1) * o
        return views

    def forward(self, x: Any) -> Any:
        """Return the outputs, in a buffer that the next call overwrites."""
        a, n = x, len(x)
        for layer, (weight, bias) in enumerate(self.layers):
            z = np.matmul(a, weight, out=self.a[layer + 1][:n])
            z += bias
            if layer < self.last:
                np.maximum(z, 0, out=z)
            a = z
        return a

    def step(self, x: Any, y: Any, rows: Any) -> None:
        """Take one step of momentum SGD on these rows of the data."""
        n = len(rows)
        # Without "clip", take goes through a buffer of its own.
        a = np.take(x, rows, axis=0, out=self.a[0][:n], mode="clip")
        z, delta, column = self.forward(a), self.delta[-1][:n], self.column[:n]
        np.subtract(z, z.max(axis=1, keepdims=True, out=column), out=delta)
        np.exp(delta, out=delta)
        delta /= delta.sum(axis=1, keepdims=True, out=column)
        delta[self.rows[:n], y[rows]] -= 1
        delta *= np.float32(1 / n)
        for layer in range(self.last, -1, -1):
            below, (dW, db) = self.a[layer][:n], self.grads[layer]
            np.matmul(below.T, delta, out=dW)
            delta.sum(axis=0, out=db)
            if layer:
                weight = self.layers[layer][0]
                delta = np.matmul(delta, weight.T, out=self.delta[layer - 1][:n])
                delta *= np.greater(below, 0, out=self.mask[layer - 1][:n])
        self.v *= np.float32(MOMENTUM)
        self.g *= np.float32(LEARNING_RATE)
        self.v -= self.g
        self.theta += self.v


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by hand-written steps."""
    rng = np.random.default_rng(0)
    net = Network(problem, problem.batch)

    def scores(rows: Any) -> Any:
        batches = range(0, len(rows), problem.batch)
        return np.vstack([net.forward(rows[i : i + problem.batch]).copy() for i in batches])

    for _ in range(epochs):
        order = rng.permutation(len(problem.x))
        for begin in range(0, len(order), problem.batch):
            net.step(problem.x, problem.y, order[begin : begin + problem.batch])
        lap(scores)


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict many rows by products of matrices, one row by products of a vector."""
    net = Network(problem, len(x))
    if len(x) > 1:
        return lambda: net.forward(x)
    row = x[0]
    layers = [(weight, bias, net.a[i + 1][0]) for i, (weight, bias) in enumerate(net.layers)]

    def predict() -> Any:
        a = row
        for weight, bias, z in layers[:-1]:
            np.dot(a, weight, out=z)
            np.add(z, bias, out=z)
            a = np.maximum(z, 0, out=z)
        weight, bias, z = layers[-1]
        np.dot(a, weight, out=z)
        np.add(z, bias, out=z)
        return net.a[-1]

    return predict
