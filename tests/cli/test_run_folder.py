"""The files of a run folder, each on its own."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fastfcn import plots, runs

PNG = b"\x89PNG\r\n\x1a\n"


def columns(epochs: int, **changes: list[Any]) -> dict[str, list[Any]]:
    epoch = list(range(1, epochs + 1))
    values = [1.0 / e for e in epoch]
    return {
        "epoch": epoch,
        "loss": values,
        "accuracy": [1.0 - v / 2 for v in values],
        "val_loss": values,
        "val_accuracy": [1.0 - v for v in values],
    } | changes


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


@pytest.mark.parametrize(
    "history",
    [
        columns(1),
        columns(2),
        columns(20),
        columns(100),
        columns(2, loss=[math.nan, math.inf], val_loss=[math.nan, math.nan]),
        columns(2, accuracy=[None, None], val_accuracy=[None, None]),
    ],
    ids=["one epoch", "two", "twenty", "hundred", "diverged", "no accuracy"],
)
def test_curves_are_two_panels_and_a_png(history: dict[str, list[Any]], tmp_path: Path) -> None:
    figure = plots.curves(history, "title")
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    for axes in figure.axes:
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() in ("loss", "accuracy")
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_curves_show_training_and_test_in_both_panels() -> None:
    for axes in plots.curves(columns(5)).axes:
        assert [line.get_label().split()[0] for line in axes.lines] == ["train", "test"]
        assert all(list(line.get_xdata()) == [1, 2, 3, 4, 5] for line in axes.lines)


def test_curves_of_no_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.curves(columns(0))


def test_curves_leave_pyplot_alone() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from fastfcn import plots; "
        "plots.curves({'epoch': [1], 'loss': [1.0], 'accuracy': [1.0]}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
