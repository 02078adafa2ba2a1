import numpy as np
import pytest

from api.checks import DTYPES, mlp
from fastfcn import nn, optim


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps_worked_out_by_hand(dtype):
    layer = nn.Linear(1, 1, bias=False, dtype=dtype)
    layer.weight = [[1.0]]
    options = {"lr": 0.5, "lr_decay": 1.0, "initial_accumulator_value": 9.0, "eps": 1.0}
    optimizer = optim.Adagrad(layer.parameters(), **options)
    # s = 9 + 16; θ = 1 - .5 · 4 / (5 + 1).
    layer.weight_grad[...] = 4.0
    optimizer.step()
    # s = 25 + 144; θ decreases by .5 / (1 + 1) · 12 / (13 + 1).
    layer.weight_grad[...] = 12.0
    optimizer.step()
    expected = 1 - 2 / 6 - 0.25 * 12 / 14
    np.testing.assert_allclose(layer.weight[0, 0], expected, rtol=8 * np.finfo(dtype).eps)
    assert optimizer.state_dict()["sum"][0].tolist() == [[169.0]]


def test_steps_grow_shorter_whatever_the_gradients():
    layer = nn.Linear(1, 1, bias=False, dtype=np.float64)
    optimizer = optim.Adagrad(layer.parameters(), lr=1.0)
    lengths = []
    for _ in range(5):
        layer.weight_grad[...] = 3.0
        before = layer.weight[0, 0]
        optimizer.step()
        lengths.append(before - layer.weight[0, 0])
    np.testing.assert_allclose(lengths, 1 / np.sqrt(np.arange(1, 6)), rtol=1e-9)


@pytest.mark.parametrize("name", ["lr_decay", "initial_accumulator_value"])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_numbers_below_0_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        optim.Adagrad(mlp([2, 2]).parameters(), **{name: value})
