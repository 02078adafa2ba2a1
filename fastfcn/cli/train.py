"""``fastfcn train``: train a network, and keep the run."""

import contextlib
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fastfcn.cli import data as sources
from fastfcn.cli import fitting, network, record
from fastfcn.cli.configuration import from_config, from_run, refuse_changes
from fastfcn.cli.groups import (
    data_options,
    loss_options,
    network_options,
    output_option,
    step_options,
)
from fastfcn.cli.messages import INTERRUPTED, clean_errors, stop
from fastfcn.cli.options import Finite, LayersCommand
from fastfcn.cli.preparation import claimed_folder, prepared
from fastfcn.cli.record import Options, Run


@click.command(
    "train",
    cls=LayersCommand,
    short_help="Train a network, and keep the run.",
    context_settings={"max_content_width": 100},
)
@data_options
@network_options
@loss_options
@step_options
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Passes over the training samples; iterations of lbfgs.",
)
@click.option(
    "--lr",
    type=Finite(min=0.0, min_open=True),
    help="Learning rate. [default: "
    + ", ".join(
        f"{kind.defaults['lr']:g} for {name}"
        for name, kind in network.OPTIMIZERS.items()
        if "lr" in kind.defaults
    )
    + "]",
)
@click.option(
    "--history-size",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="lbfgs: steps that its estimate of the curvature remembers. [default: 10]",
)
@click.option(
    "--tolerance-grad",
    type=Finite(min=0.0),
    help="lbfgs: done when no element of the gradient is larger. [default: 1e-5]",
)
@click.option(
    "--tolerance-change",
    type=Finite(min=0.0),
    help="lbfgs: done when an iteration lowers the loss by no more, relatively. [default: 2.2e-9]",
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
    "--ema",
    type=Finite(min=0.0, max=1.0, max_open=True),
    metavar="DECAY",
    help="Evaluate and keep an average of the weights over the last 1 / (1 - DECAY) steps or so, "
    "0.999 say. [default: the weights themselves]",
)
@click.option(
    "--early-stopping",
    type=click.IntRange(min=1),
    metavar="PATIENCE",
    help="Stop after so many epochs in which the validation loss has not become smaller, and keep "
    "the weights of the best epoch. [default: train all epochs]",
)
@output_option
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
    help="Folder of a run to go on with, to the same bits as if it had never stopped (but for "
    "lbfgs, which learns the curvature anew); more --epochs prolong it.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write each epoch's values to the run's folder for TensorBoard, too; needs pip install "
    "'fastfcn[tensorboard]'.",
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
    options, data = prepared(options)
    checkpoint = None if options.resume is None else fitting.to_go_on_with(options, data)
    criterion = network.criterion(options, data)

    started = datetime.now().astimezone()
    if options.resume is not None:
        folder = options.resume
        if options.optimizer == "lbfgs":
            click.echo(
                "Note: lbfgs begins to learn the curvature anew, so the weights will not be those "
                "of a run that never stopped.",
                err=True,
            )
    else:
        folder = claimed_folder(options, f"{data.name}-{started:%Y%m%d-%H%M%S}")
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


def _stop_if_diverged(options: Options, run: Run) -> None:
    """End with a message where the loss is not finite."""
    epoch, loss = run.history.epoch[-1], run.history.loss[-1]
    if not math.isfinite(loss):
        ways = [] if options.lr is None else [f"--lr below {options.lr:g}"]
        ways += ["--clip-norm 1"] * (options.lr is not None and options.clip_norm is None)
        ways += ["--optimizer adam"] * (options.lr is None)
        ways += ["--standardize"] * (options.standardize is False)
        stop(
            f"Error: training diverged in epoch {epoch}: the loss is {loss}; try "
            f"{' or '.join(ways)}.",
            1,
        )


def _leave_nothing_useless(folder: Path) -> None:
    """Take away the folder of a run that broke off before it had anything to keep."""
    with contextlib.suppress(OSError):
        files = list(folder.iterdir())
        if all(f.name == "config.toml" or f.name.startswith("events.") for f in files):
            for file in files:
                file.unlink()
            folder.rmdir()
