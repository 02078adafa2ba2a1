"""Checkpoints: all that a training run needs to go on, in one file.

One file, so that it is replaced as a whole: weights of one epoch never meet the optimiser's state
of another.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastfcn import models, weights
from fastfcn.buffers import Array
from fastfcn.history import History
from fastfcn.models import Model


class Checkpoint(NamedTuple):
    """A training run after one of its epochs.

    Attributes
    ----------
    model : Model
        The network and what is known about it.
    optimizer : dict
        ``optimizer.state_dict()``.
    history : History
        The epochs that are done, with the seed.
    extra : dict
        What else the run keeps: anything JSON has, and arrays.
    parameters : dict, optional
        ``net.state_dict()`` as it was then, where the network has changed since.
    """

    model: Model
    optimizer: Mapping[str, Any]
    history: History
    extra: Mapping[str, Any]
    parameters: Mapping[str, Array] | None = None


def write(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the file is there whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; one that is there is replaced.
    checkpoint : Checkpoint
        What to keep.
    """
    parameters, metadata = models.described(checkpoint.model)
    parameters |= checkpoint.parameters or {}
    tensors = {f"model.{name}": array for name, array in parameters.items()}
    metadata |= {
        "optimizer": _taken_apart(checkpoint.optimizer, "optimizer", tensors),
        "history": json.dumps(vars(checkpoint.history)),
        "extra": _taken_apart(checkpoint.extra, "extra", tensors),
    }
    weights.save_weights(path, tensors, metadata)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what :func:`write` wrote.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is no checkpoint.
    """
    tensors, metadata = weights.read(path)
    try:
        prefix = "model."
        parameters = {
            name.removeprefix(prefix): array
            for name, array in tensors.items()
            if name.startswith(prefix)
        }
        return Checkpoint(
            models.rebuilt(parameters, metadata),
            _put_together(metadata["optimizer"], tensors),
            History(**json.loads(metadata["history"])),
            _put_together(metadata["extra"], tensors),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} must be a checkpoint of this version of fastfcn, got {error}"
        ) from error


def _taken_apart(state: Any, name: str, tensors: dict[str, Array]) -> str:
    """Return nested dicts and lists as JSON, and put the arrays in them aside."""

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


def _put_together(text: str, tensors: Mapping[str, Array]) -> Any:
    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {"tensor"}:
                return tensors[value["tensor"]]
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return value

    return whole(json.loads(text))
