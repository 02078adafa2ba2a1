"""Layers and networks."""

from fastfcn.nn import init
from fastfcn.nn.activations import (
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastfcn.nn.containers import Module, Sequential
from fastfcn.nn.layer import Layer
from fastfcn.nn.linear import Linear
from fastfcn.nn.parameter import Parameter

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "init",
]
