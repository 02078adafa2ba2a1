"""The network, the loss and the optimiser that options ask for."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from fastfcn import losses, nn, optim, schedules
    from fastfcn.callbacks import ReduceLROnPlateau
    from fastfcn.cli.data import Data
    from fastfcn.cli.record import Options
    from fastfcn.models import Model

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


class OptimizerKind(NamedTuple):
    """An optimiser of :mod:`fastfcn.optim`."""

    name: str
    defaults: dict[str, Any]
    """The options it has besides weight decay, and what they are by default."""
    weight_decay: float = 0.0


OPTIMIZERS = {
    "sgd": OptimizerKind("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": False}),
    "adam": OptimizerKind("Adam", {"lr": 0.001}),
    "adamw": OptimizerKind("AdamW", {"lr": 0.001}, weight_decay=0.01),
    "rmsprop": OptimizerKind("RMSprop", {"lr": 0.001, "momentum": 0.0}),
    "adagrad": OptimizerKind("Adagrad", {"lr": 0.01}),
    "lbfgs": OptimizerKind(
        "LBFGS", {"history_size": 10, "tolerance_grad": 1e-5, "tolerance_change": 1e-9}
    ),
}
"""Optimisers by their names here."""

NOT_FOR_LBFGS = ("batch_size", "clip_norm", "dropout", "batch_norm", "warm_up", "ema")
"""Options of steps over few samples; those of the schedule are another."""

SCHEDULES = (
    "constant",
    "step",
    "exponential",
    "linear",
    "cosine",
    "inverse-scaling",
    "one-cycle",
    "plateau",
)
"""Schedules of the learning rate by their names here."""

SCHEDULE_OPTIONS = {
    "schedule_epochs": ("step", "plateau"),
    "schedule_factor": ("step", "exponential", "plateau"),
}
"""Which schedules an option is for."""

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


def model(options: "Options", data: "Data", loss: "losses.Loss") -> "Model":
    """Make a network for some data, with what is known about these."""
    from fastfcn.models import Model

    return Model(network(options, data.train.x.shape[1], data.outputs), loss=loss, **data.about)


def sizes(net: "nn.Sequential") -> tuple[int, ...]:
    """Return the features of the input and of each linear layer's output."""
    return (net.linears[0].in_features, *[layer.out_features for layer in net.linears])


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
        return losses.CrossEntropyLoss(
            _class_weights(options, data), label_smoothing=options.label_smoothing
        )
    for option, value in (
        ("--label-smoothing", options.label_smoothing),
        ("--class-weight", options.class_weight),
    ):
        if value:
            raise click.BadParameter(f"needs classes, and the task is {task}.", param_hint=option)
    kinds = {"mse": losses.MSELoss, "mae": losses.L1Loss, "huber": losses.HuberLoss}
    return kinds[name]() if name in kinds else losses.PoissonNLLLoss()


def _class_weights(options: "Options", data: "Data") -> Any:
    """Return a weight for each class, or None for all alike."""
    import numpy as np

    if not options.class_weight:
        return None
    if options.class_weight == ("balanced",):
        counts = np.bincount(data.train.y, minlength=data.outputs)
        return counts.sum() / (data.outputs * np.maximum(counts, 1))
    weights = dict.fromkeys(map(str, data.about["classes"]), 1.0)
    for given in options.class_weight:
        label, _, weight = given.rpartition("=")
        if label not in weights:
            raise click.BadParameter(
                f"must be balanced alone, or CLASS=WEIGHT with a class of {data.title}, which are "
                f"{', '.join(list(weights)[:20])}; got {given}.",
                param_hint="'--class-weight'",
            )
        weights[label] = _positive(weight, given)
    return list(weights.values())


def _positive(text: str, given: str) -> float:
    import math

    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < math.inf:
            return float(text)
    raise click.BadParameter(
        f"must have a number above 0 behind the =, got {given}.", param_hint="'--class-weight'"
    )


def schedule(options: "Options") -> "schedules.Schedule | None":
    """Make the schedule of the learning rate, but for a plateau's, which is a callback."""
    from fastfcn import schedules

    kinds: dict[str, Any] = {
        "step": lambda: schedules.StepLR(
            options.schedule_epochs or max(1, options.epochs // 3), options.schedule_factor or 0.1
        ),
        "exponential": lambda: schedules.Exponential(options.schedule_factor or 0.95),
        "linear": schedules.Polynomial,
        "cosine": schedules.Cosine,
        "inverse-scaling": schedules.InverseScaling,
        "one-cycle": schedules.OneCycle,
    }
    then = kinds[options.schedule]() if options.schedule in kinds else None
    return schedules.WarmUp(epochs=options.warm_up, then=then) if options.warm_up else then


def plateau(options: "Options") -> "ReduceLROnPlateau | None":
    """Make the callback of ``--schedule plateau``."""
    from fastfcn.callbacks import ReduceLROnPlateau

    if options.schedule != "plateau":
        return None
    # Test samples must not choose anything.
    monitor = "val_loss" if options.data or options.validation else "loss"
    if options.validation == 0.0:
        monitor = "loss"
    return ReduceLROnPlateau(
        monitor, options.schedule_factor or 0.1, patience=options.schedule_epochs or 5
    )


def with_defaults(options: "Options") -> "Options":
    """Fill in what depends on the optimiser; refuse what it has not."""
    kind = OPTIMIZERS[options.optimizer]
    given = options._asdict()
    for name in ("schedule_epochs", "schedule_factor"):
        kinds = SCHEDULE_OPTIONS[name]
        if given[name] is not None and options.schedule not in kinds:
            raise _is_for(name, "schedule", kinds, options.schedule)
    if options.schedule == "plateau" and options.schedule_factor and options.schedule_factor >= 1.0:
        raise click.BadParameter("must be below 1.", param_hint="'--schedule-factor'")
    own = {name for other in OPTIMIZERS.values() for name in other.defaults}
    for name in given:
        if name in own and given[name] and name not in kind.defaults:
            having = [other for other, of in OPTIMIZERS.items() if name in of.defaults]
            raise _is_for(name, "optimizer", having, options.optimizer)
    if options.optimizer == "lbfgs":
        given["schedule"] = None if options.schedule == "constant" else options.schedule
        for name in (*NOT_FOR_LBFGS, "schedule"):
            if given[name]:
                raise click.BadParameter(
                    "is not for --optimizer lbfgs, which minimises the loss of all samples as a "
                    "function of the parameters alone.",
                    param_hint=f"'{_option(name)}'",
                )
    filled = {
        name: value for name, value in kind.defaults.items() if getattr(options, name) is None
    }
    if options.weight_decay is None:
        filled["weight_decay"] = kind.weight_decay
    return options._replace(**filled)


def _is_for(name: str, other: str, kinds: Sequence[str], got: str) -> click.BadParameter:
    """Return what says that an option goes with some choices of another only."""
    return click.BadParameter(
        f"is for --{other} {' or '.join(kinds)}, got {got}.", param_hint=f"'{_option(name)}'"
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def optimizer(options: "Options", net: "nn.Sequential") -> "optim.Optimizer":
    """Make the optimiser."""
    from fastfcn import optim

    kind = OPTIMIZERS[options.optimizer]
    own = {name: getattr(options, name) for name in kind.defaults}
    made: optim.Optimizer = getattr(optim, kind.name)(
        net.parameters(), weight_decay=options.weight_decay, **own
    )
    return made
