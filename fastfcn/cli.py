"""The command line: ``fastfcn train``.

Nothing but click is imported until a command runs, so that --help answers at once.
"""

import contextlib
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

import fastfcn
from fastfcn import runs

if TYPE_CHECKING:
    from fastfcn import nn
    from fastfcn.datasets import Dataset
    from fastfcn.history import Evaluation, History

_INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it: 128 + SIGINT."""

_TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits (scikit-learn)"}


class _Finite(click.FloatRange):
    """A range of floats, without NaN and infinity, which pass click's comparisons."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Read sizes of hidden layers, separated by spaces or commas."""
    words = [word for word in re.split(r"[,\s]+", value) if word]
    for word in words:
        if not re.fullmatch(r"0*[1-9][0-9]*", word, re.ASCII):
            raise click.BadParameter(f"{word!r} is not a whole number above 0.", ctx, param)
    if not words:
        raise click.BadParameter("give the size of at least one hidden layer.", ctx, param)
    return tuple(int(word) for word in words)


class _TrainCommand(click.Command):
    """A command whose --layers takes every value up to the next option.

    click's options take a fixed number of values. The command has no positional arguments, so
    whatever follows --layers and is no option is a size: joined into one value before click parses.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_values(ctx, args, "--layers"))


def _join_values(ctx: click.Context, args: Sequence[str], option: str) -> list[str]:
    joined: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word == "--":
            return joined + rest
        if word == option:
            values = []
            # -5 is a size, if a wrong one: the error should say so.
            while rest and (not rest[0].startswith("-") or re.match(r"-[0-9.]", rest[0])):
                values.append(rest.pop(0))
            if not values and not ctx.resilient_parsing:
                raise click.BadOptionUsage(
                    option, f"Option '{option}' requires at least one size: {option} 256 128", ctx
                )
            joined.append(" ".join(values))
    return joined


class _Options(NamedTuple):
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


class _Data(NamedTuple):
    """A data set, its name, and the factor that brings its values to [0, 1]."""

    name: str
    arrays: "Dataset"
    scale: float


_SHIFT = 0.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fastfcn.__version__, prog_name="fastfcn")
def main() -> None:
    """Train fully connected networks on the CPU, at the speed the hardware allows."""


@main.command(cls=_TrainCommand, context_settings={"max_content_width": 100})
@click.option(
    "--dataset",
    type=click.Choice(list(_TITLES)),
    help="What to train on. [default: mnist if it is found or can be downloaded, else digits]",
)
@click.option(
    "--layers",
    callback=_sizes,
    default="256 128",
    show_default=True,
    metavar="SIZE...",
    help="Sizes of the hidden layers.",
)
@click.option(
    "--activation",
    type=click.Choice(list(runs.ACTIVATIONS)),
    default="relu",
    show_default=True,
    help="Activation of the hidden layers.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Passes over the training samples.",
)
@click.option(
    "--lr",
    type=_Finite(min=0.0, min_open=True),
    default=0.02,
    show_default=True,
    help="Learning rate.",
)
@click.option(
    "--momentum",
    type=_Finite(min=0.0, max=1.0, max_open=True),
    default=0.9,
    show_default=True,
    help="Momentum.",
)
@click.option("--nesterov", is_flag=True, help="Nesterov's form of momentum.")
@click.option(
    "--weight-decay",
    type=_Finite(min=0.0),
    default=0.0,
    show_default=True,
    help="Factor of the parameters that is added to their gradients.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Samples a step.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the network.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the initial parameters and of the batches' order.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads; results do not depend on it. [default: as many as there are processors]",
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to look for the data in first, and to download it to; holds MNIST/raw/...  "
    "[default: $FASTFCN_DATA, then the user's cache]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write the run to, new or empty. [default: runs/DATASET-YYYYmmdd-HHMMSS]",
)
@click.option(
    "--progress/--no-progress",
    default=True,
    help="Show progress: a bar, or a line an epoch where that is no terminal. [default: progress]",
)
def train(**given: Any) -> None:
    """Train a classifier, and write its model, history, configuration and curves to a folder.

    Without options: 784-256-128-10 on MNIST, 20 epochs of momentum SGD, and softmax with
    cross-entropy as the loss. Ctrl-C stops early and keeps the epochs that are done.
    """
    with _clean_errors():
        _train(_Options(**given))


@contextlib.contextmanager
def _clean_errors() -> Iterator[None]:
    """Turn what users can cause into a line on standard error."""
    try:
        yield
    except KeyboardInterrupt:
        _stop("Interrupted; nothing was written.", _INTERRUPTED)
    except MemoryError as error:
        _stop(f"Error: not enough memory; choose smaller --layers. {error}".rstrip(), 1)
    except OSError as error:
        _stop(f"Error: {error}", 1)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    raise click.exceptions.Exit(code)


def _train(options: _Options) -> None:
    if options.nesterov and options.momentum == 0.0:
        raise click.BadParameter("needs --momentum above 0.", param_hint="'--nesterov'")
    if options.output is not None and _is_taken(options.output):
        raise click.BadParameter(
            f"{options.output} must be a new or an empty folder: runs never overwrite; choose "
            "another.",
            param_hint="'--output'",
        )
    if options.threads is not None:
        from fastfcn.threads import check_threads

        with _as_bad_parameter("--threads"):
            check_threads(options.threads)

    data = _load(options.dataset, options.root)
    samples = len(data.arrays.x_train)
    if options.batch_size > samples:
        raise click.BadParameter(
            f"must be at most the {samples:,} training samples of {data.name}, got "
            f"{options.batch_size}.",
            param_hint="'--batch-size'",
        )
    classes = int(max(data.arrays.y_train.max(), data.arrays.y_test.max())) + 1
    sizes = (data.arrays.x_train.shape[1], *options.layers, classes)
    architecture = runs.Architecture(sizes, options.activation, options.dtype)

    started = datetime.now().astimezone()
    if options.output is not None:
        folder = runs.claim_folder(options.output)
    else:
        folder = runs.claim_new_folder(Path("runs") / f"{data.name}-{started:%Y%m%d-%H%M%S}")
    try:
        run = _fit(options, data, architecture)
        _write(folder, started, options, data, architecture, run)
    finally:
        # Only an empty folder goes: a run that broke off before it had anything to keep.
        with contextlib.suppress(OSError):
            folder.rmdir()
    click.echo(_summary(folder, options, data, architecture, run))
    if run.interrupted:
        _stop(
            f"Interrupted: {folder} holds the run as it was after epoch {len(run.history)} of "
            f"{options.epochs}.",
            _INTERRUPTED,
        )
    if not math.isfinite(run.history.loss[-1]):
        _stop("Error: the loss is not finite: training diverged; try a smaller --lr.", 1)


def _is_taken(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


@contextlib.contextmanager
def _as_bad_parameter(option: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=f"'{option}'") from error


def _load(name: str | None, root: Path | None) -> _Data:
    """Load a data set; without a name MNIST, or the digits where there is no way to it."""
    from fastfcn import datasets

    if name == "digits":
        return _Data(name, datasets.digits(), 1.0)
    load = datasets.fashion_mnist if name == "fashion_mnist" else datasets.mnist
    wanted = name or "mnist"
    try:
        arrays = _found_or_downloaded(load, _TITLES[wanted], root)
    except datasets.DatasetUnavailable as error:
        if name is not None:
            _stop(f"Error: {error}", 1)
        click.echo(
            "MNIST was not found and could not be downloaded: training on scikit-learn's bundled "
            "digits instead. To get MNIST, put its four IDX files in FOLDER/MNIST/raw and pass "
            "--root FOLDER or set FASTFCN_DATA=FOLDER ('--dataset mnist' lists files and mirrors).",
            err=True,
        )
        return _Data("digits", datasets.digits(), 1.0)
    except datasets.IDXError as error:
        # Never a reason to fall back: the files are there, and someone should know.
        _stop(f"Error: {error}", 1)
    return _Data(wanted, arrays, 1.0 / 255.0)


def _found_or_downloaded(
    load: Callable[..., "Dataset"], title: str, root: Path | None
) -> "Dataset":
    from fastfcn.datasets import DatasetUnavailable

    try:
        return load(root, download=False)
    except DatasetUnavailable:
        # A mirror that does not answer takes seconds to give up on.
        click.echo(f"Downloading {title}, which is not on this machine yet.", err=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return load(root, download=True)
        finally:
            for warning in caught:
                if issubclass(warning.category, UserWarning):
                    click.echo(f"Note: {warning.message}", err=True)


class _Run(NamedTuple):
    """What training gave."""

    net: "nn.Sequential"
    history: "History"
    train: "Evaluation"
    test: "Evaluation"
    seconds_around: float
    """Evaluating after each epoch, and compiling what that needs."""
    interrupted: bool


def _fit(options: _Options, data: _Data, architecture: runs.Architecture) -> _Run:
    import numpy as np

    from fastfcn import losses, optim
    from fastfcn.training import evaluate, fit

    net = architecture.build(np.random.default_rng(options.seed))
    criterion = losses.CrossEntropyLoss()
    optimizer = optim.SGD(
        net.parameters(),
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
    )
    x_train, y_train, x_test, y_test = data.arrays
    # The last whole epoch, for Ctrl-C: the model that is kept is the one the history's last row
    # is about, not one some steps further.
    done: dict[str, Any] = {}

    def remember(epoch: int, history: "History") -> None:
        done.update(history=history, state=net.state_dict())

    began = time.perf_counter()
    interrupted = False
    try:
        history = fit(
            net,
            x_train,
            y_train,
            loss=criterion,
            optimizer=optimizer,
            batch_size=options.batch_size,
            epochs=options.epochs,
            validation_data=(x_test, y_test),
            seed=options.seed,
            n_threads=options.threads,
            progress=options.progress,
            callback=remember,
            scale=data.scale,
            shift=_SHIFT,
        )
    except KeyboardInterrupt:
        if not done:
            raise
        interrupted = True
        history = done["history"]
        _keep_whole_epochs(history)
        net.load_state_dict(done["state"])
    around = time.perf_counter() - began - history.compile_seconds - sum(history.seconds)
    on_train, on_test = (
        evaluate(
            net, x, y, loss=criterion, scale=data.scale, shift=_SHIFT, n_threads=options.threads
        )
        for x, y in ((x_train, y_train), (x_test, y_test))
    )
    return _Run(net, history, on_train, on_test, max(around, 0.0), interrupted)


def _keep_whole_epochs(history: "History") -> None:
    """Cut a row that Ctrl-C left half written: the columns are filled one after the other."""
    columns = [column for column in vars(history).values() if isinstance(column, list)]
    whole = min(map(len, columns))
    for column in columns:
        del column[whole:]


def _write(
    folder: Path,
    started: datetime,
    options: _Options,
    data: _Data,
    architecture: runs.Architecture,
    run: _Run,
) -> None:
    import platform

    import numba
    import numpy as np

    from fastfcn import plots

    # The model first: it is what took the time.
    runs.save_model(folder / "model.safetensors", run.net, architecture, data.scale, _SHIFT)
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
            "shift": _SHIFT,
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
    title = f"{_TITLES[data.name]}, {_joined(architecture.sizes)}"
    plots.curves(columns, title).savefig(folder / "curves.png", dpi=150)


def _joined(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def _summary(
    folder: Path, options: _Options, data: _Data, architecture: runs.Architecture, run: _Run
) -> str:
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
            f"{_TITLES[data.name]}: {len(x_train):,} training and {len(x_test):,} test samples",
        ),
        ("layers", f"{_joined(architecture.sizes)}, {options.activation}, {options.dtype}"),
        ("parameters", f"{architecture.parameters:,}"),
        ("optimiser", f"{sgd}, batch {options.batch_size}, seed {options.seed}"),
        (
            "training",
            f"{_count(len(history), 'epoch')} in {seconds:.2f} s"
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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _score(result: "Evaluation") -> str:
    return f"accuracy {result.accuracy:.4f}  loss {result.loss:.4f}"
