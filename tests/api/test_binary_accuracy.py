"""A binary loss knows right from wrong: every output on its target's side."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import fastfcn as ff
from api.checks import DTYPES, mlp, two_threads
from fastfcn import losses, nn, optim

LOSSES = [(losses.BCEWithLogitsLoss, None, 0.0), (losses.BCELoss, nn.Sigmoid, 0.5)]


def problem(outputs, n=90):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6))
    return x, (x[:, :outputs] + 0.5 * rng.normal(size=(n, outputs)) > 0).astype(float)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("kind", "last", "threshold"), LOSSES)
def test_accuracy_is_scikit_learns(kind, last, threshold, outputs, dtype):
    x, y = problem(outputs)
    net = mlp((6, 8, outputs), dtype=dtype, last=last)
    weights = np.random.default_rng(1).integers(0, 3, len(x))
    for sample_weight in (None, weights):
        found = ff.evaluate(net, x, y, loss=kind(), sample_weight=sample_weight)
        outcome = ff.predict(net, x) > threshold
        expected = accuracy_score(y > 0.5, outcome, sample_weight=sample_weight)
        assert found.accuracy == pytest.approx(expected)


@two_threads
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_history_has_it_while_training_and_after(n_threads):
    x, y = problem(1)
    net = mlp((6, 8, 1))
    sgd = optim.SGD(net.parameters(), lr=1e-9)
    loss = losses.BCEWithLogitsLoss()
    history = ff.fit(
        net, x, y[:, 0], loss=loss, optimizer=sgd, validation_data=(x, y), n_threads=n_threads
    )
    # With steps that small, what is measured while training is what holds after it.
    assert history.accuracy[0] == pytest.approx(history.val_accuracy[0])
    assert 0 < history.accuracy[0] < 1


def test_losses_of_numbers_have_none():
    x, y = problem(1)
    assert ff.evaluate(mlp((6, 1)), x, y, loss=losses.MSELoss()).accuracy is None
