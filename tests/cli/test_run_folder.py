"""The files of a run folder, each on its own."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fastfcn import runs


@pytest.mark.parametrize(
    "value",
    [
        True,
        0,
        -(2**62),
        1.0,
        1e-300,
        1e16,
        math.inf,
        -math.inf,
        "",
        'quotes " and \\ backslash',
        "lines\nand\ttabs \x00\x1f\x7f",
        "ä 漢 😀",
        [1, 2],
        ["a", "b"],
        [],
    ],
)
def test_toml_reads_back_what_was_written(value: Any) -> None:
    again = tomllib.loads(runs.to_toml({"table": {"key": value}, "empty": {}}))
    assert again == {"table": {"key": value}, "empty": {}}
    assert type(again["table"]["key"]) is type(value)


def test_toml_reads_back_nan_and_leaves_none_out() -> None:
    again = tomllib.loads(runs.to_toml({"t": {"nan": math.nan, "none": None}}))
    assert math.isnan(again["t"].pop("nan"))
    assert again == {"t": {}}


def test_toml_takes_paths_with_bytes_that_are_no_text() -> None:
    assert tomllib.loads(runs.to_toml({"t": {"p": Path("a\udcff")}})) == {"t": {"p": "a?"}}


def test_toml_refuses_what_it_has_no_form_for() -> None:
    with pytest.raises(TypeError, match="a TOML value must be"):
        runs.to_toml({"t": {"key": object()}})


def test_history_writes_none_as_an_empty_field(tmp_path: Path) -> None:
    runs.write_history(tmp_path / "h.csv", {"epoch": [1, 2], "accuracy": [None, 0.1]})
    assert (tmp_path / "h.csv").read_text(encoding="utf-8") == "epoch,accuracy\n1,\n2,0.1\n"


def test_a_history_reads_back_as_it_was_written(tmp_path: Path) -> None:
    columns = {
        "epoch": [1, 2],
        "loss": [0.1, math.inf],
        "accuracy": [None, 1.0],
        "lr": [1e-300, 2.0],
    }
    runs.write_history(tmp_path / "history.csv", columns)
    for path in (tmp_path, tmp_path / "history.csv"):
        again = runs.read_history(path)
        assert again == columns
        assert [type(value) for value in again["epoch"]] == [int, int]
        assert type(again["lr"][1]) is float


@pytest.mark.parametrize("line", ["1", "1,a", "1,0.5,2"])
def test_a_history_that_is_no_table_of_numbers_is_refused_with_its_line(
    line: str, tmp_path: Path
) -> None:
    (tmp_path / "h.csv").write_text(f"epoch,loss\n1,0.5\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="2 columns of numbers, got .* in line 3"):
        runs.read_history(tmp_path / "h.csv")
