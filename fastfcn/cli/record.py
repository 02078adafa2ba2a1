"""A training run: what was asked for, what it gave, and how that is written and told."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fastfcn
from fastfcn import runs
from fastfcn.cli import network
from fastfcn.cli.data import Data
from fastfcn.cli.messages import count
from fastfcn.cli.scores import told

if TYPE_CHECKING:
    from fastfcn.history import History
    from fastfcn.models import Model


class Options(NamedTuple):
    """What ``fastfcn train`` was asked for; what has a default, ``fastfcn lr-find`` has not."""

    dataset: str | None
    data: Path | None
    target: str | None
    exclude: tuple[str, ...]
    image_size: tuple[int, int] | None
    task: str | None
    standardize: bool | None
    validation: float | None
    root: Path | None
    layers: tuple[int, ...]
    activation: str
    dropout: float
    batch_norm: bool
    layer_norm: bool
    dtype: str
    loss: str | None
    label_smoothing: float
    class_weight: tuple[str, ...]
    optimizer: str
    momentum: float | None
    nesterov: bool
    weight_decay: float | None
    clip_norm: float | None
    batch_size: int | None
    seed: int
    threads: int | None
    output: Path | None
    epochs: int = 1
    lr: float | None = None
    history_size: int | None = None
    tolerance_grad: float | None = None
    tolerance_change: float | None = None
    schedule: str = "constant"
    schedule_epochs: int | None = None
    schedule_factor: float | None = None
    warm_up: int | None = None
    ema: float | None = None
    early_stopping: int | None = None
    resume: Path | None = None
    tensorboard: bool = False
    progress: bool = False


class Run(NamedTuple):
    """What training gave."""

    model: "Model"
    history: "History"
    scores: dict[str, dict[str, Any]]
    """On the training samples and on those held out, by their names."""
    seconds_around: float
    """Evaluating after each epoch, and compiling what that needs."""
    interrupted: bool


def table(options: Options, data: Data) -> dict[str, Any]:
    """Return the options as ``--config`` takes them, by name; None for those not set."""
    chosen = options._asdict()
    for name in ("output", "resume"):
        del chosen[name]
    if options.data is None:
        chosen["dataset"] = data.name
    else:
        chosen["data"] = str(options.data.resolve())
    chosen["root"] = None if options.root is None else str(options.root)
    return {k: (list(v) or None) if isinstance(v, tuple) else v for k, v in chosen.items()}


def write_options(
    folder: Path, options: Options, data: Data, result: dict[str, Any] | None = None
) -> None:
    """Write the options, so that the file can be given to ``--config``; and what came of them."""
    tables = {"train": table(options, data)} | (result or {})
    (folder / "config.toml").write_text(runs.to_toml(tables), encoding="utf-8")


def write(folder: Path, started: datetime, options: Options, data: Data, run: Run) -> None:
    """Write a run's model, history, configuration and curves to its folder."""
    import platform

    import numba
    import numpy as np

    from fastfcn import models, plots

    # The model first: it is what took the time.
    models.save(folder / "model.safetensors", run.model)
    columns = run.history.as_dict()
    runs.write_history(folder / "history.csv", columns)
    net = run.model.net
    found = {
        f"{part}_{name}": value
        for part, values in run.scores.items()
        for name, value in values.items()
        if name != "samples"
    }
    result = {
        "model": {
            "sizes": network.sizes(net),
            "parameters": net.summary().parameters,
            "task": run.model.task,
            "loss": type(run.model.loss).__name__,
        },
        "made_with": {
            "fastfcn": fastfcn.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "platform": platform.platform(),
        },
        "result": {
            "folder": folder,
            "started": started.isoformat(timespec="seconds"),
            "epochs_done": len(run.history),
            "interrupted": run.interrupted,
            **found,
            "training_seconds": sum(run.history.seconds),
            "compile_seconds": run.history.compile_seconds,
        },
    }
    write_options(folder, options, data, result)
    title = f"{data.title}, {_joined(network.sizes(net))}"
    plots.curves(columns, title).savefig(folder / "curves.png", dpi=150)


def _joined(sizes: tuple[int, ...]) -> str:
    return "-".join(map(str, sizes))


def summary(folder: Path, options: Options, data: Data, run: Run) -> str:
    """Return what the terminal shows of a run, a line a fact."""
    history, net = run.history, run.model.net
    whole = net.summary()
    samples = len(data.train.y)
    seconds = sum(history.seconds)
    speed = len(history) * samples / max(seconds, 1e-9)
    flops = whole.training_flops
    steps = network.OPTIMIZERS[options.optimizer].name
    if options.lr is not None:
        steps += f", lr {options.lr:g}"
    if options.momentum is not None:
        steps += f", {'Nesterov momentum' if options.nesterov else 'momentum'} {options.momentum:g}"
    if options.weight_decay:
        steps += f", weight decay {options.weight_decay:g}"
    if options.schedule != "constant":
        steps += f", {options.schedule} schedule"
    if options.ema is not None:
        steps += f", average of the weights {options.ema:g}"
    steps += ", all samples" if options.batch_size is None else f", batch {options.batch_size}"
    parts = [("training", data.train), *data.held_out.items()]
    sizes = [f"{len(part.y):,} {name}" for name, part in parts]
    joined = f"{', '.join(sizes[:-1])} and {sizes[-1]}" if len(sizes) > 1 else sizes[0]
    layers = [_joined(network.sizes(net)), options.activation]
    layers += ["batch normalisation"] * options.batch_norm
    layers += ["layer normalisation"] * options.layer_norm
    layers += [f"dropout {options.dropout:g}"] * (options.dropout > 0.0)
    rows = [
        ("data", f"{data.title}: {joined} samples"),
        ("layers", ", ".join([*layers, options.dtype])),
        ("parameters", f"{whole.parameters:,}"),
        ("optimiser", f"{steps}, seed {options.seed}"),
        (
            "training",
            f"{count(len(history), 'epoch')} in {seconds:.2f} s"
            f"  (evaluation after each: {run.seconds_around:.2f} s, not counted)",
        ),
        ("compiling", f"{history.compile_seconds:.2f} s, or loading from disk; not counted"),
        ("speed", f"{speed:,.0f} samples/s"),
        (
            "",
            f"{speed * flops / 1e9:,.1f} GFLOP/s  (dense matrix products: {flops:,} FLOP a sample)",
        ),
        *[(part, told(found)) for part, found in run.scores.items()],
        ("written", str(folder)),
    ]
    if history.stop_reason is not None and not run.interrupted:
        rows.insert(-1, ("stopped", history.stop_reason))
    if options.data is not None:
        rows.insert(1, ("task", _task(run.model)))
    return "\n".join(f"{name:<10}  {text}" for name, text in rows)


def _task(model: "Model") -> str:
    if model.classes is None:
        return f"regression of {model.target_name}"
    shown = ", ".join(map(str, model.classes[:5])) + (" ..." if len(model.classes) > 5 else "")
    what = "" if model.target_name is None else f" of {model.target_name}"
    return f"classification{what}, {len(model.classes)} classes: {shown}"
