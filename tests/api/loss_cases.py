"""One case for each loss and each of its options, with an output and a target that fit it."""

import numpy as np

import reference

REDUCTIONS = ["mean", "batchmean", "sum", "none"]

CASES = {
    "labels": ("CrossEntropyLoss", {}, "labels"),
    "labels with weights": ("CrossEntropyLoss", {"weight": [0.5, 2.0, 1.0, 0.0, 3.0]}, "labels"),
    "ignored labels": ("CrossEntropyLoss", {"ignore_index": 2}, "labels"),
    "smoothed": ("CrossEntropyLoss", {"label_smoothing": 0.1}, "labels"),
    "everything": (
        "CrossEntropyLoss",
        {"weight": [0.5, 2.0, 1.0, 0.1, 3.0], "ignore_index": 1, "label_smoothing": 0.2},
        "labels",
    ),
    "one-hot": ("CrossEntropyLoss", {}, "one-hot"),
    "probabilities": ("CrossEntropyLoss", {}, "probabilities"),
    "weighted probabilities": (
        "CrossEntropyLoss",
        {"weight": [0.5, 2.0, 1.0, 0.1, 3.0], "label_smoothing": 0.2},
        "probabilities",
    ),
    "nll": ("NLLLoss", {}, "labels"),
    "nll with weights": ("NLLLoss", {"weight": [0.5, 2, 1, 1, 3], "ignore_index": 4}, "labels"),
    "bce": ("BCELoss", {}, "fractions"),
    "bce with logits": ("BCEWithLogitsLoss", {}, "fractions"),
    "mse": ("MSELoss", {}, "reals"),
    "half mse": ("MSELoss", {"half": True}, "reals"),
    "l1": ("L1Loss", {}, "reals"),
    "huber": ("HuberLoss", {"delta": 1.5}, "reals"),
    "poisson": ("PoissonNLLLoss", {}, "counts"),
}


def case(name, n, dtype, seed=0):
    """Return a loss's class, its options, and an output and target that fit it."""
    kind, options, target = CASES[name]
    rng = np.random.default_rng(seed)
    z = 3 * rng.normal(size=(n, 5))
    if kind == "NLLLoss":
        z = reference.log_softmax(z)
    if kind == "BCELoss":
        z = reference.sigmoid(z / 4)
    labels = rng.integers(0, 5, n)
    y = {
        "labels": labels,
        "one-hot": reference.one_hot(labels, 5),
        "probabilities": rng.dirichlet(np.ones(5), n).astype(dtype),
        "fractions": rng.random((n, 5)).astype(dtype),
        "reals": rng.normal(size=(n, 5)).astype(dtype),
        "counts": rng.poisson(2.0, (n, 5)).astype(dtype),
    }[target]
    return kind, options, z.astype(dtype), y
