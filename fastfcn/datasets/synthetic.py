"""A stand-in for MNIST, to measure on where the real one is missing."""

import numpy as np
from numpy.typing import NDArray

from fastfcn.datasets.dataset import Dataset


def synthetic_mnist(n_train: int = 60_000, n_test: int = 10_000) -> Dataset:
    """Return images of MNIST's shapes and sparsity, always the same ones.

    A fixed template a class, its zeros in one connected border as in MNIST (81% of all pixels),
    with noise on the pixels that are not zero.

    Parameters
    ----------
    n_train, n_test : int
        Samples to train on and to test.

    Returns
    -------
    Dataset
        Images as uint8 (n, 784), labels 0..9 as int64.

    Examples
    --------
    >>> images = synthetic_mnist(1000, 0).x_train
    >>> round(float((images == 0).mean()), 2)
    0.81
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

    def draw(n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = rng.integers(0, 10, n)
        images = np.empty((n, 784), np.uint8)
        for start in range(0, n, 10_000):
            chosen = templates[labels[start : start + 10_000]]
            noise = rng.integers(-90, 76, chosen.shape, dtype=np.int16)
            images[start : start + 10_000] = np.where(chosen > 0, chosen + noise, 0)
        return images, labels.astype(np.int64)

    return Dataset(*draw(n_train), *draw(n_test))
