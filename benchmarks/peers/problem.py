"""What every peer is given: the same data, the same initial weights, the same settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import inputs
from fastfcn.datasets.synthetic import synthetic_mnist

LEARNING_RATE, MOMENTUM = 0.02, 0.9

TINY_SIZES, TINY_BATCH = (16, 32, 2), 32


@dataclass(frozen=True)
class Problem:
    """A network to train with ReLU between its layers, and what to train it on.

    Parameters
    ----------
    batch : int
        Rows a step; the last step of an epoch takes what is left.
    weights : list of (W, b)
        Initial, of each layer, float32; W is (in, out).
    x, y, x_test, y_test : ndarray
        float32 rows and int64 labels.
    pixels : ndarray or None
        The training rows as uint8, x·255, where that is what they are.
    """

    batch: int
    weights: list[tuple[Any, Any]]
    x: Any
    y: Any
    x_test: Any
    y_test: Any
    pixels: Any = None

    @property
    def sizes(self) -> list[int]:
        """Features of the input, then of each layer's output."""
        return [len(self.weights[0][0])] + [len(bias) for _, bias in self.weights]

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return -(-len(self.x) // self.batch)


def initial_weights(sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """Return (W, b) of each layer, U(±1/√fan_in), always the same ones."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.uniform(-(i**-0.5), i**-0.5, (i, o)).astype(np.float32),
            rng.uniform(-(i**-0.5), i**-0.5, o).astype(np.float32),
        )
        for i, o in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def images(data: str, samples: int | None) -> Problem:
    """Return the references' problem: 784-256-128-10 in batches of 128.

    Parameters
    ----------
    data : {"mnist", "synthetic"}
        The real images, or images of their shapes and sparsity.
    samples : int or None
        Training rows to keep, and at most as many test rows; None keeps all.
    """
    if data == "synthetic":
        pixels, y, pixels_test, y_test = synthetic_mnist(samples or 60_000, samples or 10_000)
    else:
        pixels, y, pixels_test, y_test = inputs.load()
    pixels, y, pixels_test, y_test = (a[:samples] for a in (pixels, y, pixels_test, y_test))
    scale = np.float32(255)
    return Problem(
        inputs.BATCH,
        initial_weights(inputs.SIZES),
        pixels / scale,
        y,
        pixels_test / scale,
        y_test,
        pixels,
    )


def tiny(steps: int) -> Problem:
    """Return a problem too small for arithmetic to matter: 16-32-2 in batches of 32."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((steps * TINY_BATCH, TINY_SIZES[0]), dtype=np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    return Problem(TINY_BATCH, initial_weights(TINY_SIZES), x, y, x[:1024], y[:1024])


def scores_of(weights: list[tuple[Any, Any]], x: Any) -> Any:
    """Return the outputs of the network in float64, the reference for predictions."""
    a = np.asarray(x, np.float64)
    for layer, (weight, bias) in enumerate(weights):
        a = a @ weight + bias
        if layer < len(weights) - 1:
            a = np.maximum(a, 0)
    return a


def forward_flops(sizes: tuple[int, ...]) -> int:
    """Return a row's floating-point operations forwards; a multiply-add is two."""
    return 2 * sum(i * o for i, o in zip(sizes[:-1], sizes[1:], strict=True))


def training_flops(sizes: tuple[int, ...]) -> int:
    """Return a row's operations of training: forwards, weight gradients, deltas but the input's."""
    return 2 * forward_flops(sizes) + forward_flops(sizes[1:])
