"""Loss and gradient over all rows, as L-BFGS sees them."""

import numpy as np
import pytest
from scipy import sparse

import reference
import reference.lbfgs
from api.checks import DTYPES, same_bits
from api.lbfgs_cases import N, data, network
from fastfcn import losses, objective, optim
from fastfcn.data import Intake
from fastfcn.epochs import Recipe


def objective_of(net, x, y, loss, weights=None, n_threads=None):
    intake = Intake(net.plan(), loss, 1.0, 0.0, True)
    recipe = Recipe(net, net.plan(), loss, optim.LBFGS(net.parameters()), n_threads)
    return objective.Objective(recipe, intake.whole(x, y, weights))


def evaluated(made, net):
    """Loss and gradient, as one vector."""
    value = made.evaluate()
    parts = [p.view(made.gradients(p.buffer), p.offset).ravel() for p in net.parameters()]
    return value, np.concatenate(parts)


LOSSES = [
    (losses.CrossEntropyLoss(), "labels"),
    (losses.CrossEntropyLoss(reduction="sum"), "labels"),
    (losses.CrossEntropyLoss([0.5, 2, 1, 1, 3], ignore_index=2, label_smoothing=0.1), "labels"),
    (losses.MSELoss(), "one-hot"),
    (losses.MSELoss(reduction="batchmean"), "one-hot"),
    (losses.BCEWithLogitsLoss(), "one-hot"),
    (losses.PoissonNLLLoss(reduction="batchmean"), "one-hot"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [16, 50, 1024])
@pytest.mark.parametrize(("loss", "kind"), LOSSES, ids=lambda v: getattr(v, "reduction", v))
def test_loss_and_gradient_are_those_of_one_batch_of_all_rows(
    monkeypatch, loss, kind, rows, weighted
):
    monkeypatch.setattr(objective, "ROWS", rows)
    x, y = data()
    y = y if kind == "labels" else reference.one_hot(y, 5)
    weights = np.random.default_rng(1).integers(0, 3, N) if weighted else None
    net = network()
    value, gradient = evaluated(objective_of(net, x, y, loss, weights), net)
    output = net(x)
    net.backward(loss.grad(output, y, weights))
    np.testing.assert_allclose(value, loss(output, y, weights), rtol=1e-13)
    expected = np.concatenate([p.grad.ravel() for p in net.parameters()])
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13 * np.abs(expected).max())
    if rows >= N:  # one batch, as in a loop of one's own
        assert same_bits(gradient, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_rows_and_bytes_have_the_gradient_of_dense_floats(dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 17), np.uint8) * (rng.random((N, 17)) < 0.3).astype(np.uint8)
    y = rng.integers(0, 5, N)
    results = []
    for given in (x.astype(dtype), x, sparse.csr_array(x)):
        net = network(dtype)
        results.append(evaluated(objective_of(net, given, y, losses.CrossEntropyLoss()), net))
    assert len({value for value, _ in results}) == 1
    assert all(same_bits(gradient, results[0][1]) for _, gradient in results)


def test_memory_is_for_some_rows_and_not_for_all():
    x, y = np.zeros((5000, 17)), np.zeros(5000, int)
    made = objective_of(network(), x, y, losses.CrossEntropyLoss())
    assert made._space.rows == objective.ROWS < 5000
