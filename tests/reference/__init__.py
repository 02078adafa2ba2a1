"""The oracle: what every layer, activation, loss and optimiser must compute, in float64 NumPy.

Imports numpy (and math) only and shares no code with the package it judges. Written for reading
beside the formulas: a = h(z), z = a W + b, δ is the gradient of the loss, rows are samples.
"""

from reference.activations import (
    ACTIVATIONS,
    activate,
    activation_vjp,
    d_elu,
    d_leaky_relu,
    elu,
    leaky_relu,
    log_softmax,
    sigmoid,
    softmax,
    softmax_vjp,
)
from reference.arrays import f64
from reference.differences import numerical_gradient
from reference.initialisers import (
    kaiming_normal_std,
    kaiming_uniform_bound,
    xavier_normal_std,
    xavier_uniform_bound,
)
from reference.layers import batch_norm, layer_norm, linear_backward, linear_forward, magnitude
from reference.losses import LOSSES, cross_entropy, huber, one_hot
from reference.networks import network_backward, network_forward, train, training_step
from reference.optimisers import OPTIMISERS, sgd

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "OPTIMISERS",
    "activate",
    "activation_vjp",
    "batch_norm",
    "cross_entropy",
    "d_elu",
    "d_leaky_relu",
    "elu",
    "f64",
    "huber",
    "kaiming_normal_std",
    "kaiming_uniform_bound",
    "layer_norm",
    "leaky_relu",
    "linear_backward",
    "linear_forward",
    "log_softmax",
    "magnitude",
    "network_backward",
    "network_forward",
    "numerical_gradient",
    "one_hot",
    "sgd",
    "sigmoid",
    "softmax",
    "softmax_vjp",
    "train",
    "training_step",
    "xavier_normal_std",
    "xavier_uniform_bound",
]
