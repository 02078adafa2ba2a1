"""The network, the loss and the optimiser that options ask for."""

from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from fastfcn import losses, nn, optim, schedules
    from fastfcn.callbacks import ReduceLROnPlateau
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


class OptimizerKind(NamedTuple):
    """An optimiser of :mod:`fastfcn.optim`, and what its options are by default."""

    name: str
    lr: float
    weight_decay: float = 0.0
    momentum: float | None = None
    takes: tuple[str, ...] = ()


OPTIMIZERS = {
    "sgd": OptimizerKind("SGD", 0.02, momentum=0.9, takes=("momentum", "nesterov")),
    "adam": OptimizerKind("Adam", 0.001),
    "adamw": OptimizerKind("AdamW", 0.001, weight_decay=0.01),
    "rmsprop": OptimizerKind("RMSprop", 0.001, momentum=0.0, takes=("momentum",)),
    "adagrad": OptimizerKind("Adagrad", 0.01),
}
"""Optimisers by their names here."""

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
            raise click.BadParameter(
                f"is for --schedule {' or '.join(kinds)}, got {options.schedule}.",
                param_hint=f"'--{name.replace('_', '-')}'",
            )
    if options.schedule == "plateau" and options.schedule_factor and options.schedule_factor >= 1.0:
        raise click.BadParameter("must be below 1.", param_hint="'--schedule-factor'")
    for name in ("momentum", "nesterov"):
        if given[name] and name not in kind.takes:
            having = [other for other, of in OPTIMIZERS.items() if name in of.takes]
            raise click.BadParameter(
                f"is for --optimizer {' or '.join(having)}, got {options.optimizer}.",
                param_hint=f"'--{name}'",
            )
    return options._replace(
        lr=kind.lr if options.lr is None else options.lr,
        momentum=kind.momentum if options.momentum is None else options.momentum,
        weight_decay=kind.weight_decay if options.weight_decay is None else options.weight_decay,
    )


def optimizer(options: "Options", net: "nn.Sequential") -> "optim.Optimizer":
    """Make the optimiser."""
    from fastfcn import optim

    kind = OPTIMIZERS[options.optimizer]
    extra = {name: getattr(options, name) for name in kind.takes}
    made: optim.Optimizer = getattr(optim, kind.name)(
        net.parameters(), lr=options.lr, weight_decay=options.weight_decay, **extra
    )
    return made
