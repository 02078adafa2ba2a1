"""``fastfcn train``: train a network, and keep the run."""

import contextlib
import math
import time
import zlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastfcn import runs
from fastfcn.cli import data as sources
from fastfcn.cli import network, record
from fastfcn.cli.configuration import from_config, from_run, refuse_changes
from fastfcn.cli.data import TITLES, Data
from fastfcn.cli.messages import INTERRUPTED, clean_errors, stop
from fastfcn.cli.options import Finite, LayersCommand, check_threads, sizes, threads_option
from fastfcn.cli.record import Options, Run
from fastfcn.cli.scores import scores

if TYPE_CHECKING:
    from fastfcn.checkpoints import Checkpoint
    from fastfcn.history import History
    from fastfcn.losses import Loss
    from fastfcn.models import Model

CHECKPOINT_SECONDS = 10.0
"""How much work a crash may cost; a checkpoint is written no more often."""


@click.command(
    "train",
    cls=LayersCommand,
    short_help="Train a network, and keep the run.",
    context_settings={"max_content_width": 100},
)
@click.option(
    "--dataset",
    type=click.Choice(list(TITLES)),
    help="What to train on. [default: mnist if it is found or can be downloaded, else digits]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A file to train on instead: .csv, .tsv, .parquet, .npy or .npz; or a folder of images, a "
    "subfolder a class.",
)
@click.option(
    "--target",
    metavar="COLUMN",
    help="What to predict: the column of --data; its number from 0 in .npy, the array in .npz.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="COLUMN",
    help="A column of --data to leave out, such as a row's number; may be given several times.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    nargs=2,
    metavar="HEIGHT WIDTH",
    help="What images are resized to. [default: as they are, all of one size]",
)
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    help="What kind of prediction. [default: classification if the target is text or whole numbers "
    f"of at most {sources.MANY_CLASSES} values]",
)
@click.option(
    "--standardize/--no-standardize",
    default=None,
    help="Bring each column, and the target of a regression, to mean 0 and deviation 1.  "
    "[default: standardize, except bytes, which are divided by 255]",
)
@click.option(
    "--validation",
    type=Finite(min=0.0, max=1.0, max_open=True),
    metavar="FRACTION",
    help="Share of the training samples to hold out and evaluate after each epoch.  "
    f"[default: {sources.VALIDATION} of --data; 0 of --dataset, whose test samples are evaluated]",
)
@click.option(
    "--layers",
    callback=sizes,
    default="256 128",
    show_default=True,
    metavar="SIZE...",
    help="Sizes of the hidden layers.",
)
@click.option(
    "--activation",
    type=click.Choice(list(network.ACTIVATIONS)),
    default="relu",
    show_default=True,
    help="Activation of the hidden layers.",
)
@click.option(
    "--loss",
    type=click.Choice(list(network.LOSSES)),
    help="What is minimised. [default: cross_entropy for classification, mse for regression]",
)
@click.option(
    "--label-smoothing",
    type=Finite(min=0.0, max=1.0),
    default=0.0,
    show_default=True,
    help="Share of the target that is spread over all classes.",
)
@click.option(
    "--class-weight",
    type=click.Choice(["balanced"]),
    help="balanced: rare classes count as much as frequent ones.",
)
@click.option(
    "--dropout",
    type=Finite(min=0.0, max=1.0, max_open=True),
    default=0.0,
    show_default=True,
    metavar="P",
    help="Probability of dropping an output of a hidden layer in training.",
)
@click.option("--batch-norm", is_flag=True, help="Batch normalisation in each hidden layer.")
@click.option("--layer-norm", is_flag=True, help="Layer normalisation in each hidden layer.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Passes over the training samples.",
)
@click.option(
    "--lr",
    type=Finite(min=0.0, min_open=True),
    default=0.02,
    show_default=True,
    help="Learning rate.",
)
@click.option(
    "--momentum",
    type=Finite(min=0.0, max=1.0, max_open=True),
    default=0.9,
    show_default=True,
    help="Momentum.",
)
@click.option("--nesterov", is_flag=True, help="Nesterov's form of momentum.")
@click.option(
    "--weight-decay",
    type=Finite(min=0.0),
    default=0.0,
    show_default=True,
    help="Factor of the parameters that is added to their gradients.",
)
@click.option(
    "--clip-norm",
    type=Finite(min=0.0, min_open=True),
    help="Cut the gradient of each step to this norm. [default: as it is]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples a step. [default: 128, or all training samples if fewer]",
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
@threads_option
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to look for the data set in first, and to download it to; holds MNIST/raw/...  "
    "[default: $FASTFCN_DATA, then the user's cache]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write the run to, new or empty. [default: runs/DATA-YYYYmmdd-HHMMSS]",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=from_config,
    help="TOML file with options under [train], as a run's config.toml; the command line wins.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=from_run,
    metavar="RUN",
    help="Folder of a run to go on with, to the same bits as if it had never stopped; more "
    "--epochs prolong it.",
)
@click.option(
    "--progress/--no-progress",
    default=True,
    help="Show progress: a bar, or a line an epoch where that is no terminal. [default: progress]",
)
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Train a network, and write its model, history, configuration and curves to a folder.

    Without options: 784-256-128-10 on MNIST, 20 epochs of momentum SGD, and softmax with
    cross-entropy as the loss. Ctrl-C stops early and keeps the epochs that are done; --resume goes
    on with them.
    """
    if given["resume"] is not None:
        refuse_changes(ctx)
    with clean_errors("nothing was written", "choose smaller --layers"):
        _train(Options(**given))


def _train(options: Options) -> None:
    _check(options)
    data = _load(options)
    samples = len(data.train.y)
    if options.batch_size is None:
        options = options._replace(batch_size=min(128, samples))
    elif options.batch_size > samples:
        raise click.BadParameter(
            f"must be at most the {samples:,} training samples of {data.name}, got "
            f"{options.batch_size}.",
            param_hint="'--batch-size'",
        )
    checkpoint = None if options.resume is None else _checkpoint(options, data)
    criterion = network.criterion(options, data)

    started = datetime.now().astimezone()
    if options.resume is not None:
        folder = options.resume
    elif options.output is not None:
        folder = runs.claim_folder(options.output)
    else:
        folder = runs.claim_new_folder(Path("runs") / f"{data.name}-{started:%Y%m%d-%H%M%S}")
    try:
        if checkpoint is None:
            record.write_options(folder, options, data)
        run = _fit(options, data, criterion, checkpoint, folder)
        record.write(folder, started, options, data, run)
    finally:
        _leave_nothing_useless(folder)
    click.echo(record.summary(folder, options, data, run))
    if run.interrupted:
        stop(
            f"Interrupted: {folder} holds the run as it was after epoch {len(run.history)} of "
            f"{options.epochs}. To go on: fastfcn train --resume {folder}",
            INTERRUPTED,
        )
    _stop_if_diverged(options, run)


def _check(options: Options) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    if options.nesterov and options.momentum == 0.0:
        raise click.BadParameter("needs --momentum above 0.", param_hint="'--nesterov'")
    if options.batch_norm and options.layer_norm:
        raise click.UsageError("give --batch-norm or --layer-norm, not both.")
    if options.data is not None and options.dataset is not None:
        raise click.UsageError("give --data or --dataset, not both.")
    if options.data is None:
        for name in ("target", "exclude", "image_size", "task", "standardize"):
            if getattr(options, name) not in (None, ()):
                option = f"--{name.replace('_', '-')}"
                raise click.BadParameter("is for --data FILE only.", param_hint=f"'{option}'")
    if options.output is not None and options.resume is None and _is_taken(options.output):
        raise click.BadParameter(
            f"{options.output} must be a new or an empty folder: runs never overwrite; choose "
            "another.",
            param_hint="'--output'",
        )
    if options.threads is not None:
        check_threads(options.threads)


def _is_taken(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _load(options: Options) -> Data:
    if options.data is None:
        return sources.dataset(
            options.dataset, options.root, options.validation or 0.0, options.seed
        )
    with sources.readable():
        return sources.file(
            options.data,
            options.target,
            options.exclude,
            options.image_size,
            options.task,
            options.standardize,
            sources.VALIDATION if options.validation is None else options.validation,
            options.seed,
            counts=options.loss == "poisson",
        )


def _checkpoint(options: Options, data: Data) -> "Checkpoint":
    """Read where the run to go on with stopped."""
    from fastfcn import checkpoints

    assert options.resume is not None
    with sources.readable():
        checkpoint = checkpoints.read(options.resume / "checkpoint.safetensors")
    done = len(checkpoint.history)
    if done >= options.epochs:
        raise click.BadParameter(
            f"{options.resume} has all of its {done} epochs; pass more with --epochs.",
            param_hint="'--resume'",
        )
    if checkpoint.extra["data"] != _fingerprint(data):
        raise click.BadParameter(
            f"{options.resume} must go on with the data it began with, and {data.title} has "
            "changed; start another run.",
            param_hint="'--resume'",
        )
    return checkpoint


def _fingerprint(data: Data) -> str:
    """Return a few characters that tell the training samples from others."""
    import numpy as np

    x, y = (np.ascontiguousarray(values) for values in data.train)
    return f"{x.shape[0]}x{x.shape[1]}-{zlib.crc32(y.data, zlib.crc32(x.data)):08x}"


def _leave_nothing_useless(folder: Path) -> None:
    """Take away the folder of a run that broke off before it had anything to keep."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {"config.toml"}:
            (folder / "config.toml").unlink(missing_ok=True)
            folder.rmdir()


