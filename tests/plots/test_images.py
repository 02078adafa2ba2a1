"""Images: which samples and weights are drawn, as what, and under which words."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fastfcn import nn, plots
from fastfcn.models import Model

RNG = np.random.default_rng(0)


def drawn(axes: Axes) -> list[Any]:
    return [np.asarray(image.get_array()) for image in axes.images]


def captions(axes: Axes) -> list[tuple[str, str]]:
    words = [text.get_text() for text in axes.texts]
    return list(zip(words[::2], words[1::2], strict=True))


class TestMisclassified:
    x = RNG.random((6, 16))
    true = np.array([0, 1, 2, 0, 1, 2])
    predicted = np.array([0, 2, 2, 1, 0, 2])
    wrong = (1, 3, 4)

    def test_only_errors_are_drawn_as_square_images_in_order(self) -> None:
        figure = plots.misclassified(self.x, self.true, self.predicted)
        axes = figure.axes[0]
        for image, row in zip(drawn(axes), self.wrong, strict=True):
            np.testing.assert_array_equal(image, self.x[row].reshape(4, 4))
        assert captions(axes) == [
            ("true: 1", "predicted: 2"),
            ("true: 0", "predicted: 1"),
            ("true: 1", "predicted: 0"),
        ]
        assert figure.get_suptitle() == "Misclassified: 3 of 6 (50.00%)"

    def test_with_probabilities_the_surest_come_first(self) -> None:
        sure = np.array([1.0, 0.6, 0.5, 0.9, 0.7, 0.5])
        axes = plots.misclassified(self.x, self.true, self.predicted, sure).axes[0]
        assert [image.tolist() for image in drawn(axes)] == [
            self.x[row].reshape(4, 4).tolist() for row in (3, 4, 1)
        ]
        assert [below for _, below in captions(axes)] == [
            "predicted: 1 (90%)",
            "predicted: 0 (70%)",
            "predicted: 2 (60%)",
        ]

    def test_a_row_of_probabilities_counts_as_its_largest(self) -> None:
        scores = np.eye(3)[self.predicted] * 0.5 + 1 / 6
        axes = plots.misclassified(self.x, self.true, scores, scores).axes[0]
        assert captions(axes)[0] == ("true: 1", "predicted: 2 (67%)")

    def test_names_stand_for_numbers(self) -> None:
        axes = plots.misclassified(self.x, self.true, self.predicted, labels=["a", "b", "c"]).axes[
            0
        ]
        assert captions(axes)[0] == ("true: b", "predicted: c")

    def test_the_title_tells_how_many_are_not_shown(self) -> None:
        figure = plots.misclassified(self.x, self.true, self.predicted, max_images=2)
        assert len(figure.axes[0].images) == 2
        assert figure.get_suptitle().endswith("shown: the 2 first")

    def test_sparse_rows_are_drawn_as_dense_ones(self) -> None:
        sparse = pytest.importorskip("scipy.sparse").csr_array(self.x)
        dense = plots.misclassified(self.x, self.true, self.predicted).axes[0]
        axes = plots.misclassified(sparse, self.true, self.predicted).axes[0]
        np.testing.assert_array_equal(drawn(axes), drawn(dense))

    @pytest.mark.parametrize(
        ("shape", "image_shape", "expected"),
        [
            ((6, 16), (2, 8), (2, 8)),
            ((6, 3, 5), None, (3, 5)),
            ((6, 3, 5, 1), None, (3, 5)),
            ((6, 4, 4, 3), None, (4, 4, 3)),
            ((6, 48), (4, 4, 3), (4, 4, 3)),
        ],
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.float64])
    def test_images_have_their_shape(
        self, shape: Any, image_shape: Any, expected: Any, dtype: Any
    ) -> None:
        x = (255 * RNG.random(shape)).astype(dtype)
        figure = plots.misclassified(x, self.true, self.predicted, image_shape=image_shape)
        assert {image.shape for image in drawn(figure.axes[0])} == {expected}
        FigureCanvasAgg(figure).draw()

    def test_a_perfect_network_is_said_to_be_one(self) -> None:
        figure = plots.misclassified(self.x, self.true, self.true)
        assert not figure.axes[0].images
        assert [text.get_text() for text in figure.axes[0].texts] == ["every prediction is right"]

    @pytest.mark.parametrize("name", ["7", "T-shirt/top"])
    def test_captions_do_not_overlap(self, name: str) -> None:
        n = 30
        figure = plots.misclassified(
            RNG.random((n, 16)), [0] * n, [1] * n, np.ones(n), labels=[name, name + " "]
        )
        FigureCanvasAgg(figure).draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        for i, one in enumerate(boxes):
            assert one.x0 >= 0 and one.x1 <= 800
            assert not any(one.overlaps(other) for other in boxes[i + 1 :])

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"images": x[:5]}, r"as many as the labels, 6, got shape \(5, 16\)"),
            ({"images": x[:, :15]}, r"square number of features .* got 15; say image_shape"),
            ({"image_shape": (4, 5)}, r"hold the 16 features of a row, got \(4, 5\)"),
            ({"image_shape": (2, 2, 4)}, "must have the shape"),
            ({"image_shape": 4}, r"image_shape must be \(height, width\), got 4"),
            ({"max_images": 0}, "max_images must be at least 1, got 0"),
            ({"probabilities": [0.5]}, r"probabilities must have shape \(6,\)"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, changes: dict[str, Any], words: str) -> None:
        given = {"images": self.x, "y_true": self.true, "y_pred": self.predicted} | changes
        with pytest.raises(ValueError, match=words):
            plots.misclassified(**given)


class TestFirstLayerWeights:
    def test_an_image_is_the_weights_of_a_unit_the_largest_norms_first(self) -> None:
        net = nn.Sequential(nn.ReLU(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))
        weights = net.linears[0].weight
        order = np.argsort(-np.linalg.norm(weights, axis=0))
        images = drawn(plots.first_layer_weights(net).axes[0])
        for image, unit in zip(images, order, strict=True):
            np.testing.assert_array_equal(image, weights[:, unit].reshape(4, 4))

    def test_networks_layers_and_arrays_are_drawn_alike(self) -> None:
        layer = nn.Linear(16, 5)
        figures = [
            plots.first_layer_weights(given)
            for given in (
                layer,
                layer.weight,
                nn.Sequential(layer, nn.ReLU()),
                Model(nn.Sequential(layer, nn.ReLU())),
                SimpleNamespace(network_=nn.Sequential(nn.ReLU(), layer)),
            )
        ]
        for figure in figures:
            np.testing.assert_array_equal(drawn(figure.axes[0]), drawn(figures[0].axes[0]))

    def test_one_symmetric_scale_and_one_colour_bar(self) -> None:
        figure = plots.first_layer_weights(RNG.normal(size=(16, 9)))
        axes, bar = figure.axes
        limits = {image.get_clim() for image in axes.images}
        assert len(limits) == 1
        low, high = limits.pop()
        assert low == -high < 0
        assert bar.get_ylabel() == "weight"
        middle = axes.images[0].to_rgba(np.asarray(0.0))
        assert min(middle) > 0.95, "zero is white"

    def test_a_few_large_weights_do_not_make_the_others_pale(self) -> None:
        weights = RNG.normal(size=(100, 50))
        weights[0, 0] = 1000.0
        assert plots.first_layer_weights(weights).axes[0].images[0].get_clim()[1] < 10.0

    def test_weights_that_are_all_zero_are_white(self) -> None:
        figure = plots.first_layer_weights(np.zeros((16, 3)))
        FigureCanvasAgg(figure).draw()
        assert len(figure.axes[0].images) == 3

    def test_the_title_tells_how_many_units_there_are(self) -> None:
        figure = plots.first_layer_weights(RNG.normal(size=(16, 300)), max_images=10)
        assert len(figure.axes[0].images) == 10
        assert "300 units; shown: the 10" in figure.get_suptitle()

    @pytest.mark.parametrize(
        ("given", "changes", "words"),
        [
            (np.ones((15, 2)), {}, "square number of features .* got 15"),
            (np.ones((15, 2)), {"image_shape": (5, 3, 1)}, r"\(height, width\), got \(5, 3, 1\)"),
            (np.ones((16, 2)), {"image_shape": 4}, r"must be \(height, width\), got 4"),
            (np.ones(15), {}, "net must be a network with a Linear layer"),
            (nn.Sequential(nn.ReLU()), {}, "net must be a network with a Linear layer"),
            (np.ones((16, 2)), {"max_images": 0}, "max_images must be at least 1, got 0"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, given: Any, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            plots.first_layer_weights(given, **changes)
