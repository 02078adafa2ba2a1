"""Which data a command runs on, and what it says where they are not there."""

import contextlib
import io
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastfcn.cli.messages import stop

if TYPE_CHECKING:
    from fastfcn.datasets import Dataset
    from fastfcn.models import Model

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits (scikit-learn)"}

STANDARD_INPUT = Path("-")
"""Where a model's input may come from instead of a file, as CSV."""

MANY_CLASSES = 100
"""Whole numbers of more values than this are taken for amounts, not for classes."""

VALIDATION = 0.2
"""Share of a file's samples that is held out where nothing else is asked for."""


class Samples(NamedTuple):
    """Rows as ``fit`` takes them."""

    x: Any
    y: Any


class Data(NamedTuple):
    """What a command trains on."""

    name: str
    """A word for names of folders."""
    title: str
    train: Samples
    held_out: dict[str, Samples]
    """"validation", "test" or both; the first is evaluated after each epoch."""
    about: dict[str, Any]
    """What a :class:`fastfcn.models.Model` says besides its network and loss."""

    @property
    def outputs(self) -> int:
        """How many outputs a network for it needs."""
        classes = self.about.get("classes")
        return 1 if classes is None else len(classes)


class Rows(NamedTuple):
    """What a file or folder holds."""

    x: Any
    y: Any
    about: dict[str, Any]
    files: tuple[Path, ...] | None = None


# ---- built-in data sets ----------------------------------------------------------------------


def load(name: str | None, root: Path | None) -> "tuple[str, Dataset, float]":
    """Load a data set; without a name MNIST, or the digits where there is no way to it.

    Returns
    -------
    str, Dataset, float
        Its name, the samples, and the factor that brings their values to [0, 1].
    """
    from fastfcn import datasets

    if name == "digits":
        return name, datasets.digits(), 1.0
    load = datasets.fashion_mnist if name == "fashion_mnist" else datasets.mnist
    wanted = name or "mnist"
    try:
        arrays = _found_or_downloaded(load, TITLES[wanted], root)
    except datasets.DatasetUnavailable as error:
        if name is not None:
            stop(f"Error: {error}", 1)
        click.echo(
            "MNIST was not found and could not be downloaded: training on scikit-learn's bundled "
            "digits instead. To get MNIST, put its four IDX files in FOLDER/MNIST/raw and pass "
            "--root FOLDER or set FASTFCN_DATA=FOLDER ('--dataset mnist' lists files and mirrors).",
            err=True,
        )
        return "digits", datasets.digits(), 1.0
    except datasets.IDXError as error:
        # Never a reason to fall back: the files are there, and someone should know.
        stop(f"Error: {error}", 1)
    return wanted, arrays, 1.0 / 255.0


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


def dataset(name: str | None, root: Path | None, validation: float, seed: int) -> Data:
    """Load a data set, and take a validation part from its training samples if one is wanted."""
    name, arrays, scale = load(name, root)
    train, test = Samples(*arrays[:2]), Samples(*arrays[2:])
    classes = tuple(range(int(max(train.y.max(), test.y.max())) + 1))
    held_out = {"test": test}
    if validation:
        train, part = parted(train, validation, seed, True, name)
        held_out = {"validation": part, "test": test}
    about = {"scale": scale, "task": "classification", "classes": classes}
    return Data(name, TITLES[name], train, held_out, about)


