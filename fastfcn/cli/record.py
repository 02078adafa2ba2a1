"""A training run: what was asked for, what it gave, and how that is written and told."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import fastfcn
from fastfcn import runs
from fastfcn.cli.data import TITLES, Data
from fastfcn.cli.messages import count

if TYPE_CHECKING:
    from fastfcn import nn
    from fastfcn.history import Evaluation, History


SHIFT = 0.0
"""What is added to the data: nothing."""


class Options(NamedTuple):
    """What ``fastfcn train`` was asked for."""

    dataset: str | None
    layers: tuple[int, ...]
    activation: str
    epochs: int
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    batch_size: int
    dtype: str
    seed: int
    threads: int | None
    root: Path | None
    output: Path | None
    progress: bool


class Run(NamedTuple):
    """What training gave."""

    net: "nn.Sequential"
    history: "History"
    train: "Evaluation"
    test: "Evaluation"
    seconds_around: float
    """Evaluating after each epoch, and compiling what that needs."""
    interrupted: bool


def write(
    folder: Path,
    started: datetime,
    options: Options,
    data: Data,
    architecture: runs.Architecture,
    run: Run,
) -> None:
    """Write a run's model, history, configuration and curves to its folder."""
    import platform

    import numba
    import numpy as np

    from fastfcn import plots

    # The model first: it is what took the time.
    runs.save_model(folder / "model.safetensors", run.net, architecture, data.scale, SHIFT)
    columns = run.history.as_dict()
    runs.write_history(folder / "history.csv", columns)
    config = {
        # The names of the options, so that each line is one to pass again.
        "train": options._asdict() | {"dataset": data.name, "output": folder},
        "model": {
            "sizes": architecture.sizes,
            "parameters": architecture.parameters,
            "loss": "CrossEntropyLoss",
            "optimizer": "SGD",
            "scale": data.scale,
            "shift": SHIFT,
        },
        "made_with": {
            "fastfcn": fastfcn.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "platform": platform.platform(),
        },
        "result": {
            "started": started.isoformat(timespec="seconds"),
            "epochs_done": len(run.history),
            "interrupted": run.interrupted,
            "train_loss": run.train.loss,
            "train_accuracy": run.train.accuracy,
            "test_loss": run.test.loss,
            "test_accuracy": run.test.accuracy,
            "training_seconds": sum(run.history.seconds),
            "compile_seconds": run.history.compile_seconds,
        },
    }
    (folder / "config.toml").write_text(runs.to_toml(config), encoding="utf-8")
    title = f"{TITLES[data.name]}, {_joined(architecture.sizes)}"
    plots.curves(columns, title).savefig(folder / "curves.png", dpi=150)


def _joined(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def summary(
    folder: Path, options: Options, data: Data, architecture: runs.Architecture, run: Run
) -> str:
    """Return what the terminal shows of a run, a line a fact."""
    history = run.history
    x_train, _, x_test, _ = data.arrays
    seconds = sum(history.seconds)
    speed = len(history) * len(x_train) / max(seconds, 1e-9)
    momentum = "Nesterov momentum" if options.nesterov else "momentum"
    sgd = f"SGD, lr {options.lr:g}, {momentum} {options.momentum:g}"
    if options.weight_decay:
        sgd += f", weight decay {options.weight_decay:g}"
    rows = [
        (
            "data",
            f"{TITLES[data.name]}: {len(x_train):,} training and {len(x_test):,} test samples",
        ),
        ("layers", f"{_joined(architecture.sizes)}, {options.activation}, {options.dtype}"),
        ("parameters", f"{architecture.parameters:,}"),
        ("optimiser", f"{sgd}, batch {options.batch_size}, seed {options.seed}"),
        (
            "training",
            f"{count(len(history), 'epoch')} in {seconds:.2f} s"
            f"  (evaluation after each: {run.seconds_around:.2f} s, not counted)",
        ),
        ("compiling", f"{history.compile_seconds:.2f} s, or loading from disk; not counted"),
        ("speed", f"{speed:,.0f} samples/s"),
        (
            "",
            f"{speed * architecture.flops_per_sample / 1e9:,.1f} GFLOP/s  (dense matrix products: "
            f"{architecture.flops_per_sample:,} FLOP a sample)",
        ),
        ("train", _score(run.train)),
        ("test", _score(run.test)),
        ("written", str(folder)),
    ]
    return "\n".join(f"{name:<10}  {text}" for name, text in rows)


def _score(result: "Evaluation") -> str:
    return f"accuracy {result.accuracy:.4f}  loss {result.loss:.4f}"
