"""Tables in files: CSV, Parquet, NPY and NPZ, as arrays that ``fit`` takes.

CSV needs nothing but Python and NumPy; Parquet needs polars (``pip install 'fastfcn[table]'``).
"""

import csv
import math
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".csv", ".tsv", ".parquet", ".npy", ".npz")
"""Endings of the names of files that :func:`read_table` reads."""

_CODE = re.compile(r"[+-]?0\d")
"""Text that begins as no number is written: a postcode, say."""
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
_BOOLEANS = {"true": 1.0, "false": 0.0}
_SEPARATORS = ",;\t|"
_NAMED_AT_MOST = 5


class TableError(ValueError):
    """A table cannot be used as it is; the message names the column and the way out."""


class Table(NamedTuple):
    """A table's columns.

    Attributes
    ----------
    x : (n, features) ndarray
        The features: float64 from CSV and Parquet, as stored from NPY and NPZ.
    feature_names : tuple of str or None
        Their columns; None where the file has no names.
    y : (n,) ndarray or None
        The target: int64, float64 or text.
    target_name : str or None
        Its column.
    """

    x: NDArray[Any]
    feature_names: tuple[str, ...] | None = None
    y: NDArray[Any] | None = None
    target_name: str | None = None


def read_table(
    path: str | os.PathLike[str],
    target: str | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Table:
    r"""Read a table of numbers, and the column to predict.

    Parameters
    ----------
    path : path-like
        ``.csv`` or ``.tsv`` with the columns' names in the first line, separated by commas,
        semicolons, tabs or bars; ``.parquet``; ``.npy``, one array with a sample a row; ``.npz``
        with the samples in ``x``.
    target : str, optional
        The column to predict: a name; the column's number from 0 in ``.npy``; the array's name in
        ``.npz``. Its values may be numbers or text.
    columns : sequence of str, optional
        The features, in this order, where the file has names; all but the target by default.
    exclude : sequence of str, optional
        Columns to leave out.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TableError
        For columns that are not there, and features that are text or have missing values. It is a
        `ValueError`.
    ImportError
        For Parquet without polars.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "flowers.csv")
    >>> _ = file.write_text("length,width,kind\n5.1,3.5,setosa\n6.2,2.9,virginica\n")
    >>> x, names, y, target = read_table(file, target="kind")
    >>> x
    array([[5.1, 3.5],
           [6.2, 2.9]])
    >>> names, y.tolist()
    (('length', 'width'), ['setosa', 'virginica'])
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise TableError(f"{file} must end in one of {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise FileNotFoundError(f"{file} must be a file, and there is none")
    if suffix in (".csv", ".tsv"):
        return _read_csv(file, target, columns, exclude)
    if suffix == ".parquet":
        return _read_parquet(file, target, columns, exclude)
    if exclude:
        raise TableError(f"{file} has no names of columns to leave out: exclude must be empty")
    return _read_npy(file, target) if suffix == ".npy" else _read_npz(file, target)


def as_target(values: Sequence[Any] | NDArray[Any], what: str) -> NDArray[Any]:
    """Return a target as int64 where all are whole numbers, else float64, else as text.

    Text with leading zeros, such as "007", stays text: it is no number but a code.

    Parameters
    ----------
    values : sequence
        Numbers, booleans or text.
    what : str
        Its name, for the error.

    Raises
    ------
    TableError
        For missing values.

    Examples
    --------
    >>> as_target(["1", "2.0"], "y"), as_target(["1.5", "2"], "y"), as_target(["1", "b"], "y")
    (array([1, 2]), array([1.5, 2. ]), array(['1', 'b'], dtype='<U1'))
    """
    given = np.asarray(values)
    if given.dtype.kind == "b":
        return given.astype(str)
    if given.dtype.kind not in "fiuU":
        raise TableError(f"{what} must be numbers or text, got dtype {given.dtype}")
    if given.dtype.kind == "U":
        texts = [str(text).strip() for text in given]
        missing = [row for row, text in enumerate(texts, 1) if text.lower() in _MISSING]
        if missing:
            raise TableError(_missing_target(what, len(missing), missing[0]))
        if any(_CODE.match(text) for text in texts):
            return np.array(texts)
        try:
            given = np.array([float(text) for text in texts])
        except ValueError:
            return np.array(texts)
    if given.dtype.kind == "f":
        lost = np.flatnonzero(np.isnan(given))
        if lost.size:
            raise TableError(_missing_target(what, lost.size, int(lost[0]) + 1))
        # Beyond 2⁵³ a float64 may stand for several whole numbers.
        if not (np.isfinite(given) & (given == np.rint(given)) & (abs(given) <= 2.0**53)).all():
            return given.astype(np.float64)
    return given.astype(np.int64)


def _missing_target(what: str, number: int, row: int) -> str:
    return f"{what} must have no missing values, got {number} (row {row}); leave those rows out"


# ---- CSV -------------------------------------------------------------------------------------


def _read_csv(
    file: Path, target: str | None, columns: Sequence[str] | None, exclude: Sequence[str]
) -> Table:
    with open(file, newline="", encoding="utf-8-sig") as lines:
        return read_csv(lines, str(file), target, columns, exclude)


def read_csv(
    lines: TextIO,
    name: str,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Table:
    r"""Read a table of numbers as text, its columns' names in the first line.

    Parameters
    ----------
    lines : file
        The text, opened with ``newline=""``.
    name : str
        What messages call it.
    target, columns, exclude
        As :func:`read_table` takes them.

    Raises
    ------
    TableError
        As :func:`read_table`.

    Examples
    --------
    >>> import io
    >>> read_csv(io.StringIO("length;width\n5.1;3.5\n"), "the text").x
    array([[5.1, 3.5]])
    """
    try:
        header = lines.readline()
        separator = max(_SEPARATORS, key=header.count)
        names = [cell.strip() for cell in next(csv.reader([header], delimiter=separator), [])]
        _check_header(name, names)
        chosen = _chosen(name, names, target, columns, exclude)
        rows = csv.reader(lines, delimiter=separator)
        x, labels = _numbers(name, names, rows, chosen, target)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{name} must be text in UTF-8 with separators: {error}") from error
    features = tuple(names[i] for i in chosen)
    if target is None:
        return Table(x, features)
    return Table(x, features, as_target(labels, _column(target, name)), target)


def _check_header(file: Path | str, names: Sequence[str]) -> None:
    if not any(names):
        raise TableError(f"{file} must have the names of its columns in the first line, got none")
    if all(_is_number(name) for name in names) and names != [str(i) for i in range(len(names))]:
        raise TableError(
            f"{file} must have the names of its columns in the first line, got numbers: "
            f"{', '.join(names[:_NAMED_AT_MOST])}; add a line of names"
        )
    for i, name in enumerate(names):
        if not name:
            raise TableError(
                f"column {i + 1} of {file} must have a name, got none; if it is pandas' index, "
                "write the file with index=False"
            )
        if name in names[:i]:
            raise TableError(f"{file} must name each column differently, got {name!r} twice")


def _numbers(
    file: Path | str, names: Sequence[str], rows: Iterable[list[str]], chosen: Sequence[int],
    target: str | None,
) -> tuple[NDArray[np.float64], list[str]]:  # fmt: skip
    """Return the chosen columns as numbers and the target's as text."""
    values, labels = array("d"), []
    faults = _Faults(file)
    at = None if target is None else names.index(target)
    everything = list(chosen) == list(range(len(names)))
    number = 0
    for cells in rows:
        if not cells:  # a blank line
            continue
        number += 1
        if len(cells) != len(names):
            raise TableError(
                f"row {number} of {file} must have {len(names)} fields, as the first line has, got "
                f"{len(cells)}"
            )
        if at is not None:
            labels.append(cells[at])
        wanted = cells if everything else [cells[i] for i in chosen]
        before = len(values)
        try:
            values.extend(map(float, wanted))
        except ValueError:
            del values[before:]
            values.extend(
                faults.number(cell, names[i], number)
                for i, cell in zip(chosen, wanted, strict=True)
            )
    faults.raise_any()
    if not number:
        raise TableError(f"{file} must have at least one row, got none")
    x = np.frombuffer(values, np.float64).reshape(number, len(chosen))
    _check_finite(file, x, [names[i] for i in chosen])
    return x, labels


class _Faults:
    """Cells that are not numbers, gathered so that one message names all of their columns."""

    def __init__(self, file: Path | str) -> None:
        self._file = file
        self._text: dict[str, tuple[str, int]] = {}
        self._missing: dict[str, tuple[int, int]] = {}

    def number(self, cell: str, name: str, row: int) -> float:
        """Return a cell's number, NaN where it has none."""
        text = cell.strip()
        if _is_number(text):
            return float(text)
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if text.lower() in _MISSING:
            many, first = self._missing.get(name, (0, row))
            self._missing[name] = many + 1, first
        else:
            self._text.setdefault(name, (text, row))
        return math.nan

    def raise_any(self) -> None:
        if self._text:
            name, (text, row) = next(iter(self._text.items()))
            raise TableError(_text_message(self._file, list(self._text), f"{text!r} in row {row}"))
        if self._missing:
            raise TableError(_missing_message(self._file, self._missing))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---- Parquet ---------------------------------------------------------------------------------


def _read_parquet(
    file: Path, target: str | None, columns: Sequence[str] | None, exclude: Sequence[str]
) -> Table:
    try:
        import polars
    except ImportError as error:
        raise ImportError(
            f"reading {file} needs polars; pip install 'fastfcn[table]', or write it as CSV"
        ) from error
    try:
        names = polars.read_parquet_schema(file)
        chosen = [list(names)[i] for i in _chosen(file, list(names), target, columns, exclude)]
        frame = polars.read_parquet(file, columns=chosen if target is None else [*chosen, target])
    except polars.exceptions.ComputeError as error:
        raise TableError(f"{file} must be a Parquet file: {error}") from error
    if not len(frame):
        raise TableError(f"{file} must have at least one row, got none")
    text = [
        name for name in chosen
        if not (frame.schema[name].is_numeric() or frame.schema[name] == polars.Boolean)
    ]  # fmt: skip
    if text:
        raise TableError(_text_message(file, text, str(frame.schema[text[0]])))
    x = np.empty((len(frame), len(chosen)))
    for i, name in enumerate(chosen):
        x[:, i] = frame[name].cast(polars.Float64).to_numpy()  # null becomes NaN
    _check_finite(file, x, chosen)
    if target is None:
        return Table(x, tuple(chosen))
    column, what = frame[target], _column(target, file)
    if column.null_count():
        raise TableError(
            _missing_target(what, column.null_count(), int(column.is_null().arg_max() or 0) + 1)
        )
    if column.dtype.is_decimal():
        column = column.cast(polars.Float64)
    elif isinstance(column.dtype, polars.Categorical | polars.Enum):
        column = column.cast(polars.String)
    values = column.to_numpy()
    if column.dtype == polars.String:  # whatever it looks like, it was meant for text
        texts = np.char.strip(values.astype(str))
        blank = np.flatnonzero(texts == "")
        if blank.size:
            raise TableError(_missing_target(what, blank.size, int(blank[0]) + 1))
        return Table(x, tuple(chosen), texts, target)
    return Table(x, tuple(chosen), as_target(values, what), target)


# ---- NumPy's files ---------------------------------------------------------------------------


def _read_npy(file: Path, target: str | None) -> Table:
    rows = _rows(_loaded(file), str(file))
    if target is None:
        return Table(rows)
    if not target.isdecimal() or int(target) >= rows.shape[1]:
        raise TableError(
            f"target must be the number of a column of {file}, 0 to {rows.shape[1] - 1}, "
            f"got {target!r}"
        )
    at = int(target)
    return Table(
        np.delete(rows, at, axis=1), None, as_target(rows[:, at], _column(target, file)), target
    )


def _read_npz(file: Path, target: str | None) -> Table:
    arrays = _loaded(file)
    names = ["x", "X"] if target is None else ["x", "X", target]
    found = [name for name in names if name in arrays]
    if not {"x", "X"} & set(found) or (target is not None and target not in found):
        wanted = "an array 'x'" if target is None else f"arrays 'x' and {target!r}"
        raise TableError(f"{file} must hold {wanted}, got {sorted(arrays)}")
    x = _rows(arrays[found[0]], f"{found[0]} of {file}")
    if target is None:
        return Table(x)
    y = arrays[target]
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (len(x),):
        raise TableError(f"{target} of {file} must have shape ({len(x)},), got {y.shape}")
    return Table(x, None, as_target(y, f"{target} of {file}"), target)


def _loaded(file: Path) -> Any:
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError) as error:
        raise TableError(
            f"{file} must hold arrays of numbers or text; it is damaged or holds Python objects"
        ) from error


