"""Options of losses, partial batches, and parameters that are not trained."""

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import (
    mlp,
    oracle_layers,
    same_bits,
    same_state,
)
from api.fitting import SIZES, N, data, fitted, step_by_step
from fastfcn import losses, optim


def test_the_last_partial_batch_is_divided_by_its_own_size():
    x, y = data(np.float64, n=7)
    net = mlp([17, 5], dtype=np.float64)
    layers = oracle_layers(net)
    ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.1),
        batch_size=5,
        shuffle=False,
    )
    batches = [np.arange(5), np.arange(5, 7)]
    _, layers = reference.train(
        layers, ["Identity"], x, y, batches, reference.cross_entropy, lr=0.1
    )
    np.testing.assert_allclose(net[0].weight, layers[0][0], rtol=1e-12, atol=1e-14)


def test_ignored_samples_do_not_train():
    x, y = data()
    changed = x.copy()
    y[::3] = -100
    changed[::3] = 1000 * np.random.default_rng(5).normal(size=changed[::3].shape)
    net, history = fitted(x, y)
    other, again = fitted(changed, y)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == again.loss and history.accuracy == again.accuracy


def test_a_batch_of_ignored_samples_alone_changes_nothing():
    x, y = data()
    net = mlp(SIZES)
    before = net.state_dict()
    fitted(x, np.full(N, -100), net=net)
    assert same_state(net.state_dict(), before)


def test_a_class_of_weight_zero_does_not_train():
    x, y = data()
    changed = x.copy()
    changed[y == 2] *= -3
    loss = losses.CrossEntropyLoss(weight=[1, 1, 0, 2, 1])
    a, b = (fitted(given, y, loss=loss)[0] for given in (x, changed))
    assert same_state(a.state_dict(), b.state_dict())


def test_parameters_the_optimiser_does_not_hold_stay_as_they_are():
    x, y = data()
    for frozen in (0, 2, 4):
        net = mlp(SIZES)
        before = net.state_dict()
        held = [p for i, la in enumerate(net) if i != frozen for p in la.parameters()]
        ff.fit(
            net,
            x,
            y,
            loss=losses.CrossEntropyLoss(),
            optimizer=optim.SGD(held, lr=0.1, momentum=0.9, weight_decay=0.01),
            batch_size=32,
            epochs=2,
        )
        for name, values in net.state_dict().items():
            assert same_bits(values, before[name]) == name.startswith(f"{frozen}."), name


@pytest.mark.parametrize("held", [slice(4, 5), slice(0, 1), slice(2, 5)])
def test_freezing_gives_the_loops_bits(held):
    x, y = data()
    nets = [mlp(SIZES), mlp(SIZES)]
    optimizers = [
        optim.SGD([p for la in list(net)[held] for p in la.parameters()], lr=0.1, momentum=0.9)
        for net in nets
    ]
    loss = losses.CrossEntropyLoss()
    ff.fit(nets[0], x, y, loss=loss, optimizer=optimizers[0], batch_size=32, epochs=2, seed=3)
    for net in nets[1:]:
        step_by_step(net, optimizers[1], loss, x, y)
    assert same_state(nets[0].state_dict(), nets[1].state_dict())


def test_a_bias_alone_may_be_trained():
    x, y = data()
    net = mlp(SIZES)
    before = net.state_dict()
    ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD([net[2].parameters()[1]], lr=0.1),
        batch_size=32,
    )
    changed = [k for k, v in net.state_dict().items() if not same_bits(v, before[k])]
    assert changed == ["2.bias"]


def test_fewer_rows_than_the_default_batch_are_one_batch():
    x, y = np.random.default_rng(0).normal(size=(7, 4)), np.arange(7) % 3
    results = []
    for options in ({}, {"batch_size": 7}):
        net = mlp((4, 3))
        sgd = optim.SGD(net.parameters(), lr=0.1)
        ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, seed=0, **options)
        results.append(net.state_dict())
    assert same_state(*results)
