"""Options of ``fastfcn train`` that other commands have too, in groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from fastfcn.cli import data as sources
from fastfcn.cli import network
from fastfcn.cli.data import TITLES
from fastfcn.cli.options import Finite, sizes, threads_option

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _group(*options: Decorator) -> Decorator:
    """Return one decorator that does what several do, the first above the others."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


data_options = _group(
    click.option(
        "--dataset",
        type=click.Choice(list(TITLES)),
        help="What to train on. [default: mnist if it is found or can be downloaded, else digits]",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="A file to train on instead: .csv, .tsv, .parquet, .npy or .npz; or a folder of "
        "images, a subfolder a class.",
    ),
    click.option(
        "--target",
        metavar="COLUMN",
        help="What to predict: the column of --data; its number from 0 in .npy, the array in .npz.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="COLUMN",
        help="A column of --data to leave out, such as a row's number; may be given several times.",
    ),
    click.option(
        "--image-size",
        type=click.IntRange(min=1),
        nargs=2,
        metavar="HEIGHT WIDTH",
        help="What images are resized to. [default: as they are, all of one size]",
    ),
    click.option(
        "--task",
        type=click.Choice(["classification", "regression"]),
        help="What kind of prediction. [default: classification if the target is text or whole "
        f"numbers of at most {sources.MANY_CLASSES} values]",
    ),
    click.option(
        "--standardize/--no-standardize",
        default=None,
        help="Bring each column, and the target of a regression, to mean 0 and deviation 1.  "
        "[default: standardize, except bytes, which are divided by 255]",
    ),
    click.option(
        "--validation",
        type=Finite(min=0.0, max=1.0, max_open=True),
        metavar="FRACTION",
        help="Share of the training samples to hold out and evaluate after each epoch.  "
        f"[default: {sources.VALIDATION} of --data; 0 of --dataset, whose test samples are "
        "evaluated]",
    ),
    click.option(
        "--root",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to look for the data set in first, and to download it to; holds "
        "MNIST/raw/...  [default: $FASTFCN_DATA, then the user's cache]",
    ),
)
"""What is trained on."""

network_options = _group(
    click.option(
        "--layers",
        callback=sizes,
        default="256 128",
        show_default=True,
        metavar="SIZE...",
        help="Sizes of the hidden layers.",
    ),
    click.option(
        "--activation",
        type=click.Choice(list(network.ACTIVATIONS)),
        default="relu",
        show_default=True,
        help="Activation of the hidden layers.",
    ),
    click.option(
        "--dropout",
        type=Finite(min=0.0, max=1.0, max_open=True),
        default=0.0,
        show_default=True,
        metavar="P",
        help="Probability of dropping an output of a hidden layer in training.",
    ),
    click.option("--batch-norm", is_flag=True, help="Batch normalisation in each hidden layer."),
    click.option("--layer-norm", is_flag=True, help="Layer normalisation in each hidden layer."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        default="float32",
        show_default=True,
        help="Precision of the network.",
    ),
)
"""The network."""

loss_options = _group(
    click.option(
        "--loss",
        type=click.Choice(list(network.LOSSES)),
        help="What is minimised. [default: cross_entropy for classification, mse for regression]",
    ),
    click.option(
        "--label-smoothing",
        type=Finite(min=0.0, max=1.0),
        default=0.0,
        show_default=True,
        help="Share of the target that is spread over all classes.",
    ),
    click.option(
        "--class-weight",
        multiple=True,
        metavar="balanced|CLASS=WEIGHT",
        help="balanced: rare classes count as much as frequent ones. CLASS=WEIGHT: samples of a "
        "class count so often, those of others once; may be given several times.",
    ),
)
"""What is minimised."""

step_options = _group(
    click.option(
        "--optimizer",
        type=click.Choice(list(network.OPTIMIZERS)),
        default="sgd",
        show_default=True,
        help="What makes steps of gradients.",
    ),
    click.option(
        "--momentum",
        type=Finite(min=0.0, max=1.0, max_open=True),
        help="Momentum of sgd and rmsprop. [default: 0.9 for sgd, 0 for rmsprop]",
    ),
    click.option("--nesterov", is_flag=True, help="Nesterov's form of sgd's momentum."),
    click.option(
        "--weight-decay",
        type=Finite(min=0.0),
        help="Factor of the parameters that is added to their gradients; for adamw that is taken "
        "off themselves. [default: 0.01 for adamw, else 0]",
    ),
    click.option(
        "--clip-norm",
        type=Finite(min=0.0, min_open=True),
        help="Cut the gradient of each step to this norm. [default: as it is]",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Samples a step. [default: 128, or all training samples if fewer; always all for "
        "lbfgs]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of the initial parameters and of the batches' order.",
    ),
    threads_option,
)
"""A step, but for its length."""

output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write to, new or empty. [default: one in runs, named by data and time]",
)
