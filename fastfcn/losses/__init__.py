"""Losses: call one for its value, ``.grad`` for the output delta.

Value and gradient always belong to one reduction: ``grad`` is the gradient of what the call returns
(for ``reduction="none"``, of its sum). Values are float64.
"""

from fastfcn.losses.binary import BCELoss, BCEWithLogitsLoss
from fastfcn.losses.labels import CrossEntropyLoss, NLLLoss
from fastfcn.losses.loss import Loss
from fastfcn.losses.regression import HuberLoss, L1Loss, MSELoss, PoissonNLLLoss
from fastfcn.losses.targets import Targets

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "Targets",
]
