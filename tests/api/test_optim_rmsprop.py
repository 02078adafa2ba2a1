import numpy as np
import pytest

from api.checks import DTYPES, mlp
from fastfcn import nn, optim


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps_worked_out_by_hand(dtype):
    layer = nn.Linear(1, 1, bias=False, dtype=dtype)
    layer.weight = [[1.0]]
    options = {"lr": 0.5, "alpha": 0.75, "eps": 1.0, "momentum": 0.5, "centered": True}
    optimizer = optim.RMSprop(layer.parameters(), **options)
    # s = 4, ḡ = 1, √(4 - 1); u = 4 / (√3 + 1); θ = 1 - u / 2.
    layer.weight_grad[...] = 4.0
    optimizer.step()
    u = 4 / (np.sqrt(3) + 1)
    np.testing.assert_allclose(layer.weight[0, 0], 1 - u / 2, rtol=4 * np.finfo(dtype).eps)
    # Without a gradient s and ḡ shrink to 3 and ¾, and u to its half.
    layer.weight_grad[...] = 0.0
    optimizer.step()
    np.testing.assert_allclose(layer.weight[0, 0], 1 - 0.75 * u, rtol=4 * np.finfo(dtype).eps)
    state = optimizer.state_dict()
    assert state["square_avg"][0][0, 0] == 3.0 and state["grad_avg"][0][0, 0] == 0.75


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_without_variance_moves_its_parameter_by_no_nan(dtype):
    """s - ḡ² of a constant gradient tends to 0, from below as often as from above."""
    layer = nn.Linear(40, 40, dtype=dtype)
    optimizer = optim.RMSprop(layer.parameters(), lr=1e-6, alpha=0.5, centered=True)
    layer.weight_grad[...] = np.random.default_rng(0).normal(size=(40, 40))
    for _ in range(120):
        optimizer.step()
    state = optimizer.state_dict()
    square, mean = state["square_avg"][0], state["grad_avg"][0]
    assert (square - mean * mean < 0).any()  # so it is met
    assert np.isfinite(layer.weight).all()


def test_state_is_kept_for_what_is_used_only():
    parameters = mlp([2, 2]).parameters()
    assert optim.RMSprop(parameters).slots == ("square_avg",)
    assert optim.RMSprop(parameters, momentum=0.5).slots == ("square_avg", "momentum_buffer")
    assert optim.RMSprop(parameters, centered=True).slots == ("square_avg", "grad_avg")


@pytest.mark.parametrize("name", ["alpha", "momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_shares_outside_0_to_1_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        optim.RMSprop(mlp([2, 2]).parameters(), **{name: value})
