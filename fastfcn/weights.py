"""Weights on disk, as safetensors."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastfcn.buffers import Array


def save_weights(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a state dict as a safetensors file, which is there whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; one of this name is replaced. Missing folders are made.
    state : mapping of str to ndarray
        ``net.state_dict()``.
    metadata : mapping of str to str, optional
        Kept in the file beside the arrays.

    Raises
    ------
    TypeError
        For a state that is no mapping.

    Examples
    --------
    >>> save_weights("model.safetensors", net.state_dict())  # doctest: +SKIP
    >>> net.load_state_dict(load_weights("model.safetensors"))  # doctest: +SKIP
    """
    from safetensors.numpy import save

    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a mapping of names to arrays, got {type(state).__name__}; pass "
            "net.state_dict()"
        )
    file = check_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not save_file: its files are the user's alone to read, whatever the umask.
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(save(dict(state), metadata=dict(metadata or {})))
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def check_file(path: str | os.PathLike[str]) -> Path:
    """Raise IsADirectoryError for a folder; return the path of anything else."""
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(
            f"{file} must be a file to write, got a folder; pass {file / 'model.safetensors'}"
        )
    return file


def load_weights(path: str | os.PathLike[str]) -> "dict[str, Array]":
    """Read what :func:`save_weights` wrote, for ``net.load_state_dict(...)``.

    Parameters
    ----------
    path : path-like
        A safetensors file.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str]) -> "tuple[dict[str, Array], dict[str, str]]":
    """Return a safetensors file's arrays and its metadata.

    Raises
    ------
    FileNotFoundError
        Where there is no file.
    ValueError
        For a file that is not safetensors, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} must be a safetensors file, and there is none")
    try:
        with safe_open(os.fspath(path), framework="numpy") as tensors:
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
            return state, dict(tensors.metadata() or {})
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be a safetensors file, such as a run's model.safetensors, got: {error}"
        ) from error
    except TypeError as error:  # of bfloat16, which PyTorch writes
        raise ValueError(
            f"{path} must hold types that NumPy has, got: {error}; convert them with PyTorch's "
            ".float() before they are saved"
        ) from error
