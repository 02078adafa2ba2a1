"""``fit`` and the step-by-step loop give the same bits; so does every batch order."""

import numba
import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import (
    ACTIVATIONS,
    DTYPES,
    linears,
    mlp,
    oracle_layers,
    same_bits,
    same_state,
)
from api.fitting import SIZES, N, data, fitted, sgd, step_by_step
from fastfcn import losses, nn
from fastfcn.training import batch_order
from fastfcn_kernels import training


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, 6, 7, 32, 64, 65, N])
def test_fit_and_the_step_by_step_loop_give_the_same_bits(batch_size, dtype):
    x, y = data(dtype)
    net, history = fitted(x, y, dtype=dtype, batch_size=batch_size)
    other, loss = mlp(SIZES, dtype=dtype), losses.CrossEntropyLoss()
    totals = step_by_step(other, sgd(other), loss, x, y, batch_size)
    assert same_state(net.state_dict(), other.state_dict())
    np.testing.assert_allclose(history.loss, np.array(totals) / N, rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_long_batches_of_wide_layers_train_to_the_bits_of_the_loop(n_threads):
    rows = training.PACKED_BATCH + 9
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, training.PACKED_WIDTH + 3)), rng.integers(0, 3, rows)
    sizes = (x.shape[1], training.PACKED_WIDTH, 3)
    if n_threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one thread here")
    net, _ = fitted(x, y, net=mlp(sizes), batch_size=rows, n_threads=n_threads)
    other = mlp(sizes)
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y, rows)
    assert same_state(net.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fit_gives_the_loops_bits_for_every_activation(name):
    x, y = data()
    net, _ = fitted(x, y, net=mlp(SIZES, ACTIVATIONS[name]))
    other = mlp(SIZES, ACTIVATIONS[name])
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


FITTING = {
    "plain": (losses.CrossEntropyLoss(), "labels", {}),
    "sum": (losses.CrossEntropyLoss(reduction="sum"), "labels", {"lr": 0.001}),
    "weights": (losses.CrossEntropyLoss(weight=[0.5, 2, 1, 0, 3]), "labels", {}),
    "smoothing": (losses.CrossEntropyLoss(label_smoothing=0.1), "labels", {}),
    "ignored": (losses.CrossEntropyLoss(ignore_index=2), "labels", {}),
    "all options": (
        losses.CrossEntropyLoss([0.5, 2, 1, 1, 3], ignore_index=2, label_smoothing=0.1),
        "labels",
        {"nesterov": True, "weight_decay": 0.01},
    ),
    "one-hot": (losses.CrossEntropyLoss(), "one-hot", {}),
    "mse": (losses.MSELoss(), "one-hot", {"momentum": 0.0}),
    "bce with logits": (losses.BCEWithLogitsLoss(), "one-hot", {"weight_decay": 0.1}),
    "nll": (losses.NLLLoss(), "labels", {"lr": 1e-4}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FITTING)
def test_fit_gives_the_loops_bits_for_every_loss_and_optimiser_option(name, dtype):
    loss, kind, hyper = FITTING[name]
    x, y = data(dtype)
    y = y if kind == "labels" else reference.one_hot(y, 5).astype(dtype)
    net, _ = fitted(x, y, loss=loss, hyper=hyper, dtype=dtype)
    other = mlp(SIZES, dtype=dtype)
    before = other.state_dict()
    step_by_step(other, sgd(other, **hyper), loss, x, y)
    assert same_state(net.state_dict(), other.state_dict())
    assert not same_state(net.state_dict(), before)


@pytest.mark.parametrize("last", [nn.Sigmoid, nn.Softmax])
def test_fit_gives_the_loops_bits_through_an_output_activation(last):
    x, y = data()
    target = reference.one_hot(y, 5).astype(np.float32)
    loss = losses.BCELoss()
    net, _ = fitted(x, target, net=mlp(SIZES, last=last), loss=loss)
    other = mlp(SIZES, last=last)
    step_by_step(other, sgd(other), loss, x, target)
    assert same_state(net.state_dict(), other.state_dict())


def test_fit_gives_the_loops_bits_without_bias_and_with_activations_in_a_row():
    def build():
        rng = np.random.default_rng(0)
        return nn.Sequential(
            nn.Tanh(),
            nn.Linear(17, 9, bias=False, rng=rng),
            nn.GELU(),
            nn.Softplus(),
            nn.Linear(9, 5, rng=rng),
            nn.Identity(),
        )

    x, y = data()
    net, _ = fitted(x, y, net=build())
    other = build()
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


class Own(nn.Module):
    def __init__(self):
        super().__init__("own")
        rng = np.random.default_rng(0)
        self.a, self.h = nn.Linear(17, 9, rng=rng), nn.ReLU()
        self.b = nn.Linear(9, 5, rng=rng)
        self.add_layers([self.a, self.h, self.b])

    def forward(self, x):
        return self.b(self.h(self.a(x)))


class Residual(Own):
    def forward(self, x):
        return self.b(self.h(self.a(x))) + 1


def test_fit_gives_the_loops_bits_for_a_module_with_its_own_forward():
    x, y = data()
    net, _ = fitted(x, y, net=Own())
    other = Own()
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


def test_fit_rejects_a_forward_that_is_not_its_layers_in_order():
    x, y = data()
    net = Residual()
    before = net.state_dict()
    with pytest.raises(ValueError, match="step by step"):
        fitted(x, y, net=net)
    assert same_state(net.state_dict(), before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fit_follows_the_reference(dtype):
    x, y = data(dtype)
    hyper = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.001}
    start = mlp(SIZES, nn.Tanh, dtype)
    layers = oracle_layers(start)
    net, history = fitted(x, y, net=start, hyper=hyper)
    batches = [
        order[i : i + 32]
        for order in (batch_order(3, epoch, N) for epoch in (1, 2))
        for i in range(0, N, 32)
    ]
    names = ["Tanh", "Tanh", "Identity"]
    values, layers = reference.train(layers, names, x, y, batches, reference.cross_entropy, **hyper)
    eps = np.finfo(dtype).eps
    for layer, (w, b) in zip(linears(net), layers, strict=True):
        np.testing.assert_allclose(layer.weight, w, rtol=64 * eps, atol=64 * eps)
        np.testing.assert_allclose(layer.bias, b, rtol=64 * eps, atol=64 * eps)
    means = np.array(values).reshape(2, -1) @ [32, 32, 32, 32, 2] / N
    np.testing.assert_allclose(history.loss, means, rtol=64 * eps)


def test_two_fits_with_one_optimiser_are_one_longer_fit():
    x, y = data()
    net, _ = fitted(x, y, shuffle=False, epochs=4)
    other = mlp(SIZES)
    optimizer = sgd(other)
    for _ in range(2):
        ff.fit(
            other,
            x,
            y,
            loss=losses.CrossEntropyLoss(),
            optimizer=optimizer,
            batch_size=32,
            epochs=2,
            shuffle=False,
        )
    assert same_state(net.state_dict(), other.state_dict())


def test_steps_by_hand_after_a_fit_go_on_from_its_velocities():
    x, y = data()
    loss = losses.CrossEntropyLoss()
    nets = [mlp(SIZES), mlp(SIZES)]
    optimizers = [sgd(net) for net in nets]
    ff.fit(nets[0], x, y, loss=loss, optimizer=optimizers[0], batch_size=32, seed=3)
    step_by_step(nets[1], optimizers[1], loss, x, y, epochs=1)
    for net, optimizer in zip(nets, optimizers, strict=True):
        step_by_step(net, optimizer, loss, x, y, epochs=1, seed=4)
    assert same_state(nets[0].state_dict(), nets[1].state_dict())
    velocities = [o.state_dict()["velocity"] for o in optimizers]
    assert all(same_bits(a, b) for a, b in zip(*velocities, strict=True))


def test_batch_order_is_a_permutation_and_a_function_of_seed_and_epoch():
    order = batch_order(7, 2, 1000)
    assert sorted(order) == list(range(1000))
    assert same_bits(order, batch_order(7, 2, 1000))
    assert not np.array_equal(order, batch_order(7, 3, 1000))
    assert not np.array_equal(order, batch_order(8, 2, 1000))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    x, y = data()
    a, _ = fitted(x, y)
    np.random.default_rng().random(5)
    assert same_state(a.state_dict(), fitted(x, y)[0].state_dict())
    assert not same_state(a.state_dict(), fitted(x, y, seed=4)[0].state_dict())


def test_a_fit_without_a_seed_records_one_that_reproduces_it():
    x, y = data()
    net, history = fitted(x, y, seed=None)
    again, _ = fitted(x, y, seed=history.seed)
    assert same_state(net.state_dict(), again.state_dict())


def test_without_shuffling_batches_come_in_order():
    x, y = data()
    net, _ = fitted(x, y, shuffle=False)
    other = mlp(SIZES)
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y, shuffle=False)
    assert same_state(net.state_dict(), other.state_dict())


def test_a_function_may_give_the_order_and_is_asked_for_each_epoch():
    x, y = data()
    asked = []

    def order(epoch, n):
        asked.append((epoch, n))
        return batch_order(3, epoch, n)

    net, _ = fitted(x, y, shuffle=order, epochs=2, seed=9)
    assert same_state(net.state_dict(), fitted(x, y, epochs=2, seed=3)[0].state_dict())
    assert asked == [(1, N), (2, N)]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.arange(N - 1), f"must return {N} row numbers, got shape"),
        (np.arange(N) + 0.0, f"must return {N} row numbers, got shape"),
        (np.arange(N) + 1, f"must return rows between 0 and {N - 1}, got 1 to {N}"),
        (np.arange(N) - 1, f"must return rows between 0 and {N - 1}, got -1"),
    ],
)
def test_an_order_that_is_none_is_refused(order, message):
    x, y = data()
    with pytest.raises(ValueError, match=message):
        fitted(x, y, shuffle=lambda epoch, n: order)
