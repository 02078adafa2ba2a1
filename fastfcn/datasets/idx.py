"""Reader of IDX files, the format MNIST is published in.

A file is a header and then the values, row-major:

======================  ==============================================================
bytes 0 and 1           zero
byte 2                  type of the values; 0x08, unsigned bytes, is the only one read
byte 3                  number of dimensions: 3 for images, 1 for labels
4 bytes a dimension     its size, big-endian, unsigned
the rest                the values, and nothing after them
======================  ==============================================================

Files come from elsewhere, so nothing in them is believed: memory is taken only for what the
header claims, and only once the file is large enough to hold it.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_TYPE_NAMES = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_CONTENTS = {1: "labels", 3: "images"}

# Deflate never expands beyond 1032 to 1 (https://zlib.net/zlib_tech.html), so a small file that
# claims more is cut short, and is refused before any memory is taken for it.
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 20

DEFAULT_MAX_BYTES = 1 << 30


class IDXError(ValueError):
    """A file is not the IDX file it should be. The message names it and says why."""


def read_images(
    path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> NDArray[np.uint8]:
    """Read an IDX file of images, gzipped or not, one image a row.

    Parameters
    ----------
    path : path-like
        The file. Whether it is gzipped is told by its content, not by its name.
    max_bytes : int, default 1 GiB
        A header that claims more pixels than this is refused.

    Returns
    -------
    (n, rows * columns) uint8 ndarray

    Raises
    ------
    IDXError
        If the file is empty, truncated, corrupt, or no IDX file of images; if it goes on after
        the last image; if it claims more than `max_bytes`.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastfcn.datasets import read_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "two-images-idx3-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, *range(6)]))
    ...     read_images(file)
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint8)
    """
    (count, rows, columns), values = _read(Path(path), 3, max_bytes)
    return values.reshape(count, rows * columns)


def read_labels(
    path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> NDArray[np.int64]:
    """Read an IDX file of labels, gzipped or not.

    Parameters
    ----------
    path : path-like
        The file. Whether it is gzipped is told by its content, not by its name.
    max_bytes : int, default 1 GiB
        A header that claims more labels than this is refused.

    Returns
    -------
    (n,) int64 ndarray

    Raises
    ------
    IDXError
        As in :func:`read_images`.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastfcn.datasets import read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "three-labels-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_labels(file)
    array([7, 2, 1])
    """
    _, values = _read(Path(path), 1, max_bytes)
    return values.astype(np.int64)


def _read(path: Path, ndim: int, max_bytes: int) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
    """Read the sizes of the dimensions, and the values as one flat array."""
    with path.open("rb") as file:
        file_size = os.fstat(file.fileno()).st_size
        gzipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not gzipped:
            return _parse(path, file, ndim, max_bytes, file_size)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                stream = cast(BinaryIO, unpacked)
                return _parse(path, stream, ndim, max_bytes, file_size * _DEFLATE_LIMIT)
        except EOFError:
            _refuse(path, "is truncated: its gzip stream ends early")
        except (gzip.BadGzipFile, zlib.error) as error:
            _refuse(path, f"is not a valid gzip file: {error}")


def _parse(
    path: Path, stream: BinaryIO, ndim: int, max_bytes: int, available: int
) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
    """Parse a file whose content is at most `available` bytes long."""
    magic = stream.read(4)
    if not magic:
        _refuse(path, "is empty")
    if magic[:2] != b"\x00\x00":
        _refuse(path, f"is not an IDX file: it must start with two zero bytes, got {magic[:2]!r}")
    if len(magic) < 4:
        _refuse(path, f"is truncated: its header ends after {len(magic)} bytes")
    if magic[2] != _UNSIGNED_BYTES:
        holds = _TYPE_NAMES.get(magic[2], "values of an unknown type")
        _refuse(path, f"must hold unsigned bytes (type 0x08), got {holds} (type 0x{magic[2]:02x})")
    if magic[3] != ndim:
        _refuse(path, f"must hold {_CONTENTS[ndim]} ({ndim} dimensions), got {magic[3]} dimensions")

    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        _refuse(path, f"is truncated: its header ends after {4 + len(sizes)} bytes")
    shape: tuple[int, ...] = struct.unpack(f">{ndim}I", sizes)
    claim = math.prod(shape)
    claimed = f"its header claims {' x '.join(map(str, shape))} = {claim} bytes"
    if claim > max_bytes:
        _refuse(path, f"is too large: {claimed}, at most {max_bytes} are accepted")
    if 4 + 4 * ndim + claim > available:
        _refuse(path, f"is truncated: {claimed} of values, more than the file can hold")

    values = np.empty(claim, dtype=np.uint8)
    view = values.data
    done = 0
    while done < claim:
        got = stream.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not got:
            _refuse(path, f"is truncated: {claimed} of values, only {done} are there")
        done += got
    # This read also makes gzip compare its checksum.
    if stream.read(1):
        _refuse(path, f"has trailing bytes: {claimed} of values, but it goes on after them")
    return shape, values


def _refuse(path: Path, reason: str) -> NoReturn:
    raise IDXError(f"{path} {reason}") from None
