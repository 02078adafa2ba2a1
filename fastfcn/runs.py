"""Run folders: what a training run leaves on disk.

==========================  =====================================================================
``model.safetensors``       the network, see :mod:`fastfcn.models`
``checkpoint.safetensors``  what going on with the run needs, see :mod:`fastfcn.checkpoints`
``history.csv``             one row an epoch
``config.toml``             the options, versions and results
``curves.png``              loss and accuracy over the epochs
==========================  =====================================================================
"""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is no table of numbers; it names the line.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "history.csv"
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            names, *rows = list(csv.reader(lines)) or [[]]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{file} must be a table of a run, and there is no such file"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a table of numbers, got: {error}") from error
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
