"""fit(validation_split=...): the last rows are held back."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_matrix, csr_array

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from api.fitting import SIZES, N, data, fitted
from fastfcn import losses, optim

RESTS = {0.25: 97, 0.1: 117, 0.3: 91, 0.001: 129, 1e-15: 129, 0.99: 1}
"""Rows of 130 to train on."""


@pytest.mark.parametrize(("share", "rest"), RESTS.items())
def test_the_last_rows_are_held_back_and_evaluated(share, rest):
    x, y = data()
    batch = {"batch_size": min(32, rest)}
    net, history = fitted(x, y, validation_split=share, **batch)
    other, expected = fitted(x[:rest], y[:rest], validation_data=(x[rest:], y[rest:]), **batch)
    assert same_state(net.state_dict(), other.state_dict())
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert getattr(history, column) == getattr(expected, column), column


@pytest.mark.parametrize(
    "form",
    [csr_array, csc_matrix, coo_array, np.ndarray.tolist, np.asfortranarray],
    ids=["CSR", "CSC", "COO", "lists", "Fortran"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_whatever_the_rows_come_in(form, weighted):
    x, y = data()
    x[np.random.default_rng(1).random(x.shape) < 0.7] = 0
    weight = np.random.default_rng(2).uniform(size=N) if weighted else None
    net, history = fitted(form(x), y, sample_weight=weight, validation_split=0.3)
    halves = [(form(x[rows]), y[rows]) for rows in (slice(91), slice(91, None))]
    if weighted:
        halves = [(*halves[0], weight[:91]), (*halves[1], weight[91:])]
    other, expected = fitted(
        *halves[0][:2], sample_weight=halves[0][2] if weighted else None, validation_data=halves[1]
    )
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == expected.loss
    assert history.val_loss == expected.val_loss


def test_targets_that_are_numbers():
    x, _ = data()
    y = x @ np.random.default_rng(0).normal(size=(17, 5))
    options = {"loss": losses.MSELoss()}
    net, history = fitted(x, y, validation_split=0.3, **options)
    other, expected = fitted(x[:91], y[:91], validation_data=(x[91:], y[91:]), **options)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.val_loss == expected.val_loss


def test_with_lbfgs():
    x, y = data()

    def trained(*given, **options):
        net = mlp(SIZES)
        optimizer = optim.LBFGS(net.parameters())
        loss = losses.CrossEntropyLoss()
        return net, ff.fit(net, *given, loss=loss, optimizer=optimizer, epochs=3, **options)

    net, history = trained(x, y, validation_split=0.3)
    other, expected = trained(x[:91], y[:91], validation_data=(x[91:], y[91:]))
    assert same_bits(net[0].weight, other[0].weight)
    assert history.val_loss == expected.val_loss


def test_rounding_errors_hold_no_further_row_back():
    assert int(90 * (1 - 0.3)) == 62
    seen = fitted(*data(n=90), validation_split=0.3)[1]
    assert round(seen.samples_per_second[0] * seen.seconds[0]) == 63


def test_a_share_of_0_holds_nothing_back():
    assert fitted(*data(), validation_split=0.0)[1].val_loss == [None, None]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"validation_split": 1.0}, ValueError, r"validation_split must be in \[0, 1\), got 1"),
        ({"validation_split": -0.1}, ValueError, r"validation_split must be in \[0, 1\)"),
        ({"validation_split": "0.1"}, TypeError, "validation_split must be a number, got '0.1'"),
        ({"validation_split": True}, TypeError, "validation_split must be a number, got True"),
        ({"validation_split": 0.999}, ValueError, "at least one of the 130 rows to train on"),
        ({"validation_split": 0.9}, ValueError, "batch_size must be at most .* 13, got 32"),
        (
            {"validation_split": 0.1, "validation_data": data()},
            ValueError,
            "validation_split must be None where validation_data is given, got 0.1",
        ),
        (
            {"validation_split": 0.5, "sample_weight": np.arange(N) < N // 2},
            ValueError,
            "rows that validation_split holds back must be above 0 for at least one",
        ),
        (
            {"validation_split": 0.5, "sample_weight": np.arange(N) >= N // 2},
            ValueError,
            "sample_weight of the rows to train on must be above 0 for at least one",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_held_back_is_refused(options, error, match):
    net = mlp(SIZES)
    with pytest.raises(error, match=match):
        fitted(*data(), net=net, **options)
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())


def test_batches_that_come_one_by_one_cannot_be_split():
    x, y = data()
    with pytest.raises(TypeError, match="needs x and y as arrays, got batches from list; pass val"):
        fitted([(x, y)], None, validation_split=0.1)
