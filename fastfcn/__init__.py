"""Fully connected networks, trained on the CPU at the speed the hardware allows.

>>> import numpy as np
>>> import fastfcn as ff
>>> from fastfcn import losses, nn, optim
>>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
>>> x, y = np.random.default_rng(0).random((60, 4)), np.arange(60) % 3
>>> history = ff.fit(
...     net, x, y, loss=losses.CrossEntropyLoss(), optimizer=optim.SGD(net.parameters(), lr=0.1),
...     batch_size=20, epochs=3, seed=0)
>>> ff.predict(net, x).shape
(60, 3)
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastfcn.version import __version__

if TYPE_CHECKING:
    from fastfcn import callbacks, datasets, losses, models, nn, optim, plots, schedules
    from fastfcn.epochs import batch_order
    from fastfcn.estimators import FCNClassifier, FCNRegressor
    from fastfcn.history import History
    from fastfcn.lr_finder import lr_find
    from fastfcn.metrics import accuracy, confusion_matrix, one_hot
    from fastfcn.models import load, save
    from fastfcn.precompile import warmup
    from fastfcn.training import evaluate, fit, predict, predict_proba
    from fastfcn.weights import load_weights, save_weights

_HOMES = {
    "FCNClassifier": "estimators",
    "FCNRegressor": "estimators",
    "accuracy": "metrics",
    "confusion_matrix": "metrics",
    "one_hot": "metrics",
    "History": "history",
    "batch_order": "epochs",
    "evaluate": "training",
    "fit": "training",
    "load": "models",
    "load_weights": "weights",
    "lr_find": "lr_finder",
    "predict": "training",
    "predict_proba": "training",
    "save": "models",
    "save_weights": "weights",
    "warmup": "precompile",
}
_MODULES = (
    "callbacks",
    "datasets",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "plots",
    "schedules",
    "training",
)

__all__ = [
    "FCNClassifier",
    "FCNRegressor",
    "History",
    "__version__",
    "accuracy",
    "batch_order",
    "callbacks",
    "confusion_matrix",
    "datasets",
    "evaluate",
    "fit",
    "load",
    "load_weights",
    "losses",
    "lr_find",
    "models",
    "nn",
    "one_hot",
    "optim",
    "plots",
    "predict",
    "predict_proba",
    "save",
    "save_weights",
    "schedules",
    "warmup",
]


def __getattr__(name: str) -> Any:
    """Load parts on first use: ``import fastfcn`` and the command line's --help stay fast."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"fastfcn.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"fastfcn.{name}")
    else:
        raise AttributeError(f"module 'fastfcn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
