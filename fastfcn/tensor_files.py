"""Arrays in a file: safetensors, with one JSON object as metadata.

The one module that imports safetensors, which reads a file without running anything in it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def taken_apart(state: Any, name: str, tensors: dict[str, Array]) -> str:
    """Return nested dicts and lists as JSON, and put the arrays in them aside.

    Parameters
    ----------
    state : dict, list, number, text or None
        Anything JSON has, and arrays.
    name : str
        What the arrays' names begin with.
    tensors : dict of str to ndarray
        Takes the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> tensors = {}
    >>> text = taken_apart({"lr": 0.1, "velocity": [np.zeros(2)]}, "optimizer", tensors)
    >>> text, list(tensors)
    ('{"lr": 0.1, "velocity": [{"tensor": "optimizer.velocity.0"}]}', ['optimizer.velocity.0'])
    >>> put_together(text, tensors)
    {'lr': 0.1, 'velocity': [array([0., 0.])]}
    """
    import numpy as np

    def plain(value: Any, at: str) -> Any:
        if isinstance(value, np.ndarray):
            tensors[at] = value
            return {"tensor": at}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            return {str(key): plain(item, f"{at}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, f"{at}.{i}") for i, item in enumerate(value)]
        return value

    return json.dumps(plain(state, name))


def put_together(text: str, tensors: Mapping[str, Array]) -> Any:
    """Return what :func:`taken_apart` was given."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {"tensor"}:
                return tensors[value["tensor"]]
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return value

    return whole(json.loads(text))
