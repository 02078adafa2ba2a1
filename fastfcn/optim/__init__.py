"""Optimisers."""

from fastfcn.optim.optimizer import Optimizer
from fastfcn.optim.sgd import SGD

__all__ = ["SGD", "Optimizer"]
