"""Download the files of a data set: by torchvision where it works, else by pooch.

The only module that imports torchvision or pooch. Both fetch into a temporary folder beside the
target; a file appears in the target only once it is whole and its MD5 is the published one.
"""

import contextlib
import http.client
import io
import logging
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

# How long a mirror may stay silent. A first answer takes a second at most where there is one.
_TIMEOUT_SECONDS = 10.0


class Source(NamedTuple):
    """Where the files of a data set are published.

    Attributes
    ----------
    name : str
        The name of torchvision's class, and of its folder under the root.
    mirrors : tuple of str
        Addresses that each hold all of the files, gzipped, best first.
    md5 : mapping of str to str
        For each file, by its name without ``.gz``, the MD5 of the gzipped file.
    """

    name: str
    mirrors: tuple[str, ...]
    md5: Mapping[str, str]


class TorchvisionBroken(ImportError):
    """The installed torchvision does not fit the installed torch."""


def download(source: Source, raw_folder: Path) -> None:
    """Download the files of `source` into `raw_folder`, replacing those that are there.

    Parameters
    ----------
    source : Source
        What to download.
    raw_folder : Path
        Where to; it is made if it is missing, but only after everything has arrived.

    Raises
    ------
    OSError
        If no mirror gave the files, or the folder cannot be written. Nothing is left behind.
    """
    try:
        torchvision = import_torchvision()
    except TorchvisionBroken as error:
        warnings.warn(f"downloading with pooch: {error}", stacklevel=4)
        torchvision = None
    except ImportError:
        torchvision = None

    # The closest folder that exists is on the target's file system, so the moves are atomic, and
    # a download that fails leaves no empty folders.
    parent = next(path for path in (raw_folder, *raw_folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".fastfcn-download-", dir=parent) as temporary:
            if torchvision is None:
                files = _with_pooch(source, Path(temporary))
            else:
                files = _with_torchvision(torchvision, source, Path(temporary))
            raw_folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(file, raw_folder / file.name)
    except OSError as error:
        raise OSError(f"Downloading {source.name} to {raw_folder} failed: {error}") from error


def import_torchvision() -> ModuleType:
    """Import ``torchvision.datasets``, and explain the one failure that is common.

    Returns
    -------
    module

    Raises
    ------
    TorchvisionBroken
        If torchvision was built for another build of torch than the installed one. On a CPU-only
        Linux, package indexes pair the CPU build of torch with the CUDA build of torchvision.
    ImportError
        If torchvision is not installed.
    """
    try:
        import torchvision.datasets
    except RuntimeError as error:
        if re.search(r"operator torchvision::\w+ does not exist", str(error)) is None:
            raise
        raise TorchvisionBroken(
            f"torchvision does not import beside this build of torch ({error}). Either install "
            "matching CPU builds of torch and torchvision, both from PyTorch's own CPU package "
            "index (https://pytorch.org/get-started/locally), or pip uninstall torchvision: "
            "fastfcn then downloads with pooch."
        ) from error
    datasets: ModuleType = torchvision.datasets
    return datasets


def _with_torchvision(torchvision: ModuleType, source: Source, folder: Path) -> list[Path]:
    dataset_class = getattr(torchvision, source.name)
    # torchvision waits for a silent mirror without end, and draws a bar for every file.
    with _default_socket_timeout(), contextlib.redirect_stderr(io.StringIO()):
        try:
            dataset_class(root=str(folder), train=False, download=True)
        except (RuntimeError, http.client.HTTPException) as error:
            raise OSError(f"torchvision: {error}") from error
    return [folder / source.name / "raw" / name for name in source.md5]


def _with_pooch(source: Source, folder: Path) -> list[Path]:
    import pooch

    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS)
    files = []
    mirrors = list(source.mirrors)
    with _quiet(pooch.get_logger()):
        for name, md5 in source.md5.items():
            failures = []
            for mirror in tuple(mirrors):
                try:
                    file = pooch.retrieve(
                        f"{mirror}{name}.gz",
                        known_hash=f"md5:{md5}",
                        fname=f"{name}.gz",
                        path=folder,
                        downloader=downloader,
                    )
                except (OSError, ValueError) as error:  # no answer, and another MD5
                    failures.append(f"{mirror}{name}.gz: {error}")
                    # A mirror that failed once comes last for the other files.
                    mirrors.append(mirrors.pop(mirrors.index(mirror)))
                else:
                    files.append(Path(file))
                    break
            else:
                raise OSError("\n  ".join(["no mirror gave the file:", *failures]))
    return files


@contextlib.contextmanager
def _default_socket_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
