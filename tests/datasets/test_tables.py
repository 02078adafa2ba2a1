"""Tables in files: what is read, and what is refused with which message."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from fastfcn.datasets.tables import TableError, as_target, read_table

SMALL = "a,b,kind\n1,2.5,x\n-3,4e2,y\n"


@pytest.fixture
def polars():
    return pytest.importorskip("polars")


def written(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_csv_is_read_as_numbers_names_and_target(tmp_path):
    x, names, y, target = read_table(written(tmp_path, SMALL), "kind")
    np.testing.assert_array_equal(x, [[1, 2.5], [-3, 400]])
    assert x.dtype == np.float64
    assert (names, y.tolist(), target) == (("a", "b"), ["x", "y"], "kind")


def test_every_float_reads_back_exactly(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 4)) * 10.0 ** np.arange(-8, 8, 4)
    lines = ["p,q,r,s", *(",".join(map(repr, row)) for row in values.tolist())]
    np.testing.assert_array_equal(read_table(written(tmp_path, "\n".join(lines))).x, values)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_byte_order_marks_quotes_and_blank_lines_are_understood(tmp_path, separator):
    text = '\ufeff"a",b\n1,2\n\n"3",4\r\n'.replace(",", separator)
    x, names, _, _ = read_table(written(tmp_path, text))
    assert names == ("a", "b")
    np.testing.assert_array_equal(x, [[1, 2], [3, 4]])


def test_columns_come_in_the_order_asked_for_and_others_are_not_looked_at(tmp_path):
    file = written(tmp_path, "id,a,b\nrow one,1,2\n,3,4\n")
    np.testing.assert_array_equal(read_table(file, columns=["b", "a"]).x, [[2, 1], [4, 3]])
    assert read_table(file, exclude=["id"]).feature_names == ("a", "b")


def test_true_and_false_are_one_and_zero(tmp_path):
    x = read_table(written(tmp_path, "a,b\nTrue,1\nfalse,2\n")).x
    np.testing.assert_array_equal(x, [[1, 1], [0, 2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,red\n2,blue\n", r"column 'b' of .*t\.csv must be numbers, got 'red' in row 1; .*"
         "OneHotEncoder or OrdinalEncoder"),
        ("a,b,c\n1,2,3\nx,y,4\n", "columns 'a', 'b' of .* must be numbers, got 'x' in row 2"),
        ("a,b\n1,2\n3,\n4,NA\n", r"column 'b' of .* no missing values, got 2 \(first in row 2\); "
         ".*SimpleImputer"),
        ("a,b\n1,2\n3,nan\n", r"column 'b' of .* no missing values, got 1 \(first in row 2\)"),
        ("a,b\n1,2\n3,-inf\n", r"column 'b' of .* must be finite, got -inf in row 2"),
        ("a,b\n1,2\n3\n", "row 2 of .* must have 2 fields, .* got 1"),
        ("a,a\n1,2\n", "name each column differently, got 'a' twice"),
        ("1.5,2\n1,2\n", "must have the names of its columns in the first line, got numbers"),
        (",a\n0,1\n", "column 1 of .* must have a name, got none; .*index=False"),
        ("", "names of its columns"),
        ("a,b\n", "at least one row"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_the_way_out(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        read_table(written(tmp_path, text))


def test_pandas_numbered_columns_are_names(tmp_path):
    assert read_table(written(tmp_path, "0,1\n5,6\n")).feature_names == ("0", "1")


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(TableError, match="must have column 'price'; it has 'a', 'b', 'kind'"):
        read_table(written(tmp_path, SMALL), "price")
    with pytest.raises(TableError, match="must have columns 'p', 'q'"):
        read_table(written(tmp_path, SMALL), columns=["p", "a", "q"])


def test_a_missing_target_is_refused(tmp_path):
    file = written(tmp_path, "a,y\n1,2\n2,\n3,\n")
    with pytest.raises(TableError, match=r"column 'y' of .*, got 2 \(row 2\); leave those rows"):
        read_table(file, "y")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["3", "1"], np.array([3, 1])),
        (["3.0", "1"], np.array([3, 1])),
        (["3.5", "1"], np.array([3.5, 1])),
        (["3", "one"], np.array(["3", "one"])),
        (["00123", "123"], np.array(["00123", "123"])),
        (["0", "0.5", "-0.5"], np.array([0, 0.5, -0.5])),
        (["1e300", "1"], np.array([1e300, 1])),
        (np.array([1, 2], np.uint8), np.array([1, 2])),
        (np.array([1, 2], np.float32), np.array([1, 2])),
        (np.array([True, False]), np.array(["True", "False"])),
    ],
)
def test_a_target_is_whole_numbers_or_floats_or_text(values, expected):
    found = as_target(values, "y")
    assert found.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(found, expected)


def test_parquet_gives_what_the_csv_gives(tmp_path, polars):
    frame = polars.DataFrame({"a": [1, 2], "b": [0.5, -1.0], "t": [True, False], "y": ["u", "v"]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    for columns in (None, ["b", "a"]):
        one, other = (read_table(tmp_path / f"t.{s}", "y", columns) for s in ("csv", "parquet"))
        np.testing.assert_array_equal(one.x, other.x)
        assert one.y.tolist() == other.y.tolist() == ["u", "v"]
        assert one.feature_names == other.feature_names


def test_text_in_parquet_stays_text(tmp_path, polars):
    file = tmp_path / "t.parquet"
    polars.DataFrame({"a": [1, 2, 3], "y": ["1", "2", "none"]}).write_parquet(file)
    assert read_table(file, "y").y.tolist() == ["1", "2", "none"]
    polars.DataFrame({"a": [1, 2, 3], "y": ["1", " ", "none"]}).write_parquet(file)
    with pytest.raises(TableError, match=r"column 'y' of .*, got 1 \(row 2\)"):
        read_table(file, "y")


def test_parquet_with_text_and_missing_values_is_refused_by_column(tmp_path, polars):
    file = tmp_path / "t.parquet"
    kinds = polars.Series(["u", "v"], dtype=polars.Categorical)
    polars.DataFrame({"a": [1, None], "k": kinds, "y": ["p", None]}).write_parquet(file)
    with pytest.raises(TableError, match="column 'k' of .* must be numbers, got Categorical"):
        read_table(file, columns=["a", "k"])
    with pytest.raises(TableError, match=r"column 'a' of .*got 1 \(first in row 2\).*Imputer"):
        read_table(file, columns=["a"])
    with pytest.raises(TableError, match=r"column 'y' of .*, got 1 \(row 2\)"):
        polars.DataFrame({"a": [1, 2], "y": ["p", None]}).write_parquet(file)
        read_table(file, "y")


def test_a_categorical_parquet_target_is_text(tmp_path, polars):
    kinds = polars.Series(["u", "v"], dtype=polars.Categorical)
    polars.DataFrame({"a": [1, 2], "k": kinds}).write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", "k").y.tolist() == ["u", "v"]


def test_parquet_without_polars_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(importlib.sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"pip install 'fastfcn\[table\]'"):
        read_table(tmp_path / "t.parquet")


def test_a_damaged_parquet_file_is_named(tmp_path, polars):
    (tmp_path / "t.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(TableError, match=r"t\.parquet must be a Parquet file"):
        read_table(tmp_path / "t.parquet")


def test_npy_and_npz_are_read_as_stored_and_flattened(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    np.savez(tmp_path / "t.npz", x=images, label=[2, 0, 1])
    x, names, y, target = read_table(tmp_path / "t.npz", "label")
    assert (x.dtype, x.shape, names, target) == (np.uint8, (3, 8), None, "label")
    assert y.tolist() == [2, 0, 1]
    np.save(tmp_path / "t.npy", np.array([[0.5, 1, 7], [1.5, 0, 8]], np.float32))
    x, names, y, _ = read_table(tmp_path / "t.npy", "2")
    assert (x.dtype, x.tolist(), y.tolist()) == (np.float32, [[0.5, 1], [1.5, 0]], [7, 8])


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"y": [1]}, "y", r"must hold arrays 'x' and 'y', got \['y'\]"),
        ({"x": [[1.0]], "y": [1, 2]}, "y", r"y of .* must have shape \(1,\), got \(2,\)"),
        ({"x": [1.0]}, None, r"a sample a row, \(n, features\), got \(1,\)"),
        ({"x": [["a"]]}, None, "must be real numbers, got dtype <U1"),
        ({"x": [[np.nan]]}, None, "column '0' of .* no missing values"),
    ],
)
def test_npz_that_cannot_be_used_is_named(tmp_path, arrays, target, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "t.npz", target)


def test_objects_in_npy_are_never_unpickled(tmp_path):
    np.save(tmp_path / "t.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(TableError, match="must hold arrays of numbers"):
        read_table(tmp_path / "t.npy")


def test_other_files_are_refused_by_their_ending(tmp_path):
    with pytest.raises(TableError, match=r"t\.xlsx must end in one of \.csv"):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(FileNotFoundError, match=r"t\.csv must be a file, and there is none"):
        read_table(tmp_path / "t.csv")


def test_the_target_cannot_be_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,t\n1,2,3\n")
    with pytest.raises(ValueError, match="exclude must leave the target in, got 't'"):
        read_table(tmp_path / "t.csv", "t", exclude=["t"])


def test_a_damaged_array_is_not_said_to_be_loadable_unsafely(tmp_path):
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(ValueError, match=f"{name} must hold arrays .* damaged") as error:
            read_table(tmp_path / name, "t")
        assert "pickle" not in str(error.value)
