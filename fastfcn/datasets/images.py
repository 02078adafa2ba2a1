"""MNIST and Fashion-MNIST: find their files, or download them, and read them."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfcn.datasets.dataset import Dataset, DatasetUnavailable
from fastfcn.datasets.download import Source, download
from fastfcn.datasets.idx import IDXError, read_images, read_labels

_PIXELS = 28 * 28
_CLASSES = 10
# The most a file may claim: the training images of either data set.
_MAX_BYTES = 60_000 * _PIXELS

MNIST = Source(
    name="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    md5={
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)
FASHION_MNIST = Source(
    name="FashionMNIST",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    md5={
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)
# Where Debian's and Ubuntu's package dataset-fashion-mnist puts its gzipped files.
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def mnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """Load MNIST: 28x28 images of handwritten digits, 60,000 to train on and 10,000 to test.

    The four IDX files, gzipped or not, are looked for in ``FOLDER/MNIST/raw``, as torchvision
    lays them out, with FOLDER being `root`, then the environment variable ``FASTFCN_DATA``, then
    the user's cache. The first folder that has all four is read.

    Parameters
    ----------
    root : path-like, optional
        The first folder to look in, and the one to download into.
    download : bool, default True
        If the files are nowhere, download them: by torchvision where it is installed, else by
        pooch from the same mirrors. Without `root` they go to ``FASTFCN_DATA`` if that is set,
        else to the user's cache.

    Returns
    -------
    Dataset
        Images as uint8 (n, 784), labels 0..9 as int64.

    Raises
    ------
    DatasetUnavailable
        If the files are nowhere, and downloading failed or was not asked for. It is a
        `FileNotFoundError`.
    IDXError
        If a file that was found is damaged. It is a `ValueError`.

    Examples
    --------
    >>> from fastfcn import datasets
    >>> x_train, y_train, x_test, y_test = datasets.mnist()  # doctest: +SKIP
    >>> x_train.shape, x_train.dtype  # doctest: +SKIP
    ((60000, 784), dtype('uint8'))
    """
    return _load(MNIST, root, download, [])


def fashion_mnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """Load Fashion-MNIST: 28x28 images of ten kinds of clothes, laid out as MNIST is.

    The files are looked for in ``FOLDER/FashionMNIST/raw`` with the folders of :func:`mnist`, and
    last in ``/usr/share/datasets/fashion-mnist``, where the Debian package
    ``dataset-fashion-mnist`` puts them.

    Parameters
    ----------
    root : path-like, optional
        The first folder to look in, and the one to download into.
    download : bool, default True
        If the files are nowhere, download them, as in :func:`mnist`.

    Returns
    -------
    Dataset
        Images as uint8 (n, 784), labels 0..9 as int64.

    Raises
    ------
    DatasetUnavailable, IDXError
        As in :func:`mnist`.

    Examples
    --------
    >>> from fastfcn import datasets
    >>> x_train, y_train, x_test, y_test = datasets.fashion_mnist()  # doctest: +SKIP
    """
    return _load(FASHION_MNIST, root, download, [_DEBIAN_FASHION_MNIST])


class _Place(NamedTuple):
    """A folder that was searched, the files found in it, and the names of those missing."""

    folder: Path
    files: dict[str, Path]
    missing: list[str]


def _load(
    source: Source,
    root: str | os.PathLike[str] | None,
    may_download: bool,
    system_folders: list[Path],
) -> Dataset:
    own_folders = [folder / source.name / "raw" for folder in _data_folders(root)]
    places = [_look_in(source, folder) for folder in own_folders + system_folders]
    found = next((place for place in places if not place.missing), None)
    if found is None:
        if not may_download:
            raise DatasetUnavailable(_not_found(source, places))
        try:
            download(source, own_folders[0])
        except OSError as error:
            raise DatasetUnavailable(f"{_not_found(source, places)}\n{error}") from error
        found = _look_in(source, own_folders[0])
    x_train, y_train = _read_split(found.files, "train")
    x_test, y_test = _read_split(found.files, "t10k")
    return Dataset(x_train, y_train, x_test, y_test)


def _data_folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """Return the folders to look in, first things first; downloads go to the first."""
    from platformdirs import user_cache_path

    folders = [] if root is None else [Path(root).expanduser()]
    if from_environment := os.environ.get("FASTFCN_DATA"):
        folders.append(Path(from_environment).expanduser())
    folders.append(user_cache_path("fastfcn") / "datasets")
    return list(dict.fromkeys(folders))


def _look_in(source: Source, folder: Path) -> _Place:
    files: dict[str, Path] = {}
    for name in source.md5:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                files[name] = path
                break
    return _Place(folder, files, [name for name in source.md5 if name not in files])


def _not_found(source: Source, places: list[_Place]) -> str:
    lines = [f"{source.name} was not found. Looked in:"]
    for folder, files, missing in places:
        partly = f" (there without {', '.join(missing)})" if files else ""
        lines.append(f"  {folder}{partly}")
    ways = (
        f"pass root=FOLDER or set FASTFCN_DATA=FOLDER, where FOLDER/{source.name}/raw holds "
        f"{', '.join(source.md5)} (or each as .gz), from {' or '.join(source.mirrors)}, or call "
        "with download=True on a machine that reaches it"
    )
    if any(place.folder == _DEBIAN_FASHION_MNIST for place in places):
        ways += ", or install the Debian/Ubuntu package dataset-fashion-mnist"
    return "\n".join([*lines, f"To get it: {ways}."])


def _read_split(
    files: dict[str, Path], split: Literal["train", "t10k"]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    image_file = files[f"{split}-images-idx3-ubyte"]
    label_file = files[f"{split}-labels-idx1-ubyte"]
    images = read_images(image_file, max_bytes=_MAX_BYTES)
    labels = read_labels(label_file, max_bytes=_MAX_BYTES)
    if images.shape[1] != _PIXELS:
        raise IDXError(
            f"{image_file} must hold images of 28 x 28 = 784 pixels, got {images.shape[1]}"
        )
    if len(images) != len(labels):
        raise IDXError(
            f"{image_file} and {label_file} must hold as many images as labels, "
            f"got {len(images)} and {len(labels)}"
        )
    if not len(labels):
        raise IDXError(f"{image_file} must hold at least one image, got none")
    if labels.max() >= _CLASSES:
        raise IDXError(f"{label_file} must hold labels from 0 to 9, got {labels.max()}")
    return images, labels