def _fit(
    options: Options,
    data: Data,
    criterion: "Loss",
    checkpoint: "Checkpoint | None",
    folder: Path,
) -> Run:
    from fastfcn.models import Model
    from fastfcn.training import fit

    assert options.batch_size is not None
    if checkpoint is None:
        net = network.network(options, data.train.x.shape[1], data.outputs)
        model = Model(net, loss=criterion, **data.about)
    else:
        model = checkpoint.model
    optimizer = network.optimizer(options, model.net)
    if checkpoint is not None:
        optimizer.load_state_dict(checkpoint.optimizer)
    x, scale, shift = model.prepared(data.train.x)
    watched = next(iter(data.held_out.values()), None)
    keeper = _Keeper(folder / "checkpoint.safetensors", model, optimizer, _fingerprint(data))

    began = time.perf_counter()
    interrupted = False
    try:
        history = fit(
            model.net,
            x,
            data.train.y,
            loss=criterion,
            optimizer=optimizer,
            batch_size=options.batch_size,
            epochs=options.epochs,
            validation_data=watched and (model.prepared(watched.x)[0], watched.y),
            seed=options.seed,
            n_threads=options.threads,
            clip_norm=options.clip_norm,
            progress=options.progress,
            callback=keeper.epoch_done,
            history=None if checkpoint is None else checkpoint.history,
            scale=scale,
            shift=shift,
        )
    except KeyboardInterrupt:
        if keeper.last is None:
            raise
        interrupted = True
        history = keeper.last.history
        _keep_whole_epochs(history)
        model.net.load_state_dict(keeper.parameters)
    around = time.perf_counter() - began - history.compile_seconds - sum(history.seconds)
    keeper.write()
    parts = {"train": data.train, **data.held_out}
    found = {name: scores(model, part, options.threads) for name, part in parts.items()}
    return Run(model, history, found, max(around, 0.0), interrupted)


