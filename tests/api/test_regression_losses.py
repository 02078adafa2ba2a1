"""What is particular to losses of numbers: MSE, L1, Huber, Poisson, and "batchmean"."""

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import DTYPES, mlp, same_bits, same_state
from api.loss_cases import CASES, case
from fastfcn import losses, nn, optim
from fastfcn.training import batch_order


def differences(dtype):
    rng = np.random.default_rng(0)
    scales = 10.0 ** np.arange(-3, 5)
    return rng.normal(size=(8, 6)).astype(dtype) * scales[:, None].astype(dtype)


def test_worked_by_hand():
    output, target = np.array([[1.0, 5.0], [-2.0, 0.0]]), np.array([[0.0, 2.0], [-2.0, 0.5]])
    none = {"reduction": "none"}
    assert losses.L1Loss(**none)(output, target).tolist() == [[1, 3], [0, 0.5]]
    assert losses.L1Loss(**none).grad(output, target).tolist() == [[1, 1], [0, -1]]
    assert losses.HuberLoss(2.0, **none)(output, target).tolist() == [[0.5, 4], [0, 0.125]]
    assert losses.HuberLoss(2.0, **none).grad(output, target).tolist() == [[1, 2], [0, -0.5]]
    assert losses.MSELoss(half=True, **none)(output, target).tolist() == [[0.5, 4.5], [0, 0.125]]
    assert losses.MSELoss(half=True, **none).grad(output, target).tolist() == [[1, 3], [0, -0.5]]
    counts = np.array([[0.0, 2.0], [1.0, 3.0]])
    rates = np.exp(output)
    np.testing.assert_allclose(
        losses.PoissonNLLLoss(**none)(output, counts), rates - counts * output, rtol=1e-15
    )
    np.testing.assert_allclose(
        losses.PoissonNLLLoss(**none).grad(output, counts), rates - counts, rtol=1e-15
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
def test_half_the_squared_error_has_half_the_value_and_half_the_gradient(reduction, dtype):
    z = differences(dtype)
    whole, half = losses.MSELoss(reduction), losses.MSELoss(reduction, half=True)
    zeros = np.zeros_like(z)
    assert half(z, zeros) == whole(z, zeros) / 2
    assert same_bits(half.grad(z, zeros), whole.grad(z, zeros) / 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huber_is_half_the_squared_error_within_delta_and_a_line_beyond(dtype):
    z, zeros = differences(dtype), np.zeros_like(differences(dtype))
    half = losses.MSELoss("none", half=True)
    far = losses.HuberLoss(1e9, "none")
    assert same_bits(far(z, zeros), half(z, zeros))
    assert same_bits(far.grad(z, zeros), half.grad(z, zeros))
    near, line = losses.HuberLoss(1e-9, "none"), losses.L1Loss("none")
    np.testing.assert_allclose(near(z, zeros), 1e-9 * line(z, zeros), rtol=1e-4)
    np.testing.assert_allclose(near.grad(z, zeros), 1e-9 * line.grad(z, zeros), rtol=1e-6)


def test_huber_has_no_step_at_delta_in_value_or_gradient():
    beside = np.array([[np.nextafter(0.7, 0.0), 0.7, np.nextafter(0.7, 1.0)]])
    loss = losses.HuberLoss(0.7, "none")
    for signed in (beside, -beside):
        values, slopes = loss(signed, np.zeros((1, 3))), loss.grad(signed, np.zeros((1, 3)))
        assert np.ptp(values) <= 1e-15 and np.ptp(slopes) <= 1e-15


def test_rates_beyond_the_range_are_infinite_and_never_nan():
    z = np.array([[1e4, 1e4, -1e4, -1e4, -np.inf]])
    y = np.array([[0.0, 5.0, 0.0, 5.0, 0.0]])
    loss = losses.PoissonNLLLoss("none")
    assert loss(z, y).tolist() == [[np.inf, np.inf, 0.0, 5e4, 0.0]]
    assert loss.grad(z, y).tolist() == [[np.inf, np.inf, 0.0, -5.0, 0.0]]


def test_poisson_is_smallest_at_the_logarithm_of_the_count():
    counts = np.array([[1.0, 2.0, 50.0, 1e6]])
    loss = losses.PoissonNLLLoss("none")
    best = np.log(counts)
    assert (np.abs(loss.grad(best, counts)) <= 1e-14 * counts).all()
    for beside in (best - 0.01, best + 0.01):
        assert (loss(beside, counts) > loss(best, counts)).all()


def test_a_network_trained_on_counts_learns_their_rates():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 1)).astype(np.float64)
    y = rng.poisson(np.where(x == 0, 2.0, 6.0))
    net = mlp([1, 1], dtype=np.float64)
    sgd = optim.SGD(net.parameters(), lr=0.1)
    ff.fit(net, x, y, loss=losses.PoissonNLLLoss(), optimizer=sgd, batch_size=400, epochs=300)
    rates = np.exp(ff.predict(net, [[0.0], [1.0]]))
    np.testing.assert_allclose(rates[:, 0], [y[x == 0].mean(), y[x == 1].mean()], rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_batchmean_divides_by_the_rows_that_count(name):
    kind, options, z, y = case(name, 13, np.float64)
    total = getattr(losses, kind)(**options, reduction="sum")
    batchmean = getattr(losses, kind)(**options, reduction="batchmean")
    rows = 13
    if np.ndim(y) == 1:
        rows = np.count_nonzero(y != options.get("ignore_index", -100))
        assert rows > 0
    assert batchmean(z, y) == pytest.approx(total(z, y) / rows, rel=1e-14)
    np.testing.assert_allclose(batchmean.grad(z, y), total.grad(z, y) / rows, rtol=1e-14)


def loop(net, loss, x, y):
    """Two epochs in Python, as `fit` with seed 3, batches of 32 and this optimiser."""
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for epoch in (1, 2):
        order = batch_order(3, epoch, len(x))
        for start in range(0, len(x), 32):
            rows = order[start : start + 32]
            optimizer.zero_grad()
            net.backward(loss.grad(net(x[rows]), y[rows]))
            optimizer.step()


FITTING = {
    "l1": losses.L1Loss(),
    "huber": losses.HuberLoss(0.5),
    "half mse": losses.MSELoss("batchmean", half=True),
    "poisson": losses.PoissonNLLLoss("batchmean"),
    "several labels": losses.BCEWithLogitsLoss("batchmean"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FITTING)
def test_fit_gives_the_loops_bits_and_a_smaller_loss(name, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(130, 7)).astype(dtype)
    y = (x[:, :3] > 0).astype(dtype)  # three labels, each there or not
    loss = FITTING[name]
    net, other = mlp([7, 16, 3], dtype=dtype), mlp([7, 16, 3], dtype=dtype)
    sgd = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    history = ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=32, epochs=2, seed=3)
    loop(other, loss, x, y)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss[1] < history.loss[0]
    assert (history.accuracy == [None, None]) == (name != "several labels")


@pytest.mark.parametrize("last", [nn.Sigmoid, nn.Softmax, nn.Softplus, nn.ReLU])
def test_poisson_refuses_a_network_whose_log_rates_cannot_be_negative(last):
    net = mlp([2, 3], last=last)
    sgd = optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="leave that layer out"):
        ff.fit(net, np.ones((4, 2)), np.ones((4, 3)), loss=losses.PoissonNLLLoss(), optimizer=sgd)


def test_counts_must_not_be_negative():
    with pytest.raises(ValueError, match=r"target must not be negative, got -1\.0"):
        losses.PoissonNLLLoss()([[0.0], [0.0]], [[2.0], [-1.0]])


@pytest.mark.parametrize("delta", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_hubers_delta_must_be_above_0(delta):
    with pytest.raises((TypeError, ValueError), match="delta must be"):
        losses.HuberLoss(delta)


@pytest.mark.parametrize("half", [0.5, "yes", None])
def test_half_must_be_true_or_false(half):
    with pytest.raises(TypeError, match="half must be"):
        losses.MSELoss(half=half)


def test_the_reference_of_huber_is_its_definition():
    """The oracle's own border: both formulas agree at delta."""
    at = reference.huber([[0.7, -0.7]], [[0.0, 0.0]], delta=0.7, reduction="none")[0]
    np.testing.assert_allclose(at, 0.7**2 / 2, rtol=1e-15)
