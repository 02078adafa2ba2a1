"""What the benchmarks run on: MNIST where $FASTFCN_DATA has it, else a synthetic stand-in."""

import os
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BATCH = 128
SIZES = (784, 256, 128, 10)
SHAPES = list(zip(SIZES[:-1], SIZES[1:], strict=True))


def data_root() -> Path | None:
    """Return the folder that holds MNIST, or None.

    asv runs benchmarks in folders of its own, so a relative $FASTFCN_DATA is taken from the
    checkout as well.
    """
    chosen = os.environ.get("FASTFCN_DATA")
    if not chosen:
        return None
    for folder in (Path(chosen), ROOT / chosen):
        if list(folder.glob("MNIST/raw/train-images*ubyte*")):
            return folder.resolve()
    return None


SOURCE = "synthetic" if data_root() is None else "mnist"
"""Which data the figures are of; suites carry it as a parameter, so results do not mix."""


def synthetic(n_train: int = 60_000, n_test: int = 10_000) -> tuple[Any, Any, Any, Any]:
    """Return images of MNIST's shapes and sparsity, always the same ones.

    A fixed template a class, its zeros in one connected border as in MNIST (81% of all pixels),
    with noise on the pixels that are not zero.
    """
    rng = np.random.default_rng(20_240_101)
    row, column = np.mgrid[:28, :28] - 13.5
    templates = np.zeros((10, 784), np.float32)
    for digit in range(10):
        angle = np.pi * digit / 10
        across = row * np.cos(angle) + column * np.sin(angle)
        along = column * np.cos(angle) - row * np.sin(angle)
        shape = (np.abs(across - (digit % 3)) < 3.9) & (np.abs(along) < 9.5)
        templates[digit] = (shape * 180.0).ravel()

    def draw(n: int) -> tuple[Any, Any]:
        labels = rng.integers(0, 10, n)
        images = np.empty((n, 784), np.uint8)
        for start in range(0, n, 10_000):
            chosen = templates[labels[start : start + 10_000]]
            noise = rng.integers(-90, 76, chosen.shape, dtype=np.int16)
            images[start : start + 10_000] = np.where(chosen > 0, chosen + noise, 0)
        return images, labels.astype(np.int64)

    return *draw(n_train), *draw(n_test)


def load() -> tuple[Any, Any, Any, Any]:
    """Return uint8 training and test images with their int64 labels, per :data:`SOURCE`."""
    root = data_root()
    if root is None:
        return synthetic()
    from fastfcn import datasets

    return tuple(datasets.mnist(root=root, download=False))  # type: ignore[return-value]


def network(seed: int = 0) -> Any:
    """Return the references' network, 784-256-128-10 with ReLU, always from the same weights."""
    from fastfcn import nn

    rng = np.random.default_rng(seed)
    first, second, third = (nn.Linear(i, o, rng=rng) for i, o in SHAPES)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def fit(net: Any, x: Any, y: Any, **options: Any) -> Any:
    """Train at the references' settings: cross-entropy, lr 0.02, momentum 0.9, batches of 128."""
    import fastfcn as ff
    from fastfcn import losses, optim

    return ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.02, momentum=0.9),
        **{"batch_size": BATCH, "epochs": 1, "seed": 0, **options},
    )
