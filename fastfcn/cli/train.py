"""``fastfcn train``: train a classifier, and keep the run."""

import contextlib
import math
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fastfcn import runs
from fastfcn.cli import record
from fastfcn.cli.data import TITLES, Data, load
from fastfcn.cli.messages import INTERRUPTED, clean_errors, stop
from fastfcn.cli.options import Finite, LayersCommand, check_threads, sizes, threads_option
from fastfcn.cli.record import SHIFT, Options, Run


@click.command("train", cls=LayersCommand, context_settings={"max_content_width": 100})
@click.option(
    "--dataset",
    type=click.Choice(list(TITLES)),
    help="What to train on. [default: mnist if it is found or can be downloaded, else digits]",
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
@threads_option
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
def command(**given: Any) -> None:
    """Train a classifier, and write its model, history, configuration and curves to a folder.

    Without options: 784-256-128-10 on MNIST, 20 epochs of momentum SGD, and softmax with
    cross-entropy as the loss. Ctrl-C stops early and keeps the epochs that are done.
    """
    with clean_errors("nothing was written", "choose smaller --layers"):
        _train(Options(**given))


def _train(options: Options) -> None:
    if options.nesterov and options.momentum == 0.0:
        raise click.BadParameter("needs --momentum above 0.", param_hint="'--nesterov'")
    if options.output is not None and _is_taken(options.output):
        raise click.BadParameter(
            f"{options.output} must be a new or an empty folder: runs never overwrite; choose "
            "another.",
            param_hint="'--output'",
        )
    if options.threads is not None:
        check_threads(options.threads)

    data = load(options.dataset, options.root)
    samples = len(data.arrays.x_train)
    if options.batch_size > samples:
        raise click.BadParameter(
            f"must be at most the {samples:,} training samples of {data.name}, got "
            f"{options.batch_size}.",
            param_hint="'--batch-size'",
        )
    classes = int(max(data.arrays.y_train.max(), data.arrays.y_test.max())) + 1
    features = data.arrays.x_train.shape[1]
    architecture = runs.Architecture(
        (features, *options.layers, classes), options.activation, options.dtype
    )

    started = datetime.now().astimezone()
    if options.output is not None:
        folder = runs.claim_folder(options.output)
    else:
        folder = runs.claim_new_folder(Path("runs") / f"{data.name}-{started:%Y%m%d-%H%M%S}")
    try:
        run = _fit(options, data, architecture)
        record.write(folder, started, options, data, architecture, run)
    finally:
        # Only an empty folder goes: a run that broke off before it had anything to keep.
        with contextlib.suppress(OSError):
            folder.rmdir()
    click.echo(record.summary(folder, options, data, architecture, run))
    if run.interrupted:
        stop(
            f"Interrupted: {folder} holds the run as it was after epoch {len(run.history)} of "
            f"{options.epochs}.",
            INTERRUPTED,
        )
    if not math.isfinite(run.history.loss[-1]):
        stop("Error: the loss is not finite: training diverged; try a smaller --lr.", 1)


def _is_taken(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _fit(options: Options, data: Data, architecture: runs.Architecture) -> Run:
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

    class Remember:
        def on_epoch_end(self, run: Any) -> None:
            done.update(history=run.history, state=net.state_dict())

    began = time.perf_counter()
    interrupted = False
    try:
        with warnings.catch_warnings():  # said at the end, in the command line's terms
            warnings.filterwarnings("ignore", "the loss is", RuntimeWarning)
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
                callbacks=[Remember()],
                scale=data.scale,
                shift=SHIFT,
            )
    except KeyboardInterrupt:
        if not done:
            raise
        interrupted = True
        history = done["history"]
        net.load_state_dict(done["state"])
    around = time.perf_counter() - began - history.compile_seconds - sum(history.seconds)
    on_train, on_test = (
        evaluate(
            net, x, y, loss=criterion, scale=data.scale, shift=SHIFT, n_threads=options.threads
        )
        for x, y in ((x_train, y_train), (x_test, y_test))
    )
    return Run(net, history, on_train, on_test, max(around, 0.0), interrupted)
