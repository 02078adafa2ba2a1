"""``fastfcn train``: train a network, and keep the run."""

import contextlib
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fastfcn import runs
from fastfcn.cli import data as sources
from fastfcn.cli import fitting, network, record
from fastfcn.cli.configuration import from_config, from_run, refuse_changes
from fastfcn.cli.data import TITLES, Data
from fastfcn.cli.messages import INTERRUPTED, clean_errors, stop
from fastfcn.cli.options import Finite, LayersCommand, check_threads, sizes, threads_option
from fastfcn.cli.record import Options, Run


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
    "--optimizer",
    type=click.Choice(list(network.OPTIMIZERS)),
    default="sgd",
    show_default=True,
    help="What makes steps of gradients.",
)
@click.option(
    "--lr",
    type=Finite(min=0.0, min_open=True),
    help="Learning rate. [default: "
    + ", ".join(f"{kind.lr:g} for {name}" for name, kind in network.OPTIMIZERS.items())
    + "]",
)
@click.option(
    "--momentum",
    type=Finite(min=0.0, max=1.0, max_open=True),
    help="Momentum of sgd and rmsprop. [default: 0.9 for sgd, 0 for rmsprop]",
)
@click.option("--nesterov", is_flag=True, help="Nesterov's form of sgd's momentum.")
@click.option(
    "--weight-decay",
    type=Finite(min=0.0),
    help="Factor of the parameters that is added to their gradients; for adamw that is taken off "
    "themselves. [default: 0.01 for adamw, else 0]",
)
@click.option(
    "--schedule",
    type=click.Choice(network.SCHEDULES),
    default="constant",
    show_default=True,
    help="How the learning rate goes on from --lr: drops every few epochs (step) or when the loss "
    "stays (plateau), falls in each epoch or step, or rises first (one-cycle).",
)
@click.option(
    "--schedule-epochs",
    type=click.IntRange(min=1),
    metavar="EPOCHS",
    help="step: from one drop to the next [default: a third of all]; plateau: without a smaller "
    "loss before a drop [default: 5].",
)
@click.option(
    "--schedule-factor",
    type=Finite(min=0.0, min_open=True),
    metavar="FACTOR",
    help="Of a drop of step and plateau [default: 0.1]; of each epoch of exponential [default: "
    "0.95].",
)
@click.option(
    "--warm-up",
    type=click.IntRange(min=1),
    metavar="EPOCHS",
    help="Rise from a tenth of the learning rate to it over so many epochs; then --schedule.",
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
    "--early-stopping",
    type=click.IntRange(min=1),
    metavar="PATIENCE",
    help="Stop after so many epochs in which the validation loss has not become smaller, and keep "
    "the weights of the best epoch. [default: train all epochs]",
)
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
    options = network.with_defaults(options)
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
    checkpoint = None if options.resume is None else fitting.to_go_on_with(options, data)
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
        with sources.readable():
            run = fitting.fit_and_keep(options, data, criterion, checkpoint, folder)
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
    if options.nesterov and not options.momentum:
        raise click.BadParameter("needs --momentum above 0.", param_hint="'--nesterov'")
    if options.early_stopping and not (options.data or options.validation):
        raise click.BadParameter(
            "needs --validation above 0: test samples must not choose the epoch.",
            param_hint="'--early-stopping'",
        )
    if options.early_stopping and options.validation == 0.0:
        raise click.BadParameter("needs --validation above 0.", param_hint="'--early-stopping'")
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


def _stop_if_diverged(options: Options, run: Run) -> None:
    """End with a message where the loss is not finite."""
    epoch, loss = run.history.epoch[-1], run.history.loss[-1]
    if not math.isfinite(loss):
        ways = [f"--lr below {options.lr:g}"]
        ways += ["--clip-norm 1"] * (options.clip_norm is None)
        ways += ["--standardize"] * (options.standardize is False)
        stop(
            f"Error: training diverged in epoch {epoch}: the loss is {loss}; try "
            f"{' or '.join(ways)}.",
            1,
        )


def _leave_nothing_useless(folder: Path) -> None:
    """Take away the folder of a run that broke off before it had anything to keep."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {"config.toml"}:
            (folder / "config.toml").unlink(missing_ok=True)
            folder.rmdir()
