"""The activations' figure: every one, with the values of the layers and their derivatives."""

import numpy as np

from fastfcn import nn, plots

EVERY = {
    name
    for name in nn.__all__
    if isinstance(getattr(nn, name), type)
    and issubclass(getattr(nn, name), nn.Activation)
    and getattr(nn, name) is not nn.Activation
}


def test_every_activation_has_a_panel_with_its_name() -> None:
    titles = [axes.get_title() for axes in plots.activations().axes]
    assert {title.split()[0].strip(",") for title in titles} == EVERY
    assert len(titles) == len(EVERY)


def test_the_derivative_is_the_slope_of_the_function() -> None:
    for axes in plots.activations().axes:
        value, slope = axes.lines
        assert (value.get_label(), slope.get_label()) == ("h(z)", "h'(z)")
        z, h = np.asarray(value.get_xdata()), np.asarray(value.get_ydata())
        derivative = np.asarray(slope.get_ydata())
        away_from_a_kink = np.abs(z) > 0.02
        np.testing.assert_allclose(
            np.gradient(h, z, edge_order=2)[away_from_a_kink],
            derivative[away_from_a_kink],
            atol=1e-4,
        )


def test_the_values_are_the_formulas() -> None:
    values = {
        axes.get_title(): np.asarray(axes.lines[0].get_ydata()) for axes in plots.activations().axes
    }
    z = np.linspace(-4.0, 4.0, 801)
    np.testing.assert_allclose(values["Sigmoid"], 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_allclose(
        values["Softmax of (z, 0, 0)"], np.exp(z) / (np.exp(z) + 2), rtol=1e-12
    )


def test_there_is_one_legend_and_a_title() -> None:
    figure = plots.activations()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["h(z)", "h'(z)"]
    assert figure.get_suptitle() == "Activation functions and their derivatives"
    assert all(axes.get_legend() is None for axes in figure.axes)
