"""Arrays in a file: safetensors, with text as metadata.

The one module that imports safetensors, which reads a file without running anything in it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from fastfcn.buffers import Array


def write(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays with metadata; the file is there whole or not at all.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced.
    tensors : mapping of str to ndarray
        The arrays, by name.
    metadata : mapping of str to str
        Text, by name.
    """
    import numpy as np
    from safetensors.numpy import save

    whole = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=dict(metadata))
    # Not save_file: its files are the user's alone to read, whatever the umask.
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(whole)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays of a file and its metadata.

    Raises
    ------
    FileNotFoundError
        Where there is no file.
    ValueError
        For a file that is not safetensors, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a safetensors file, and there is none")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, got: {error}") from error
    return tensors, metadata
