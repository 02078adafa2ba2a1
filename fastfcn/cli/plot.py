"""``fastfcn plot``: figures of runs, networks and their mistakes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastfcn.cli import data as sources
from fastfcn.cli.data import TITLES
from fastfcn.cli.messages import clean_errors, stop

if TYPE_CHECKING:
    from fastfcn.models import Model
    from fastfcn.plots.style import Figure

_FORMATS = (".png", ".svg", ".pdf")
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FOLDER_OR_CSV = click.Path(exists=True, path_type=Path)


_WIDE = {"max_content_width": 100}


@click.group("plot", context_settings=_WIDE)
def command() -> None:
    """Draw curves, mistakes and weights of training runs as PNG, SVG or PDF.

    RUN is a folder that fastfcn train wrote.
    """


def _drawing(function: Callable[..., "tuple[Figure, Path]"]) -> Callable[..., None]:
    """Give a command the options of all figures, and write the figure that it returns.

    With the figure comes the file to write where --output is not given.
    """

    def draw(output: Path | None, dpi: int, **given: Any) -> None:
        with clean_errors("nothing was written", "close other programs"):
            try:
                figure, default = function(**given)
            except ValueError as error:
                stop(f"Error: {error}", 1)
            file = default if output is None else output
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=dpi)
            click.echo(str(file))

    draw.__doc__ = function.__doc__
    for option in (
        click.option(
            "--dpi",
            type=click.IntRange(min=20, max=1200),
            default=150,
            show_default=True,
            help="Pixels an inch; figures are 8 inches wide.",
        ),
        click.option("--title", help="Above the figure. [default: says what it shows]"),
        click.option(
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_check_format,
            help="File to write, .png, .svg or .pdf; one that is there is replaced.  "
            "[default: KIND.png in the run's folder]",
        ),
    ):
        draw = option(draw)
    return draw


def _check_format(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in _FORMATS:
        raise click.BadParameter(f"must end in .png, .svg or .pdf, got {value}.", ctx, param)
    return value


_root_option = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to look for the run's data in first. [default: the one it was trained with]",
)


_shape_option = click.option(
    "--image-shape",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    metavar="HEIGHT WIDTH",
    help="Of an image. [default: that of the images RUN was trained on, else square]",
)


@command.command("curves", context_settings=_WIDE)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=_FOLDER_OR_CSV)
@click.option("--log", is_flag=True, help="A logarithmic axis for the loss.")
@_drawing
def _curves(runs: tuple[Path, ...], log: bool, title: str | None) -> "tuple[Figure, Path]":
    """Draw loss and accuracy over the epochs.

    Of one RUN, or of several to compare them; and the learning rate, where it was kept. RUN may
    also be a CSV file with a column epoch. The figure of several goes to the current folder.
    """
    from fastfcn import plots

    if len(runs) > 1:
        return plots.curves(list(runs), title, log=log), Path("curves.png")
    return plots.curves(runs[0], title or _title(runs[0]), log=log), _beside(runs[0], "curves")


@command.command("confusion", context_settings=_WIDE)
@click.argument("run", type=_FOLDER)
@_root_option
@_drawing
def _confusion(run: Path, root: Path | None, title: str | None) -> "tuple[Figure, Path]":
    """Draw what each class was taken for.

    The confusion matrix of RUN on its test data, in counts and percentages.
    """
    from fastfcn import plots

    test = _tested(run, root)
    figure = plots.confusion_matrix(test.labels, test.probabilities, test.names, title)
    return figure, run / "confusion.png"


@command.command("misclassified", context_settings=_WIDE)
@click.argument("run", type=_FOLDER)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="The most images to draw: those of which the network was surest.",
)
@_shape_option
@_root_option
@_drawing
def _misclassified(
    run: Path,
    images: int,
    image_shape: tuple[int, int] | None,
    root: Path | None,
    title: str | None,
) -> "tuple[Figure, Path]":
    """Draw images that were taken for others.

    Test images of RUN, with true and predicted labels and the probability of the prediction.
    """
    from fastfcn import plots

    test = _tested(run, root)
    figure = plots.misclassified(
        test.images, test.labels, test.probabilities, test.probabilities,
        labels=test.names, image_shape=image_shape or test.image_shape, max_images=images,
        title=title,
    )  # fmt: skip
    return figure, run / "misclassified.png"


@command.command("weights", context_settings=_WIDE)
@click.argument("run", type=_FOLDER)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="The most units to draw: those whose weights have the largest norms.",
)
@_shape_option
@_drawing
def _weights(
    run: Path, images: int, image_shape: tuple[int, int] | None, title: str | None
) -> "tuple[Figure, Path]":
    """Draw the first layer's weights as images.

    An image for each unit of the first layer of RUN.
    """
    from fastfcn import models, plots

    model = models.load(run)
    shape = image_shape or _image_shape(model)
    if shape is not None and len(shape) == 3:
        raise ValueError(f"{run} must be of grey images to have its weights drawn, got colour ones")
    figure = plots.first_layer_weights(model.net, image_shape=shape, max_images=images, title=title)
    return figure, run / "weights.png"


@command.command("activations", context_settings=_WIDE)
@_drawing
def _activations(title: str | None) -> "tuple[Figure, Path]":
    """Draw the activation functions.

    Every one, with its derivative. The figure goes to the current folder.
    """
    from fastfcn import plots

    return plots.activations(title), Path("activations.png")


@command.command("lr-finder", context_settings=_WIDE)
@click.argument("found", metavar="RUN|CSV", type=_FOLDER_OR_CSV)
@_drawing
def _lr_finder(found: Path, title: str | None) -> "tuple[Figure, Path]":
    """Draw the loss over the learning rates.

    CSV has the columns lr and loss, and perhaps suggestion; RUN is a folder that fastfcn lr-find
    wrote.
    """
    from fastfcn import plots
    from fastfcn.runs import read_history

    file = found / "lr_finder.csv" if found.is_dir() else found
    columns: dict[str, Any] = dict(read_history(file))
    # One number for the table: the same in each row, or in the first alone.
    columns["suggestion"] = next(
        (value for value in columns.get("suggestion", ()) if value is not None), None
    )
    return plots.lr_finder(columns, title), _beside(found, "lr_finder")


class _Tested(NamedTuple):
    """The test data of a run, and what its network makes of them."""

    images: Any
    labels: Any
    probabilities: Any
    names: tuple[str, ...] | None
    image_shape: tuple[int, ...] | None


def _tested(run: Path, root: Path | None) -> _Tested:
    from fastfcn import models

    options = sources.config_of(run).get("train", {})
    model = models.load(run)
    if model.task != "classification":
        raise ValueError(f"{run} must be of a classification to have mistakes, got {model.task}")
    _, test = sources.held_out(model, run, root=root)
    names = None if model.classes is None else tuple(map(str, model.classes))
    if options.get("dataset") == "fashion_mnist":
        names = _FASHION
    return _Tested(test.x, test.y, model.predict_proba(test.x), names, _image_shape(model))


def _image_shape(model: "Model") -> tuple[int, ...] | None:
    """Return the shape of the images that a model was trained on; None where they were none."""
    if model.image is None:
        return None
    size = tuple(map(int, model.image["size"]))
    return size if math.prod(size) == model.n_features else (*size, 3)


def _title(run: Path) -> str | None:
    """Return the data and the sizes of a run folder; a CSV file says neither."""
    if not (run / "config.toml").is_file():
        return None
    config = sources.config_of(run)
    train, sizes = config.get("train", {}), config.get("model", {}).get("sizes", ())
    name = train.get("dataset") or Path(train.get("data", "")).name
    return ", ".join([TITLES.get(name, name), "-".join(map(str, sizes))])


def _beside(path: Path, kind: str) -> Path:
    return (path if path.is_dir() else path.parent) / f"{kind}.png"
