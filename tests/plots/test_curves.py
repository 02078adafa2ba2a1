"""Curves over the epochs: which panels and lines there are, and what they show."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import fastfcn as ff
from fastfcn import losses, nn, optim, plots, runs

PNG = b"\x89PNG\r\n\x1a\n"


def columns(epochs: int, **changes: list[Any]) -> dict[str, list[Any]]:
    epoch = list(range(1, epochs + 1))
    values = [1.0 / e for e in epoch]
    return {
        "epoch": epoch,
        "loss": values,
        "accuracy": [1.0 - v / 2 for v in values],
        "val_loss": [v + 0.1 for v in values],
        "val_accuracy": [1.0 - v for v in values],
    } | changes


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def shown(axes: Axes) -> dict[str, list[float]]:
    """The lines of a panel by their labels."""
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    "history",
    [
        columns(1),
        columns(2),
        columns(20),
        columns(100),
        columns(2, loss=[math.nan, math.inf], val_loss=[math.nan, math.nan]),
    ],
    ids=["one epoch", "two", "twenty", "hundred", "diverged"],
)
def test_a_run_is_two_panels_with_named_axes_and_whole_epochs(
    history: dict[str, list[Any]], tmp_path: Path
) -> None:
    figure = plots.curves(history, "title")
    assert titles(figure) == ["Loss", "Accuracy"]
    assert figure.get_suptitle() == "title"
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    for axes in figure.axes:
        assert axes.get_xlabel() == "epoch"
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_the_lines_are_the_columns() -> None:
    history = columns(5)
    loss, accuracy = plots.curves(history).axes
    training, validation = "training (while learning)", "validation (after the epoch)"
    assert shown(loss) == {training: history["loss"], validation: history["val_loss"]}
    assert shown(accuracy) == {training: history["accuracy"], validation: history["val_accuracy"]}
    assert all(np.asarray(line.get_xdata()).tolist() == [1, 2, 3, 4, 5] for line in loss.lines)


def test_what_fit_returns_is_drawn() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    history = ff.fit(
        net,
        np.random.default_rng(0).random((20, 2)),
        np.arange(20) % 3,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.1),
        epochs=3,
        batch_size=10,
    )
    figure = plots.curves(history)
    assert shown(figure.axes[0]) == {"training (while learning)": history.loss}
    assert legend(figure) == ["training (while learning)"]


def test_a_fitted_estimator_is_drawn_by_its_history() -> None:
    history = ff.History(epoch=[1, 2], loss=[0.5, 0.4])
    figure = plots.curves(SimpleNamespace(history_=history))
    assert shown(figure.axes[0]) == {"training (while learning)": [0.5, 0.4]}


def test_panels_without_numbers_are_left_out() -> None:
    none = [None, None]
    assert titles(plots.curves(columns(2, accuracy=none, val_accuracy=none))) == ["Loss"]


def test_entries_that_are_none_are_left_out() -> None:
    axes = plots.curves(columns(4, val_loss=[None, 0.5, None, 0.3])).axes[0]
    line = axes.lines[1]
    assert np.asarray(line.get_xdata()).tolist() == [2, 4]
    assert np.asarray(line.get_ydata()).tolist() == [0.5, 0.3]


def test_a_learning_rate_that_never_changes_has_no_panel() -> None:
    assert titles(plots.curves(columns(3, lr=[0.1, 0.1, 0.1]))) == ["Loss", "Accuracy"]
    two = {"one": columns(2, lr=[0.1, 0.1]), "other": columns(2, lr=[0.2, 0.1])}
    assert titles(plots.curves(two)) == ["Loss", "Accuracy", "Learning rate"]


def test_a_learning_rate_that_changes_has_a_panel() -> None:
    figure = plots.curves(columns(3, lr=[0.1, 0.01, 0.001]))
    assert titles(figure) == ["Loss", "Accuracy", "Learning rate"]
    assert list(shown(figure.axes[2]).values()) == [[0.1, 0.01, 0.001]]


def test_accuracies_are_written_as_percentages() -> None:
    axes = plots.curves(columns(3)).axes[1]
    assert axes.yaxis.get_major_formatter()(0.985) == "98.5%"


@pytest.mark.parametrize("log", [False, True])
def test_a_run_that_diverged_at_once_is_said_to_have(log: bool, tmp_path: Path) -> None:
    history = columns(2, loss=[math.nan, math.inf], val_loss=[math.nan, math.nan])
    loss, accuracy = plots.curves(history, log=log).axes
    assert [text.get_text() for text in loss.texts] == ["no finite value: training diverged"]
    assert not accuracy.texts
    loss.figure.savefig(tmp_path / "curves.png")


def test_log_is_for_the_loss_alone() -> None:
    figure = plots.curves(columns(20), log=True)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    assert figure.axes[0].yaxis.get_major_formatter()(0.05) == "0.05"


def test_several_runs_have_a_colour_each_and_training_is_dashed() -> None:
    figure = plots.curves({"small": columns(3), "large": columns(5)})
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-"]
    colours = [to_hex(line.get_color()) for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [len(np.asarray(line.get_xdata())) for line in lines] == [3, 3, 5, 5]
    assert legend(figure) == [
        "small",
        "large",
        "training (while learning)",
        "validation (after the epoch)",
    ]


def test_many_runs_never_look_alike() -> None:
    figure = plots.curves({str(i): columns(3) for i in range(20)})
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in figure.axes[0].lines[::2]}
    assert len(looks) == 20


def test_run_folders_are_named_by_themselves(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "wide", tmp_path / "a" / "deep", tmp_path / "b" / "wide"]
    for number, folder in enumerate(folders, 2):
        folder.mkdir(parents=True)
        runs.write_history(folder / "history.csv", columns(number))
    figure = plots.curves(folders)
    assert legend(figure)[:3] == ["wide", "deep", str(folders[2])]
    assert [len(np.asarray(line.get_xdata())) for line in figure.axes[0].lines[::2]] == [2, 3, 4]
    alone = plots.curves(str(folders[0]))
    assert shown(alone.axes[0])["training (while learning)"] == columns(2)["loss"]


@pytest.mark.parametrize(
    ("history", "error", "words"),
    [
        (columns(0), ValueError, "at least one epoch"),
        ([], ValueError, "at least one run"),
        ({"epoch": [1], "seconds": [2.0]}, ValueError, "a column loss or accuracy"),
        ({"loss": [1.0]}, TypeError, "columns with one named epoch"),
        (3, TypeError, "history must be"),
    ],
)
def test_what_is_no_run_is_refused(history: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plots.curves(history)


def test_pyplot_is_left_alone() -> None:
    code = (
        "import sys; from fastfcn import plots; "
        "plots.curves({'epoch': [1], 'loss': [1.0], 'accuracy': [1.0]}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
