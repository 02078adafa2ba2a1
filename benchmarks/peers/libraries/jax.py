"""JAX: a whole epoch in one compiled call, with donated buffers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


def forward(weights: Any, a: Any) -> Any:
    """Return the network's outputs."""
    for weight, bias in weights[:-1]:
        a = jax.nn.relu(a @ weight + bias)
    weight, bias = weights[-1]
    return a @ weight + bias


def loss(weights: Any, x: Any, y: Any) -> Any:
    """Return the mean cross-entropy of a batch."""
    log_p = jax.nn.log_softmax(forward(weights, x))
    return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()


@partial(jax.jit, static_argnames="batch", donate_argnames="state")
def epoch(state: Any, x: Any, y: Any, order: Any, batch: int) -> Any:
    """Scan over an epoch's whole batches, then take the rest of the rows in a last step."""

    def step(state: Any, rows: Any) -> tuple[Any, None]:
        weights, velocities = state
        grads = jax.grad(loss)(weights, x[rows], y[rows])
        tree = jax.tree.map
        velocities = tree(lambda v, g: MOMENTUM * v - LEARNING_RATE * g, velocities, grads)
        return (tree(jnp.add, weights, velocities), velocities), None

    whole = len(order) // batch * batch
    state, _ = jax.lax.scan(step, state, order[:whole].reshape(-1, batch))
    return step(state, order[whole:])[0] if whole < len(order) else state


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train epoch by epoch; XLA takes as many threads as the process has cores."""
    rng = np.random.default_rng(0)
    weights = jax.tree.map(jnp.array, problem.weights)
    state = (weights, jax.tree.map(jnp.zeros_like, weights))
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)
    outputs = jax.jit(forward)
    for _ in range(epochs):
        order = jnp.asarray(rng.permutation(len(x)).astype(np.int32))
        state = jax.block_until_ready(epoch(state, x, y, order, problem.batch))
        lap(partial(lambda weights, rows: np.asarray(outputs(weights, rows)), state[0]))


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by the jitted network, its weights compiled in."""
    weights, rows = jax.tree.map(jnp.asarray, problem.weights), jnp.asarray(x)
    outputs = jax.jit(partial(forward, weights))
    return lambda: outputs(rows).block_until_ready()
