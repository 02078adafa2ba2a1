"""The confusion matrix: its counts, its names, and text that can be read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fastfcn import metrics, plots
from fastfcn.plots import style


def written(figure: Figure) -> dict[tuple[int, int], tuple[int, str]]:
    """Counts and percentages by row and column."""
    cells = {}
    for text in figure.axes[0].texts:
        count, share = text.get_text().split("\n")
        column, row = text.get_position()
        cells[int(row), int(column)] = (int(count), share)
    return cells


def names(figure: Figure) -> list[list[str]]:
    axes = figure.axes[0]
    return [[t.get_text() for t in labels] for labels in (axes.get_yticklabels(),
                                                          axes.get_xticklabels())]  # fmt: skip


def noisy(classes: int, samples: int = 2000, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, samples)
    return true, np.where(rng.random(samples) < 0.7, true, rng.integers(0, classes, samples))


@pytest.mark.parametrize("classes", [2, 3, 10, 20])
def test_cells_hold_the_counts_of_the_metric_and_their_share_of_the_row(classes: int) -> None:
    true, predicted = noisy(classes)
    expected = metrics.confusion_matrix(true, predicted)
    cells = written(plots.confusion_matrix(true, predicted))
    found = np.zeros_like(expected)
    for place, (count, share) in cells.items():
        found[place] = count
        assert float(share.strip("%")) == pytest.approx(
            100 * count / expected[place[0]].sum(), abs=0.051
        )
    np.testing.assert_array_equal(found, expected)


def test_axes_and_title_say_what_is_shown() -> None:
    figure = plots.confusion_matrix([0, 1, 1, 1], [0, 1, 1, 0])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "predicted class"
    assert axes.get_ylabel() == "true class (each row is 100%)"
    assert figure.get_suptitle() == "Confusion matrix: 3 of 4 right (75.00%)"
    assert plots.confusion_matrix([0, 1], [0, 1], title="mine").get_suptitle() == "mine"


@pytest.mark.parametrize(
    ("true", "predicted", "labels", "expected"),
    [
        ([3, 5], [5, 5], None, ["3", "5"]),
        ([0, 1], [1, 1], ["no", "yes"], ["no", "yes"]),
        (["b", "a"], ["a", "a"], None, ["a", "b"]),
        (["b", "a"], ["a", "a"], ["b", "a", "c"], ["b", "a", "c"]),
        ([5, 3], [5, 5], [5, 4, 3], ["5", "4", "3"]),
        ([True, False], [True, True], None, ["False", "True"]),
    ],
)
def test_rows_and_columns_are_named_and_ordered_by_the_labels(
    true: Any, predicted: Any, labels: Sequence[Any] | None, expected: list[str]
) -> None:
    figure = plots.confusion_matrix(true, predicted, labels)
    assert names(figure) == [expected, expected]
    counted = {place: count for place, (count, _) in written(figure).items()}
    where = {
        str(value): place
        for place, value in enumerate(labels or sorted(set(true) | set(predicted)))
    }
    if labels == ["no", "yes"]:
        where = {"0": 0, "1": 1}
    for one, other in zip(true, predicted, strict=True):
        counted[where[str(one)], where[str(other)]] -= 1
    assert not any(counted.values())


def test_scores_count_as_their_largest() -> None:
    scores = np.eye(3)[[0, 2, 2]]
    assert written(plots.confusion_matrix([0, 1, 2], scores)) == {
        (0, 0): (1, "100%"),
        (1, 2): (1, "100%"),
        (2, 2): (1, "100%"),
    }
    text = written(plots.confusion_matrix(["a", "b", "c"], scores))
    assert text == written(plots.confusion_matrix([0, 1, 2], scores))


@pytest.mark.parametrize("share", [0.0004, 0.0006])
def test_a_share_above_zero_is_never_written_as_zero(share: float) -> None:
    true = np.zeros(10_000, np.int64)
    predicted = (np.arange(10_000) < share * 10_000).astype(int)
    cell = written(plots.confusion_matrix(true, predicted, [0, 1]))[0, 1]
    assert cell[1] == ("<0.1%" if share < 0.0005 else "0.1%")


@pytest.mark.parametrize("classes", [2, 5, 10, 20])
def test_text_stands_out_from_its_cell_and_stays_inside(classes: int) -> None:
    true, predicted = noisy(classes, samples=40_000)
    figure = plots.confusion_matrix(true, predicted)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    axes = figure.axes[0]
    corners = axes.transData.transform([(0, 0), (1, 1)])
    width, height = np.abs(corners[1] - corners[0])
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width < width
        assert box.height < height
        assert box.height > 14, "two lines of at least 7 pixels each at 800 pixels"
        column, row = text.get_position()
        x, y = axes.transData.transform((column - 0.45, row - 0.45))
        ground = luminance(pixels[int(y), int(x)])
        ink = luminance(to_rgb(text.get_color()))
        light, dark = max(ground, ink), min(ground, ink)
        assert (light + 0.05) / (dark + 0.05) > 3.0


def luminance(colour: Any) -> float:
    """Of sRGB, as WCAG defines it."""
    value = np.asarray(colour)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_more_errors_are_darker_and_none_is_white() -> None:
    figure = plots.confusion_matrix(
        [0] * 10 + [1] * 10, [0] * 9 + [1] + [0] * 4 + [1] * 6, [0, 1, 2]
    )
    right, wrong = figure.axes[0].images
    assert right.get_cmap().name != wrong.get_cmap().name
    colours = [luminance(wrong.to_rgba(np.asarray(v))[:3]) for v in (0.1, 0.4)]
    assert colours[1] < colours[0]
    assert np.ma.getmaskarray(wrong.get_array())[0, 2]


def test_many_classes_are_drawn_without_numbers() -> None:
    true, predicted = noisy(40)
    figure = plots.confusion_matrix(true, predicted)
    assert not figure.axes[0].texts
    assert figure.get_figwidth() == style.WIDTH


@pytest.mark.parametrize(
    ("true", "predicted", "labels", "words"),
    [
        ([], [], None, "one length above 0, got 0 and 0"),
        ([0, 1], [0], None, "one length above 0, got 2 and 1"),
        ([[0, 1]], [0], None, r"y_true must have shape \(n,\)"),
        ([0, 2], [0, 1], [0, 1], "y_true must hold classes among .* got 2"),
        ([0, 1], [0, 2], ["no", "yes"], "y_pred must hold classes among .* got 2"),
        ([0, 1], [[0.2], [0.8]], None, r"got one column; .* \(y_pred\[:, 0\] > 0.5\)"),
        ([0, 1], [0, 1], "ab", "labels must be a list, one for each class, got 'ab'"),
        (["a", "b"], np.eye(3)[:2], None, "a column for each of the 2 classes, got 3"),
    ],
)
def test_what_does_not_fit_is_refused(true: Any, predicted: Any, labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plots.confusion_matrix(true, predicted, labels)
