"""Folders of image files, a subfolder a class."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
}  # fmt: skip
_GREY = {"1", "L", "LA", "La"}
_DEEP = {"I", "F"}
"""Modes of more than 8 bits a value, which conversion would clip."""


class Images(NamedTuple):
    """Images as rows.

    Attributes
    ----------
    x : (n, height·width·channels) uint8 ndarray
        Rows of pixels, a pixel's channels next to each other.
    y : (n,) ndarray of str or None
        The name of the subfolder; None where images lie in the folder itself.
    files : tuple of Path
        Where each is from.
    size : tuple of int
        Height and width.
    mode : str
        ``"L"``, grey, or ``"RGB"``.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.str_] | None
    files: tuple[Path, ...]
    size: tuple[int, int]
    mode: str


def image_folder(
    path: str | os.PathLike[str],
    size: Sequence[int] | None = None,
    mode: str | None = None,
) -> Images:
    """Read the images of a folder.

    Parameters
    ----------
    path : path-like
        A folder with a subfolder a class, each with images at any depth; a folder with images; or
        one image.
    size : (height, width), optional
        What images are resized to; by default all must be of one size already.
    mode : {"L", "RGB"}, optional
        Grey or colour; by default grey where every image is. Transparency is dropped.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or no image in it.
    ValueError
        For images of different sizes, damaged ones, and those of more than 8 bits a channel.
    ImportError
        Without Pillow (``pip install 'fastfcn[image]'``).

    Examples
    --------
    >>> images = image_folder("flowers", size=(32, 32))  # doctest: +SKIP
    >>> images.x.shape, set(images.y.tolist())  # doctest: +SKIP
    ((600, 3072), {'rose', 'tulip'})
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow; pip install 'fastfcn[image]'") from error
    folder = Path(path)
    files, classes = _listed(folder)
    shape = None if size is None else (int(size[0]), int(size[1]))
    if shape is not None and min(shape) < 1:
        raise ValueError(f"size must be a height and a width of at least 1, got {size}")
    if mode is None:
        mode = "L" if all(_mode(Image, file) in _GREY for file in files) else "RGB"
    elif mode not in ("L", "RGB"):
        raise ValueError(f'mode must be "L" or "RGB", got {mode!r}')

    rows: NDArray[np.uint8] | None = None
    for i, file in enumerate(files):
        with _opened(Image, file) as image:
            if image.mode.split(";")[0] in _DEEP:
                raise ValueError(
                    f"{file} must have 8 bits a channel, got mode {image.mode}; convert it first"
                )
            found = (image.height, image.width)
            shape = found if shape is None else shape
            if found != shape and size is None:
                raise ValueError(
                    f"images must all have one size, height x width: {files[0]} has "
                    f"{shape[0]} x {shape[1]}, {file} has {found[0]} x {found[1]}; choose a size "
                    "to resize them to"
                )
            pixels = image.convert(mode)
        if found != shape:
            pixels = pixels.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        values = np.asarray(pixels).reshape(-1)
        if rows is None:
            rows = np.empty((len(files), values.size), np.uint8)
        rows[i] = values
    assert rows is not None and shape is not None
    return Images(rows, None if classes is None else np.array(classes), tuple(files), shape, mode)


def _listed(path: Path) -> tuple[list[Path], list[str] | None]:
    """Return the images' files, in order, and their classes where they lie in subfolders."""
    if path.is_file():
        return [path], None
    if not path.is_dir():
        raise FileNotFoundError(f"{path} must be a folder of images or an image, and is not there")
    files = [file for file in sorted(path.iterdir()) if _is_image(file)]
    folders = [f for f in sorted(path.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    nested = [(file, folder.name) for folder in folders for file in _below(folder)]
    if files and nested:
        raise ValueError(
            f"{path} must hold images or subfolders of them, got both: {files[0].name} and "
            f"{nested[0][0].relative_to(path)}"
        )
    if not files and not nested:
        raise FileNotFoundError(
            f"{path} must hold images, in a subfolder a class to train on, got none of "
            f"{', '.join(sorted(_SUFFIXES))}"
        )
    return (files, None) if files else ([f for f, _ in nested], [name for _, name in nested])


def _below(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if _is_image(file))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()


def _mode(pil: Any, file: Path) -> str:
    with _opened(pil, file) as image:
        return str(image.mode)


@contextlib.contextmanager
def _opened(pil: Any, file: Path) -> "Iterator[Image]":
    try:
        with pil.open(file) as image:
            yield image
    except OSError as error:
        raise ValueError(f"{file} must be a whole image, got: {error}") from error
