"""Full-batch training by SciPy's L-BFGS-B."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from fastfcn.buffers import Array
from fastfcn.estimators.convergence import penalty
from fastfcn.losses import Loss
from fastfcn.nn.containers import Module
from fastfcn.threads import at_most

ROWS = 4096
"""Rows that go through the network at once: memory for their activations, not for all, and the
only part of sparse data that is ever made dense."""


class Objective:
    """Loss and gradient of a network over a whole data set, as functions of its parameters.

    The parameters are the network's flat buffer with its padding, which is zero and has a zero
    gradient, so it stays zero.

    Parameters
    ----------
    net : Module
        The network.
    x : ndarray or CSR (n, features)
        The data.
    target : ndarray
        As the loss takes it.
    loss : Loss
        To minimise, in its own reduction.
    sample_weight : ndarray (n,), optional
        Weights of the rows.
    decay : float
        λ of the penalty λ/2 Σ W².
    """

    def __init__(
        self,
        net: Module,
        x: Any,
        target: Array,
        loss: Loss,
        sample_weight: Array | None,
        decay: float,
    ) -> None:
        self._net, self._x, self._target = net, x, target
        self._sample_weight, self._decay = sample_weight, decay
        self._loss = copy.copy(loss)
        self._loss.reduction = "sum"
        self._buffer = net.plan().buffer
        plan = net.plan()
        targets = loss.targets(target, len(target), plan.stages[-1].out_features, plan.dtype)
        if sample_weight is not None:
            targets = targets._replace(weights=sample_weight)
        self._scale = 1.0 / loss.divisor(targets)

    def start(self) -> Array:
        """Return the parameters as they are."""
        return self._buffer.values.astype(np.float64)

    def place(self, theta: Array) -> None:
        """Make ``theta`` the network's parameters."""
        self._buffer.values[...] = theta
        self._buffer.changed()

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient at ``theta``."""
        self.place(theta)
        self._net.zero_grad()
        value = 0.0
        for first in range(0, self._x.shape[0], ROWS):
            rows = slice(first, first + ROWS)
            x = self._x[rows]
            output = self._net(x.toarray() if hasattr(x, "toarray") else x)
            weight = None if self._sample_weight is None else self._sample_weight[rows]
            value += float(self._loss(output, self._target[rows], weight))
            delta = self._loss.grad(output, self._target[rows], weight)
            self._net.backward(delta * delta.dtype.type(self._scale), input_gradient=False)
        for layer in self._net.linears:
            parameter = layer.named_parameters()["weight"]
            parameter.grad += parameter.dtype.type(self._decay) * parameter.copy()
        value = self._scale * value + penalty(self._net, self._decay)
        return value, self._buffer.grads.astype(np.float64)


def minimise(
    objective: Objective,
    *,
    n_threads: int | None,
    max_iter: int,
    max_fun: int,
    tol: float,
    after: Callable[[float], None],
) -> Any:
    """Minimise; leave the network at the optimum and return SciPy's result.

    ``after(value)`` is called after each iteration, with the network at it.
    """

    def callback(intermediate_result: Any) -> None:
        objective.place(intermediate_result.x)
        after(float(intermediate_result.fun))

    # SciPy's vectors are short, and BLAS's threads would wait for work on the cores of ours.
    with threadpool_limits(1, "blas"), at_most(n_threads):
        result = minimize(
            objective,
            objective.start(),
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    objective.place(result.x)
    return result
