import numpy as np
import pytest

from api.checks import DTYPES, mlp, same_bits
from fastfcn import nn, optim


def single(value, dtype=np.float64):
    layer = nn.Linear(1, 1, bias=False, dtype=dtype)
    layer.weight = [[value]]
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps_worked_out_by_hand(dtype):
    layer = single(1.0, dtype)
    optimizer = optim.Adam(layer.parameters(), lr=0.5, betas=(0.5, 0.75), eps=1.0)
    # m = 2, v = 4; m̂ = 2 / .5 = 4, v̂ = 4 / .25 = 16; θ = 1 - .5 · 4 / (4 + 1).
    layer.weight_grad[...] = 4.0
    optimizer.step()
    np.testing.assert_allclose(layer.weight[0, 0], 0.6, rtol=4 * np.finfo(dtype).eps)
    # m = 1 + 0, v = 3 + 0; m̂ = 1 / .75, v̂ = 3 / .4375; θ = .6 - .5 m̂ / (√v̂ + 1).
    layer.weight_grad[...] = 0.0
    optimizer.step()
    expected = 0.6 - 0.5 * (4 / 3) / (np.sqrt(3 / 0.4375) + 1)
    np.testing.assert_allclose(layer.weight[0, 0], expected, rtol=4 * np.finfo(dtype).eps)
    state = optimizer.state_dict()
    assert state["exp_avg"][0].tolist() == [[1.0]]
    assert state["exp_avg_sq"][0].tolist() == [[3.0]]


def test_amsgrad_never_forgets_a_large_gradient():
    layers = [single(1.0), single(1.0)]
    plain, largest = (
        optim.Adam(layer.parameters(), lr=0.01, betas=(0.0, 0.5), amsgrad=amsgrad)
        for layer, amsgrad in zip(layers, (False, True), strict=True)
    )
    for gradient in (100.0, *[1.0] * 20):
        for layer, optimizer in zip(layers, (plain, largest), strict=True):
            layer.weight_grad[...] = gradient
            before = layer.weight[0, 0]
            optimizer.step()
    # v is back at 1 where it may fall; the largest is half of 100².
    assert plain.state_dict()["exp_avg_sq"][0][0, 0] == pytest.approx(1.0, rel=0.01)
    assert largest.state_dict()["max_exp_avg_sq"][0][0, 0] == 5000.0
    assert before - layers[1].weight[0, 0] == pytest.approx(0.01 / np.sqrt(5000.0), rel=1e-5)


def test_decoupled_decay_does_not_pass_through_the_averages():
    gradients = np.random.default_rng(0).normal(size=20)
    coupled, decoupled, without = single(1.0), single(1.0), single(1.0)
    optimizers = [
        optim.Adam(coupled.parameters(), lr=0.1, weight_decay=0.5),
        optim.AdamW(decoupled.parameters(), lr=0.1, weight_decay=0.5),
        optim.Adam(without.parameters(), lr=0.1),
    ]
    for gradient in gradients:
        for layer, optimizer in zip((coupled, decoupled, without), optimizers, strict=True):
            layer.weight_grad[...] = gradient
            optimizer.step()
    assert same_bits(optimizers[1].state, optimizers[2].state)
    assert not same_bits(optimizers[0].state, optimizers[2].state)
    assert decoupled.weight[0, 0] != without.weight[0, 0]


@pytest.mark.parametrize("beta", [-0.1, 1.0, np.nan])
def test_a_beta_outside_0_to_1_is_refused(beta):
    parameters = mlp([2, 2]).parameters()
    with pytest.raises(ValueError, match=r"betas\[0\] must be"):
        optim.Adam(parameters, betas=(beta, 0.9))
    with pytest.raises(ValueError, match=r"betas\[1\] must be"):
        optim.AdamW(parameters, betas=(0.9, beta))


@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.9, 0.9), None])
def test_betas_that_are_no_pair_are_refused(betas):
    with pytest.raises(TypeError, match="betas must be a pair"):
        optim.Adam(mlp([2, 2]).parameters(), betas=betas)


def test_the_state_of_amsgrad_makes_it_amsgrad():
    taken = optim.Adam(mlp([2, 2]).parameters())
    taken.load_state_dict(optim.Adam(mlp([2, 2]).parameters(), amsgrad=True).state_dict())
    assert taken.amsgrad and taken.slots[-1] == "max_exp_avg_sq"
    taken.step()
