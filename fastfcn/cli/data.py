"""Which data set a command runs on, and what it says where that is not there."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from fastfcn.cli.messages import stop

if TYPE_CHECKING:
    from fastfcn.datasets import Dataset

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits (scikit-learn)"}


class Data(NamedTuple):
    """A data set, its name, and the factor that brings its values to [0, 1]."""

    name: str
    arrays: "Dataset"
    scale: float


def load(name: str | None, root: Path | None) -> Data:
    """Load a data set; without a name MNIST, or the digits where there is no way to it."""
    from fastfcn import datasets

    if name == "digits":
        return Data(name, datasets.digits(), 1.0)
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
        return Data("digits", datasets.digits(), 1.0)
    except datasets.IDXError as error:
        # Never a reason to fall back: the files are there, and someone should know.
        stop(f"Error: {error}", 1)
    return Data(wanted, arrays, 1.0 / 255.0)


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