def _rows(values: NDArray[Any], what: str) -> NDArray[Any]:
    if values.dtype.kind not in "fiub":
        raise TableError(f"{what} must be real numbers, got dtype {values.dtype}")
    if values.ndim < 2 or not len(values):
        raise TableError(f"{what} must have a sample a row, (n, features), got {values.shape}")
    rows = values.reshape(len(values), -1)
    _check_finite(what, rows, [str(i) for i in range(rows.shape[1])])
    return rows


# ---- what the formats share ------------------------------------------------------------------


def _chosen(
    file: Path | str, names: Sequence[str], target: str | None, columns: Sequence[str] | None,
    exclude: Sequence[str],
) -> list[int]:  # fmt: skip
    """Return the places of the features' columns."""
    asked = [*(columns or ()), *exclude, *([] if target is None else [target])]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise TableError(
            f"{file} must have {_listed(unknown)}; it has {', '.join(map(repr, names[:20]))}"
            f"{' ...' if len(names) > 20 else ''}"
        )
    if target is not None and target in exclude:
        raise TableError(f"exclude must leave the target in, got {target!r} in both")
    if columns is not None:
        return [names.index(name) for name in columns]
    left = [i for i, name in enumerate(names) if name != target and name not in exclude]
    if not left:
        raise TableError(f"{file} must have a column beside the target and those left out")
    return left


