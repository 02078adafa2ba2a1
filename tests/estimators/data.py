"""Small data sets, read once."""

import functools
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.preprocessing import scale


@functools.cache
def digits(classes: int, n: int = 200) -> tuple[Any, Any]:
    """The first digits of few classes, pixels in [0, 1]."""
    x, y = load_digits(n_class=classes, return_X_y=True)
    return x[:n] / 16.0, y[:n]


@functools.cache
def iris() -> tuple[Any, Any]:
    x, y = load_iris(return_X_y=True)
    return scale(x), y


@functools.cache
def line(n: int = 200, targets: int = 1) -> tuple[Any, Any]:
    """A noisy linear function of ten features."""
    x, y = make_regression(n, 10, n_targets=targets, bias=20.0, noise=100.0, random_state=7)
    return x, scale(y)


@functools.cache
def several_labels(n: int = 60) -> tuple[Any, Any]:
    x, y = make_multilabel_classification(n, n_features=10, n_classes=4, random_state=0)
    return scale(x), y


@functools.cache
def counts(n: int = 200) -> tuple[Any, Any]:
    """Counts whose rate grows with the one feature."""
    x = np.linspace(0.0, 1.0, n)
    return x[:, None], np.random.default_rng(0).poisson(np.exp(x + 1.0)).astype(float)
