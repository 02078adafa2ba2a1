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
from fastfcn.nn.dropout import Dropout
from fastfcn.nn.flatten import Flatten
from fastfcn.nn.layer import Layer
from fastfcn.nn.linear import Linear
from fastfcn.nn.normalisation import BatchNorm1d, LayerNorm
from fastfcn.nn.parameter import Parameter
from fastfcn.nn.summary import Summary

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "BatchNorm1d",
    "Dropout",
    "Flatten",
    "Identity",
    "Layer",
    "LayerNorm",
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
    "Summary",
    "Tanh",
    "init",
]