def _check_finite(file: Path | str, x: NDArray[Any], names: Sequence[str]) -> None:
    if x.dtype.kind != "f":
        return
    lost = np.isnan(x)
    if lost.any():
        missing = {
            names[int(i)]: (int(lost[:, i].sum()), int(lost[:, i].argmax()) + 1)
            for i in np.flatnonzero(lost.any(axis=0))
        }
        raise TableError(_missing_message(file, missing))
    endless = np.isinf(x)
    if endless.any():
        row, column = (int(place[0]) for place in np.nonzero(endless))
        raise TableError(
            f"{_listed([names[column]])} of {file} must be finite, got {x[row, column]} in row "
            f"{row + 1}"
        )


def _text_message(file: Path | str, names: Sequence[str], got: str) -> str:
    return (
        f"{_listed(names)} of {file} must be numbers, got {got}; turn categories into numbers with "
        f"scikit-learn's OneHotEncoder or OrdinalEncoder first, or leave the column out"
    )


def _missing_message(file: Path | str, missing: dict[str, tuple[int, int]]) -> str:
    number = sum(many for many, _ in missing.values())
    first = next(iter(missing.values()))[1]
    return (
        f"{_listed(list(missing))} of {file} must have no missing values, got {number} (first in "
        f"row {first}); fill them with scikit-learn's SimpleImputer first, or leave those rows out"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED_AT_MOST]))
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return f"column{'s' if len(names) > 1 else ''} {shown}{more}"


def _column(name: str, file: Path | str) -> str:
    return f"column {name!r} of {file}"
