"""Ten steps of training from the same weights and batches as PyTorch.

Numba changes torch's thread count where both use one OpenMP; no result here depends on it.
"""

import numpy as np
import pytest

from api.checks import DTYPES, linears, mlp
from fastfcn import losses, nn, optim

WEIGHT = [0.5, 2.0, 1.0, 0.25, 3.0]


@pytest.fixture(scope="module")
def torch(requires_torch):
    return requires_torch


def mirror(torch, net, dtype):
    """The same network in PyTorch: weights transposed."""
    modules = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            twin = torch.nn.Linear(
                layer.in_features,
                layer.out_features,
                bias=layer.bias is not None,
                dtype=torch.float32 if dtype == np.float32 else torch.float64,
            )
            with torch.no_grad():
                twin.weight.copy_(torch.from_numpy(layer.weight.T.copy()))
                twin.bias.copy_(torch.from_numpy(layer.bias.copy()))
            modules.append(twin)
        else:
            modules.append(getattr(torch.nn, type(layer).__name__)())
    return torch.nn.Sequential(*modules)


def targets(kind, n, dtype, rng):
    if kind in ("CrossEntropyLoss", "NLLLoss"):
        y = rng.integers(0, 5, n)
        y[::7] = -100
        return y
    return rng.random((n, 5)).astype(dtype)


TRAININGS = [
    ("CrossEntropyLoss", {}, "ReLU", {"lr": 0.02, "momentum": 0.9}),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, "Tanh", {"lr": 0.1}),
    ("CrossEntropyLoss", {"weight": WEIGHT}, "GELU", {"lr": 0.05, "momentum": 0.5}),
    (
        "CrossEntropyLoss",
        {"weight": WEIGHT, "label_smoothing": 0.2},
        "SiLU",
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    ("MSELoss", {}, "Sigmoid", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("MSELoss", {"reduction": "sum"}, "Softplus", {"lr": 0.001}),
    (
        "BCEWithLogitsLoss",
        {},
        "ELU",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    ("CrossEntropyLoss", {}, "LeakyReLU", {"lr": 0.1, "weight_decay": 0.01}),
    ("HuberLoss", {"delta": 0.3}, "Tanh", {"lr": 0.1, "momentum": 0.9}),
    ("PoissonNLLLoss", {}, "ReLU", {"lr": 0.05}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "options", "activation", "hyper"), TRAININGS, ids=str)
def test_ten_steps_agree_in_loss_and_weights_to_rounding(
    torch, kind, options, activation, hyper, dtype
):
    rng = np.random.default_rng(0)
    net = mlp([17, 33, 16, 5], getattr(nn, activation), dtype, seed=1)
    twin = mirror(torch, net, dtype)
    tensors = {
        k: torch.tensor(v, dtype=next(twin.parameters()).dtype) if k == "weight" else v
        for k, v in options.items()
    }
    criterion, their_criterion = (
        getattr(losses, kind)(**options),
        getattr(torch.nn, kind)(**tensors),
    )
    optimizer = optim.SGD(net.parameters(), **hyper)
    theirs = torch.optim.SGD(twin.parameters(), **hyper)
    x = rng.normal(size=(130, 17)).astype(dtype)
    y = targets(kind, 130, dtype, rng)

    eps = np.finfo(dtype).eps
    for step in range(10):
        rows = slice(13 * step, 13 * (step + 1))
        optimizer.zero_grad()
        output = net(x[rows])
        loss = criterion(output, y[rows])
        net.backward(criterion.grad(output, y[rows]))
        optimizer.step()

        theirs.zero_grad()
        their_loss = their_criterion(twin(torch.from_numpy(x[rows])), torch.from_numpy(y[rows]))
        their_loss.backward()
        theirs.step()
        np.testing.assert_allclose(loss, their_loss.item(), rtol=32 * eps)

    their_linears = [m for m in twin if isinstance(m, torch.nn.Linear)]
    for layer, other in zip(linears(net), their_linears, strict=True):
        np.testing.assert_allclose(
            layer.weight, other.weight.detach().numpy().T, rtol=32 * eps, atol=16 * eps
        )
        np.testing.assert_allclose(
            layer.bias, other.bias.detach().numpy(), rtol=32 * eps, atol=16 * eps
        )


LOSSES = [
    ("CrossEntropyLoss", {}),
    ("CrossEntropyLoss", {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.1}),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 2}),
    ("BCELoss", {}),
    ("BCEWithLogitsLoss", {}),
    ("MSELoss", {}),
    ("L1Loss", {}),
    ("HuberLoss", {"delta": 0.7}),
    ("PoissonNLLLoss", {}),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("kind", "options"), LOSSES, ids=str)
def test_losses_mean_what_pytorchs_mean(torch, kind, options, reduction):
    rng = np.random.default_rng(0)
    z = 3 * rng.normal(size=(13, 5))
    if kind == "BCELoss":
        z = 1 / (1 + np.exp(-z))
        z[0, :2] = 0, 1
    y = targets(kind, 13, np.float64, rng)
    if y.ndim == 1:
        y[y == -100] = options.get("ignore_index", 0)
    tensors = {
        k: torch.tensor(v, dtype=torch.float64) if k == "weight" else v for k, v in options.items()
    }
    ours = getattr(losses, kind)(**options, reduction=reduction)
    theirs = getattr(torch.nn, kind)(**tensors, reduction=reduction)
    output = torch.tensor(z, requires_grad=True)
    value = theirs(output, torch.from_numpy(y))
    value.sum().backward()
    np.testing.assert_allclose(ours(z, y), value.detach().numpy(), rtol=1e-13, atol=1e-15)
    # torch's bound on p (1 - p) is the float32 nearest 1e-12, in float64 too: 4e-9 off.
    rtol = 1e-8 if kind == "BCELoss" else 1e-12
    np.testing.assert_allclose(ours.grad(z, y), output.grad.numpy(), rtol=rtol, atol=1e-14)


def test_cross_entropy_with_probabilities_means_what_pytorchs_means(torch):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(13, 5)), rng.dirichlet(np.ones(5), 13)
    for reduction in ("mean", "sum", "none"):
        ours = losses.CrossEntropyLoss(WEIGHT, label_smoothing=0.1, reduction=reduction)
        theirs = torch.nn.CrossEntropyLoss(
            torch.tensor(WEIGHT, dtype=torch.float64), label_smoothing=0.1, reduction=reduction
        )
        output = torch.tensor(z, requires_grad=True)
        value = theirs(output, torch.from_numpy(y))
        value.sum().backward()
        np.testing.assert_allclose(ours(z, y), value.detach().numpy(), rtol=1e-13)
        np.testing.assert_allclose(ours.grad(z, y), output.grad.numpy(), rtol=1e-12, atol=1e-15)
