"""The network, the loss and the optimiser that options ask for."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fastfcn import losses, nn, optim
    from fastfcn.cli.data import Data
    from fastfcn.cli.record import Options

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "softplus": "Softplus",
    "identity": "Identity",
}
"""Activations of the hidden layers by their names here, and their classes in :mod:`fastfcn.nn`."""

LOSSES = {
    "cross_entropy": "classification",
    "mse": "regression",
    "mae": "regression",
    "huber": "regression",
    "poisson": "regression",
}
"""Losses by their names here, and the task each is for."""

DEFAULT_LOSSES = {"classification": "cross_entropy", "regression": "mse"}


def network(options: "Options", features: int, outputs: int) -> "nn.Sequential":
    """Make the network, its initial parameters drawn from the seed."""
    import numpy as np

    from fastfcn import nn

    rng = np.random.default_rng(options.seed)
    activation = getattr(nn, ACTIVATIONS[options.activation])
    dtype = np.dtype(options.dtype)
    layers: list[Any] = []
    for size in options.layers:
        layers.append(nn.Linear(features, size, dtype=dtype, rng=rng))
        if options.batch_norm:
            layers.append(nn.BatchNorm1d(size, dtype=dtype))
        if options.layer_norm:
            layers.append(nn.LayerNorm(size, dtype=dtype))
        layers.append(activation())
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        features = size
    return nn.Sequential(*layers, nn.Linear(features, outputs, dtype=dtype, rng=rng))


def sizes(net: "nn.Sequential") -> tuple[int, ...]:
    """Return the features of the input and of each linear layer's output."""
    return (net.linears[0].in_features, *[layer.out_features for layer in net.linears])


def parameters(net: "nn.Sequential") -> int:
    """Return the number of trainable values."""
    return sum(parameter.size for parameter in net.parameters())


def criterion(options: "Options", data: "Data") -> "losses.Loss":
    """Make the loss that fits the task."""
    from fastfcn import losses

    task = data.about["task"]
    name = options.loss or DEFAULT_LOSSES[task]
    if LOSSES[name] != task:
        fitting = [name for name, of in LOSSES.items() if of == task]
        raise click.BadParameter(
            f"must be one of {', '.join(fitting)} for {task}, got {name}.", param_hint="'--loss'"
        )
    if name == "cross_entropy":
        weight = _balanced(data) if options.class_weight == "balanced" else None
        return losses.CrossEntropyLoss(weight, label_smoothing=options.label_smoothing)
    for option, value in (
        ("--label-smoothing", options.label_smoothing),
        ("--class-weight", options.class_weight),
    ):
        if value:
            raise click.BadParameter(f"needs classes, and the task is {task}.", param_hint=option)
    kinds = {"mse": losses.MSELoss, "mae": losses.L1Loss, "huber": losses.HuberLoss}
    return kinds[name]() if name in kinds else losses.PoissonNLLLoss()


def _balanced(data: "Data") -> Any:
    """Return a weight for each class that makes all of them count alike."""
    import numpy as np

    counts = np.bincount(data.train.y, minlength=data.outputs)
    return counts.sum() / (data.outputs * np.maximum(counts, 1))


def optimizer(options: "Options", net: "nn.Sequential") -> "optim.SGD":
    """Make the optimiser."""
    from fastfcn import optim

    return optim.SGD(
        net.parameters(),
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
    )