# ---- files -----------------------------------------------------------------------------------


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn what is wrong with a file into a line on standard error."""
    try:
        yield
    except (OSError, ImportError, ValueError, TypeError) as error:
        stop(f"Error: {error}", 1)


def read(
    path: Path,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    image_size: Sequence[int] | None = None,
    image_mode: str | None = None,
) -> Rows:
    """Read a table, or a folder of images.

    Parameters
    ----------
    path : Path
        What :func:`fastfcn.datasets.read_table` or :func:`fastfcn.datasets.image_folder` reads.
    target, columns, exclude
        As the former takes them.
    image_size, image_mode
        As the latter takes them.
    """
    from fastfcn.datasets import image_folder, read_table
    from fastfcn.datasets.tables import SUFFIXES

    if path.is_dir() or (path.is_file() and path.suffix.lower() not in SUFFIXES):
        try:
            images = image_folder(path, image_size or None, image_mode)
        except ValueError as error:
            if path.is_dir():
                raise
            raise ValueError(f"{error}; a table's name ends in {', '.join(SUFFIXES)}") from error
        about = {"image": {"size": list(images.size), "mode": images.mode}}
        return Rows(images.x, images.y, about, images.files)
    table = read_table(path, target, columns, exclude)
    return Rows(
        table.x, table.y, {"feature_names": table.feature_names, "target_name": table.target_name}
    )


def file(
    path: Path,
    target: str | None,
    exclude: Sequence[str],
    image_size: Sequence[int] | None,
    task: str | None,
    standardize: bool | None,
    validation: float,
    seed: int,
    counts: bool = False,
) -> Data:
    """Read a file to train on, tell its task, and hold a part of it out.

    `counts` says that the target of a regression must stay as it is, for a Poisson loss.
    """
    import numpy as np

    from fastfcn.datasets.tables import SUFFIXES

    if target is None and path.suffix.lower() in SUFFIXES:
        raise click.UsageError(f"training on {path} needs --target COLUMN, what to predict.")
    if image_size and path.suffix.lower() in SUFFIXES:
        raise click.BadParameter(f"is for images, got {path}.", param_hint="'--image-size'")
    rows = read(path, target, None, exclude, image_size)
    if rows.y is None:
        raise ValueError(f"{path} must have a subfolder a class to train on")
    task = task or _task(rows.y)
    about = {key: value for key, value in rows.about.items() if value is not None} | {"task": task}
    y = rows.y
    if task == "classification":
        labels, y = np.unique(y, return_inverse=True)
        if len(labels) < 2:
            raise ValueError(f"{path} must have at least two classes to tell apart, got {labels}")
        about["classes"] = tuple(labels.tolist() if labels.dtype.kind != "f" else map(str, labels))
    elif y.dtype.kind == "U":
        raise ValueError(
            f"--task regression needs a target of numbers, got text ({str(y[0])!r}); leave it out"
        )
    else:
        y = y.astype(np.float64)
    samples, held_out = Samples(rows.x, y), {}
    if validation:
        samples, part = parted(samples, validation, seed, task == "classification", path.name)
        held_out = {"validation": part}
    pixels = samples.x.dtype == np.uint8
    if pixels:
        about["scale"] = 1.0 / 255.0
    elif standardize or standardize is None:
        about |= _standards(samples.x)
    if task == "regression" and standardize is not False and not counts:
        center, spread = float(samples.y.mean()), float(samples.y.std()) or 1.0
        about |= {"target_shift": center, "target_scale": spread}
        samples = samples._replace(y=(samples.y - center) / spread)
        held_out = {k: v._replace(y=(v.y - center) / spread) for k, v in held_out.items()}
    name = path.stem if path.is_file() else path.resolve().name
    return Data(name, path.name, samples, held_out, about)


def _task(y: Any) -> str:
    if y.dtype.kind == "U":
        return "classification"
    if y.dtype.kind == "f":
        return "regression"
    return "classification" if len(set(y.tolist())) <= MANY_CLASSES else "regression"


def _standards(x: Any) -> dict[str, Any]:
    """Return the scale and shift that give each column mean 0 and standard deviation 1."""
    import numpy as np

    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    # What does not vary would be divided by nothing, or by what rounding left of it.
    scale = 1.0 / np.where(deviation > 1e-12 * abs(mean), deviation, 1.0)
    return {"scale": scale, "shift": -mean * scale}


def parted(
    samples: Samples, fraction: float, seed: int, by_class: bool, name: str
) -> tuple[Samples, Samples]:
    """Cut samples into those to train on and a part held out, the same for the same seed."""
    import numpy as np

    n = len(samples.y)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0])))
    place = rng.permutation(n)
    if by_class:  # each class in the order drawn, and all of them parted alike
        place = place[np.argsort(samples.y[place], kind="stable")]
    counts = np.floor(np.arange(n + 1) * fraction + rng.random())
    held = place[np.flatnonzero(np.diff(counts))]
    chosen = np.zeros(n, np.bool_)
    chosen[held] = True
    if chosen.all() or not chosen.any():
        raise ValueError(
            f"--validation {fraction:g} of the {n} samples of {name} must leave at least one on "
            "both sides; choose another fraction, or 0 for none"
        )
    kept = Samples(samples.x[~chosen], samples.y[~chosen])
    return kept, Samples(samples.x[chosen], samples.y[chosen])


def called(path: Path) -> str:
    """Return what messages call a file that may be standard input."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def _from_standard_input(target: str | None, columns: Sequence[str] | None) -> Rows:
    """Read CSV from standard input."""
    from fastfcn.datasets.tables import read_csv

    if sys.stdin is None:  # closed by who started this
        raise ValueError(f"{called(STANDARD_INPUT)} must be open to be read, and is closed")
    with io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", newline="") as lines:
        table = read_csv(lines, called(STANDARD_INPUT), target, columns)
    return Rows(table.x, table.y, {})


