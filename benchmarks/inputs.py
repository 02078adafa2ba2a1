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


def load() -> tuple[Any, Any, Any, Any]:
    """Return uint8 training and test images with their int64 labels, per :data:`SOURCE`."""
    root = data_root()
    if root is None:
        from fastfcn.datasets.synthetic import synthetic_mnist

        return tuple(synthetic_mnist())  # type: ignore[return-value]
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
