"""A small problem for L-BFGS, and fits and closures over it."""

import numpy as np

import fastfcn as ff
from api.checks import mlp
from fastfcn import losses, nn, optim

SIZES = [17, 12, 5]
N = 130
EXACT = {"tolerance_grad": 0.0, "tolerance_change": 0.0}
"""No end but that of the iterations."""


def data(dtype=np.float64):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, N)
    return (rng.normal(size=(5, 17))[y] + rng.normal(size=(N, 17))).astype(dtype), y


def network(dtype=np.float64, seed=0):
    return mlp(SIZES, nn.Tanh, dtype, seed)


def fitted(dtype=np.float64, epochs=8, hyper=None, net=None, **options):
    x, y = data(dtype)
    net = network(dtype) if net is None else net
    lbfgs = optim.LBFGS(net.parameters(), **(hyper or {}))
    given = {"loss": losses.CrossEntropyLoss(), **options}
    history = ff.fit(net, x, y, optimizer=lbfgs, epochs=epochs, **given)
    return net, lbfgs, history


def closure_of(net, lbfgs, dtype=np.float64):
    """What a loop of one's own gives to ``step``."""
    (x, y), loss = data(dtype), losses.CrossEntropyLoss()

    def closure():
        lbfgs.zero_grad()
        output = net(x)
        net.backward(loss.grad(output, y))
        return loss(output, y)

    return closure


def flat(net):
    return np.concatenate([p.copy().ravel() for p in net.parameters()])


def step_by_step(iterations, dtype, hyper, at_once=1):
    net = network(dtype)
    lbfgs = optim.LBFGS(net.parameters(), max_iter=at_once, **hyper)
    closure = closure_of(net, lbfgs, dtype)
    for _ in range(0, iterations, at_once):
        lbfgs.step(closure)
    return net, lbfgs
