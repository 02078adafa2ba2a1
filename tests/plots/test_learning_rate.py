"""The learning-rate finder's figure."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastfcn import plots

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
LOSSES = [2.3, 2.2, 1.5, 1.0, 50.0]


@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_the_curve_is_the_losses_over_logarithmic_rates(kind: Any) -> None:
    figure = plots.lr_finder(kind(lr=RATES, loss=LOSSES, suggestion=0.03))
    [axes] = figure.axes
    curve, suggestion = axes.lines
    assert np.asarray(curve.get_xdata()).tolist() == RATES
    assert np.asarray(curve.get_ydata()).tolist() == LOSSES
    assert axes.get_xscale() == "log"
    assert set(np.asarray(suggestion.get_xdata()).tolist()) == {0.03}
    assert suggestion.get_label().startswith("suggestion: 0.03, where")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate (logarithmic)", "loss")
    assert figure.get_suptitle() == "Learning-rate finder"


@pytest.mark.parametrize("suggestion", [None, float("nan")])
def test_without_a_suggestion_there_is_no_line_for_one(suggestion: float | None) -> None:
    figure = plots.lr_finder({"lr": RATES, "loss": LOSSES, "suggestion": suggestion})
    assert len(figure.axes[0].lines) == 1


@pytest.mark.parametrize("last", [1e6, np.inf, np.nan])
def test_divergence_does_not_flatten_the_curve(last: float) -> None:
    bottom, top = plots.lr_finder({"lr": RATES, "loss": [*LOSSES[:-1], last]}).axes[0].get_ylim()
    assert bottom < 1.0
    assert 2.3 < top < 5.0


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"lr": RATES}, "result must have loss"),
        ({"lr": RATES, "loss": LOSSES[:2]}, "got 5 and 2"),
        ({"lr": [1.0], "loss": [np.nan]}, "a finite loss among them"),
        ({"lr": [0.0], "loss": [1.0]}, "lr must be above 0, got 0.0"),
    ],
)
def test_what_does_not_fit_is_refused(result: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plots.lr_finder(result)