def for_model(model: "Model", path: Path, target: str | None, needs_target: bool) -> Rows:
    """Read a file as the input of a model: its columns, or images of its size.

    The target in the result is as the model's loss takes it.
    """
    image = model.image or {}
    given = target or (model.target_name if needs_target else None)
    if needs_target and given is None and not (path.is_dir() and image):
        raise click.UsageError(
            f"evaluating on {called(path)} needs --target COLUMN, the true values."
        )
    if path == STANDARD_INPUT:
        rows = _from_standard_input(given, model.feature_names)
    else:
        rows = read(path, given, model.feature_names, (), image.get("size"), image.get("mode"))
    if rows.x.shape[1] != model.n_features:
        raise ValueError(
            f"{called(path)} must have the {model.n_features} features of the model, got "
            f"{rows.x.shape[1]}"
        )
    if needs_target:
        if rows.y is None:
            raise ValueError(f"{path} must have a subfolder a class, named as the model's classes")
        rows = rows._replace(y=encoded(model, rows.y))
    return rows


def encoded(model: "Model", y: Any) -> Any:
    """Return a target as the model's loss takes it: classes by number, or scaled values."""
    import numpy as np

    if model.task == "regression":
        if y.dtype.kind == "U":
            raise ValueError(f"the target must be numbers for a regression, got {str(y[0])!r}")
        return (y - model.target_shift) / model.target_scale
    labels = model.classes or tuple(range(model.net.plan().stages[-1].out_features))
    number = {label: i for i, label in enumerate(labels)}
    kind = type(labels[0])
    found = [kind(label) if kind is str else label for label in y.tolist()]
    unknown = sorted({str(label) for label in found if label not in number})
    if unknown:
        raise ValueError(
            f"the target must be one of the model's classes, {', '.join(map(str, labels[:10]))}"
            f"{' ...' if len(labels) > 10 else ''}, got {', '.join(unknown[:5])}"
        )
    return np.array([number[label] for label in found], np.int64)


# ---- what a run did not train on --------------------------------------------------------------


def held_out(
    model: "Model",
    run: Path,
    data: Path | None = None,
    target: str | None = None,
    dataset: str | None = None,
    root: Path | None = None,
) -> tuple[str, Samples]:
    """Return samples to measure a run's model on, and what they are.

    Parameters
    ----------
    model : Model
        The model of `run`.
    run : Path
        Its folder, or a model file.
    data, target
        A file or standard input, and the column of the true values.
    dataset, root
        A data set, for its test samples, and where to look for it first.
        Without any of them: what `run` held out.
    """
    if data is not None:
        rows = for_model(model, data, target, True)
        title = called(data) if data == STANDARD_INPUT else data.name
        return title, Samples(rows.x, rows.y)
    options: dict[str, Any] = {}
    if dataset is None:
        options = config_of(run).get("train", {})
        dataset = options.get("dataset")
        root = Path(options["root"]) if root is None and "root" in options else root
    if dataset is not None:
        if dataset not in TITLES:
            stop(
                f"Error: {run / 'config.toml'} must name a data set, one of {', '.join(TITLES)}, "
                f"got {dataset!r}.",
                1,
            )
        name, arrays, _ = load(dataset, root)
        if arrays.x_test.shape[1] != model.n_features:
            raise ValueError(
                f"{name} must have the {model.n_features} features of the model, got "
                f"{arrays.x_test.shape[1]}"
            )
        return f"{TITLES[name]}, test", Samples(*arrays[2:])
    path = Path(options["data"])
    rows = for_model(model, path, target or options.get("target"), True)
    samples = Samples(rows.x, rows.y)
    fraction = options.get("validation", VALIDATION)
    if not fraction:
        return f"{path.name}, which it was trained on", samples
    by_class = model.task == "classification"
    return f"{path.name}, validation", parted(
        samples, fraction, options["seed"], by_class, path.name
    )[1]


def config_of(run: Path) -> dict[str, Any]:
    """Return what a run wrote to its config.toml."""
    file = run / "config.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        stop(
            f"Error: {run} must be a folder that fastfcn train wrote, to know its data; it has no "
            "config.toml.",
            1,
        )
    except ValueError as error:
        stop(f"Error: {file} must be TOML as fastfcn train writes it: {error}", 1)
