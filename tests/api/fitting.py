"""A small problem, and training on it by ``fit`` and step by step."""

import numpy as np

import fastfcn as ff
from api.checks import mlp
from fastfcn import losses, optim
from fastfcn.training import batch_order

SIZES = [17, 33, 15, 5]
N = 130


def data(dtype=np.float32, n=N, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    x = rng.normal(size=(5, 17))[y] + rng.normal(size=(n, 17))
    return x.astype(dtype), y


def images(n=N):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 17), np.uint8), rng.integers(0, 5, n)


def sgd(net, **options):
    return optim.SGD(net.parameters(), **{"lr": 0.05, "momentum": 0.9, **options})


def fitted(x, y, *, net=None, loss=None, dtype=np.float32, hyper=None, **options):
    """A network trained for two epochs from fixed weights, and its history."""
    net = mlp(SIZES, dtype=dtype) if net is None else net
    defaults = {"batch_size": 32, "epochs": 2, "seed": 3}
    history = ff.fit(
        net,
        x,
        y,
        loss=loss or losses.CrossEntropyLoss(),
        optimizer=sgd(net, **(hyper or {})),
        **{**defaults, **options},
    )
    return net, history


def step_by_step(net, optimizer, loss, x, y, batch_size=32, epochs=2, seed=3, shuffle=True):
    """The same training, in Python; returns each epoch's (loss x rows) summed over its batches."""
    totals = []
    for epoch in range(1, epochs + 1):
        order = batch_order(seed, epoch, len(x)) if shuffle else np.arange(len(x))
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            output = net(x[rows])
            total += loss(output, y[rows]) * len(rows)
            net.backward(loss.grad(output, y[rows]))
            optimizer.step()
        totals.append(total)
    return totals
