"""Run folders: what a training run leaves on disk, and how to read its model back.

=====================  ==========================================================================
``model.safetensors``  the parameters, with what is needed to rebuild the network as metadata
``history.csv``        one row an epoch
``config.toml``        the options, versions and results
``curves.png``         loss and accuracy over the epochs
=====================  ==========================================================================
"""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastfcn import weights

if TYPE_CHECKING:
    import numpy as np

    from fastfcn import nn

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "softplus": "Softplus",
    "identity": "Identity",
}
"""Activations of the hidden layers by their names here, and their classes in :mod:`fastfcn.nn`."""


class Architecture(NamedTuple):
    """A plain network: linear layers with one activation between them.

    Attributes
    ----------
    sizes : tuple of int
        Features of the input, of each hidden layer, and of the output.
    activation : str
        After each hidden layer, a key of `ACTIVATIONS`.
    dtype : str
        ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> architecture = Architecture((784, 256, 128, 10))
    >>> architecture.parameters, architecture.flops_per_sample
    (235146, 1007104)
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    dtype: str = "float32"

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in self._linears())

    @property
    def flops_per_sample(self) -> int:
        """Floating-point operations to train on a sample, matrix products only.

        2·in·out for each layer's output, for its weights' gradient and for the gradient it hands
        down, which the first layer need not.
        """
        products = [n_in * n_out for n_in, n_out in self._linears()]
        return 6 * sum(products) - 2 * products[0]

    def build(self, rng: "np.random.Generator | None" = None) -> "nn.Sequential":
        """Make the network, its initial parameters drawn from `rng`."""
        import numpy as np

        from fastfcn import nn

        activation = getattr(nn, ACTIVATIONS[self.activation])
        dtype = np.dtype(self.dtype)
        layers: list[Any] = []
        for n_in, n_out in self._linears():
            layers += [nn.Linear(n_in, n_out, dtype=dtype, rng=rng), activation()]
        return nn.Sequential(*layers[:-1])

    def _linears(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))


class SavedModel(NamedTuple):
    """A network read back, and what its input must go through: x·scale + shift."""

    net: "nn.Sequential"
    scale: float
    shift: float


def save_model(
    path: str | os.PathLike[str],
    net: "nn.Sequential",
    architecture: Architecture,
    scale: float = 1.0,
    shift: float = 0.0,
) -> None:
    """Write a network's parameters as safetensors, with its architecture as metadata.

    Parameters
    ----------
    path : path-like
        The file.
    net : Sequential
        The network that ``architecture.build()`` made.
    architecture : Architecture
        Written beside the parameters, so that :func:`load_model` can rebuild the network.
    scale, shift : float
        What the network's input went through in training: x·scale + shift.
    """
    import fastfcn

    metadata = {
        "format": "fastfcn",
        "fastfcn_version": fastfcn.__version__,
        "layers": " ".join(map(str, architecture.sizes)),
        "activation": architecture.activation,
        "dtype": architecture.dtype,
        "scale": repr(float(scale)),
        "shift": repr(float(shift)),
        # PyTorch's are transposed: said here for whoever reads the file with other tools.
        "weight_shape": "in_features, out_features",
    }
    weights.save_weights(path, net.state_dict(), metadata)


def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read a network that :func:`save_model` or ``fastfcn train`` wrote.

    Parameters
    ----------
    path : path-like
        ``model.safetensors``, or the run folder that holds it.

    Returns
    -------
    SavedModel
        ``net, scale, shift``.

    Raises
    ------
    ValueError
        For a safetensors file that is not fastfcn's, or whose parameters do not fit its metadata.

    Examples
    --------
    >>> net, scale, shift = load_model("runs/mnist-20260101-120000")  # doctest: +SKIP
    >>> ff.predict(net, images, scale=scale, shift=shift)  # doctest: +SKIP
    """
    import numpy as np

    file = Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    state, metadata = weights.read(file)
    try:
        architecture = Architecture(
            tuple(int(size) for size in metadata["layers"].split()),
            metadata["activation"],
            metadata["dtype"],
        )
        scale, shift = float(metadata["scale"]), float(metadata["shift"])
        # A generator of its own: the values drawn are replaced at once.
        net = architecture.build(np.random.default_rng(0))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{file} must have the metadata that fastfcn writes (layers, activation, dtype, scale, "
            f"shift), got {metadata}"
        ) from error
    net.load_state_dict(state)
    return SavedModel(net, scale, shift)


def write_history(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Write a history's columns as CSV, one row an epoch; None becomes an empty field.

    Parameters
    ----------
    path : path-like
        The file.
    columns : mapping of str to sequence
        ``history.as_dict()``. Floats are written so that they read back exactly.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def read_history(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Read a history's columns: whole numbers as int, others as float, empty fields as None.

    Parameters
    ----------
    path : path-like
        ``history.csv``, or the run folder that holds it.

    Returns
    -------
    dict of str to list
        What :func:`write_history` was given.

    Raises
    ------
    ValueError
        For a file that is no table of numbers; it names the line.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "history.csv"
    with open(file, newline="", encoding="utf-8") as lines:
        names, *rows = list(csv.reader(lines)) or [[]]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, row in enumerate(rows, 2):
        try:
            for name, text in zip(names, row, strict=True):
                columns[name].append(_number(text))
        except ValueError as error:
            raise ValueError(
                f"{file} must be a table of {len(names)} columns of numbers, got {row} in line "
                f"{number}"
            ) from error
    return columns


def _number(text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of strings, booleans, numbers and lists of them as TOML.

    Parameters
    ----------
    tables : mapping of str to mapping
        By name, a bare key of TOML as every key in them. Values that are None are left out: TOML
        has no null.

    Examples
    --------
    >>> print(to_toml({"train": {"dataset": "mnist", "layers": [256, 128], "root": None}}))
    [train]
    dataset = "mnist"
    layers = [256, 128]
    <BLANKLINE>
    """
    blocks = []
    for name, table in tables.items():
        lines = [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]
        blocks.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(blocks)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(float(value))
    if isinstance(value, str | os.PathLike):
        # JSON's escapes are TOML's, but for DEL. Bytes of a file name that are no text are lost.
        text = os.fspath(value).encode("utf-8", "replace").decode("utf-8")
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"a TOML value must be text, a number, a boolean or a list, got {value!r}")


def claim_folder(path: Path) -> Path:
    """Make a run folder, or take one that exists and is empty.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    FileExistsError
        If the folder holds anything, or the path is a file: runs never overwrite.
    OSError
        If it cannot be made or written to.
    """
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} must be a folder, and is a file; choose another")
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise FileExistsError(f"{path} must be empty or new, and holds files; choose another")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} must be writable; choose another")
    return path


def claim_new_folder(path: Path) -> Path:
    """Make a folder that did not exist: `path`, or with ``-2``, ``-3`` ... added to its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate, number = path, 1
    while True:
        try:
            # Making it is the test: another run may start in the same second.
            candidate.mkdir()
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")
        else:
            return candidate
