"""Weight decay: the gradient of a penalty, of which parameters, divided by what."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits
from api.optimiser_cases import make
from fastfcn import losses, nn, optim

N, BATCH = 26, 8
DECAY = 0.3


def problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 3)), rng.normal(size=(N, 2))
    weight = rng.integers(0, 4, N).astype(np.float64)
    return x, y, weight


def network():
    net = mlp([3, 4, 2], nn.Tanh, np.float64)
    for layer in (net[0], net[2]):
        layer.bias = np.linspace(-1, 1, layer.bias.size)
    return net


def penalty_gradient(net, objective, step=1e-6):
    """Central differences of an objective by every parameter."""
    gradients = []
    for p in net.parameters():
        values, gradient = p.data, np.empty(p.shape)
        for at in np.ndindex(p.shape):
            kept = values[at]
            values[at] = kept + step
            above = objective()
            values[at] = kept - step
            gradient[at] = (above - objective()) / (2 * step)
            values[at] = kept
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_batch", [False, True])
@pytest.mark.parametrize("decay_bias", [False, True])
def test_a_step_goes_down_the_penalised_loss(decay_bias, by_batch, weighted):
    """λ/2 Σ θ², over the batch's samples (the sum of their weights) with decay_by_batch."""
    x, y, weight = problem()
    weight = weight if weighted else None
    loss, net = losses.MSELoss(reduction="batchmean"), network()
    samples = (N if weight is None else weight.sum()) if by_batch else 1.0

    def objective():
        penalised = [p for p in net.parameters() if decay_bias or len(p.shape) == 2]
        penalty = sum((p.data**2).sum() for p in penalised)
        return loss(net(x), y, weight) + DECAY / 2 / samples * penalty

    expected = penalty_gradient(net, objective)
    before = [p.copy() for p in net.parameters()]
    sgd = optim.SGD(
        net.parameters(),
        lr=0.5,
        weight_decay=DECAY,
        decay_bias=decay_bias,
        decay_by_batch=by_batch,
    )
    ff.fit(net, x, y, sample_weight=weight, loss=loss, optimizer=sgd, batch_size=N, seed=0)
    for p, old, gradient in zip(net.parameters(), before, expected, strict=True):
        np.testing.assert_allclose((old - p.copy()) / 0.5, gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_each_batch_is_divided_by_its_own_samples(name, weighted):
    x, y, weight = problem()
    options = {"lr": 0.05, "weight_decay": DECAY, "decay_bias": False, "decay_by_batch": True}
    loss, net, other = losses.MSELoss(), network(), network()
    optimizer = make(name, net.parameters(), **options)
    ff.fit(
        net,
        x,
        y,
        sample_weight=weight if weighted else None,
        loss=loss,
        optimizer=optimizer,
        batch_size=BATCH,
        shuffle=False,
    )
    single = make(name, other.parameters(), **options)
    for first in range(0, N, BATCH):
        rows = slice(first, first + BATCH)
        w = weight[rows] if weighted else None
        single.zero_grad()
        other.backward(loss.grad(other(x[rows]), y[rows], w))
        single.step(samples=weight[rows].sum() if weighted else len(x[rows]))
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert same_bits(p.copy(), q.copy())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_without_decay_of_biases_nothing_but_weights_decays(name):
    layers = [nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2)]
    net = nn.Sequential(*layers)
    for p in net.parameters():
        p.data = np.full(p.shape, 2.0)
    optimizer = make(name, net.parameters(), lr=0.1, weight_decay=DECAY, decay_bias=False)
    optimizer.step()
    moved = [bool((p.copy() != 2.0).all()) for p in net.parameters()]
    assert moved == [True, False, False, False, True, False]


def test_decay_by_batch_is_a_decay_that_is_not_divided_in_a_single_step():
    one, other = network(), network()
    optim.SGD(one.parameters(), lr=0.1, weight_decay=DECAY, decay_by_batch=True).step()
    optim.SGD(other.parameters(), lr=0.1, weight_decay=DECAY).step()
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert same_bits(p.copy(), q.copy())
