"""``fastfcn lr-find``: look for a learning rate to begin with."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastfcn import runs
from fastfcn.cli import data as sources
from fastfcn.cli import network
from fastfcn.cli.data import Data
from fastfcn.cli.groups import (
    data_options,
    loss_options,
    network_options,
    output_option,
    step_options,
)
from fastfcn.cli.messages import clean_errors
from fastfcn.cli.options import Finite, LayersCommand
from fastfcn.cli.preparation import claimed_folder, prepared
from fastfcn.cli.record import Options

if TYPE_CHECKING:
    from fastfcn.lr_finder import LRFinderResult


@click.command(
    "lr-find",
    cls=LayersCommand,
    short_help="Look for a learning rate.",
    context_settings={"max_content_width": 100},
)
@click.option(
    "--lowest",
    type=Finite(min=0.0, min_open=True),
    default=1e-6,
    show_default=True,
    help="The first learning rate.",
)
@click.option(
    "--highest",
    type=Finite(min=0.0, min_open=True),
    default=10.0,
    show_default=True,
    help="The last learning rate.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    help="Learning rates to try, each a fixed factor above the one before.",
)
@data_options
@network_options
@loss_options
@step_options
@output_option
def command(lowest: float, highest: float, steps: int, **given: Any) -> None:
    """Try learning rates from small to large, a step each, and suggest one for fastfcn train.

    The suggestion is where the loss falls fastest. The losses go to lr_finder.csv and
    lr_finder.png in a new folder; fastfcn plot lr-finder draws them again.
    """
    if lowest >= highest:
        raise click.BadParameter(f"must be above --lowest {lowest:g}.", param_hint="'--highest'")
    if given["optimizer"] == "lbfgs":
        raise click.BadParameter(
            "must have a learning rate, got lbfgs.", param_hint="'--optimizer'"
        )
    with clean_errors("nothing was written", "choose smaller --layers"):
        options, data = prepared(Options(**given))
        with sources.readable():
            found = _swept(options, data, lowest=lowest, highest=highest, steps=steps)
        started = datetime.now().astimezone()
        folder = claimed_folder(options, f"{data.name}-lr-{started:%Y%m%d-%H%M%S}")
        _write(folder, found, data.title)
    what = "none: the loss did not fall; try other --lowest and --highest"
    if found.suggestion is not None:
        what = f"--lr {found.suggestion:.2g}"
    click.echo(f"suggestion  {what}\nwritten     {folder}")


def _swept(options: Options, data: Data, **sweep: Any) -> "LRFinderResult":
    from fastfcn.lr_finder import lr_find

    criterion = network.criterion(options, data)
    model = network.model(options, data, criterion)
    x, scale, shift = model.prepared(data.train.x)
    assert options.batch_size is not None
    return lr_find(
        model.net,
        x,
        data.train.y,
        loss=criterion,
        optimizer=network.optimizer(options, model.net),
        batch_size=options.batch_size,
        seed=options.seed,
        scale=scale,
        shift=shift,
        n_threads=options.threads,
        clip_norm=options.clip_norm,
        **sweep,
    )


def _write(folder: Path, found: "LRFinderResult", title: str) -> None:
    from fastfcn import plots

    columns = {"lr": found.lr.tolist(), "loss": found.loss.tolist()}
    columns["suggestion"] = [found.suggestion] * len(found.lr)
    runs.write_history(folder / "lr_finder.csv", columns)
    plots.lr_finder(found, title).savefig(folder / "lr_finder.png", dpi=150)