class _Keeper:
    """Remembers the last whole epoch, for Ctrl-C, and writes it to disk from time to time.

    The model that is kept is the one the history's last row is about, not one some steps further.
    """

    def __init__(self, path: Path, model: "Model", optimizer: Any, data: str) -> None:
        self._path, self._model, self._optimizer, self._data = path, model, optimizer, data
        self.last: Checkpoint | None = None
        self.parameters: dict[str, Any] = {}
        self._written = time.perf_counter()

    def epoch_done(self, epoch: int, history: "History") -> None:
        from fastfcn.checkpoints import Checkpoint

        parameters = self._model.net.state_dict()
        self.last = Checkpoint(
            self._model, self._optimizer.state_dict(), history, {"data": self._data}
        )
        self.parameters = parameters
        if time.perf_counter() - self._written > CHECKPOINT_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the last whole epoch, with the parameters that the network has now."""
        from fastfcn import checkpoints

        assert self.last is not None
        checkpoints.write(self._path, self.last)
        self._written = time.perf_counter()


def _stop_if_diverged(options: Options, run: Run) -> None:
    """End with a message where the loss is not finite."""
    bad = [
        epoch
        for epoch, loss in zip(run.history.epoch, run.history.loss, strict=True)
        if not math.isfinite(loss)
    ]
    if bad:
        stop(
            f"Error: the loss is not finite from epoch {bad[0]} on: training diverged; try a "
            f"smaller --lr than {options.lr:g}.",
            1,
        )


def _keep_whole_epochs(history: "History") -> None:
    """Cut a row that Ctrl-C left half written: the columns are filled one after the other."""
    columns = [column for column in vars(history).values() if isinstance(column, list)]
    whole = min(map(len, columns))
    for column in columns:
        del column[whole:]
