"""Optimisers."""

from fastfcn.optim.adagrad import Adagrad
from fastfcn.optim.adam import Adam, AdamW
from fastfcn.optim.lbfgs import LBFGS
from fastfcn.optim.optimizer import Optimizer
from fastfcn.optim.rmsprop import RMSprop
from fastfcn.optim.sgd import SGD

__all__ = ["LBFGS", "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
