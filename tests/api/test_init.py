import math

import numpy as np
import pytest

import reference
from api.checks import same_bits, same_state
from fastfcn import nn
from fastfcn.nn import init

FAN_IN, FAN_OUT = 300, 200
SHAPE = (FAN_IN, FAN_OUT)


def draw(initialiser, seed=0):
    return initialiser(np.random.default_rng(seed), SHAPE, FAN_IN, FAN_OUT)


UNIFORM = [
    (init.KaimingUniform(), reference.kaiming_uniform_bound(FAN_IN)),
    (init.KaimingUniform(a=0.5), reference.kaiming_uniform_bound(FAN_IN, 0.5)),
    (init.XavierUniform(), reference.xavier_uniform_bound(FAN_IN, FAN_OUT)),
    (init.XavierUniform(gain=2.0), reference.xavier_uniform_bound(FAN_IN, FAN_OUT, 2.0)),
]
NORMAL = [
    (init.KaimingNormal(), reference.kaiming_normal_std(FAN_IN)),
    (init.KaimingNormal(a=0.5), reference.kaiming_normal_std(FAN_IN, 0.5)),
    (init.XavierNormal(), reference.xavier_normal_std(FAN_IN, FAN_OUT)),
    (init.XavierNormal(gain=2.0), reference.xavier_normal_std(FAN_IN, FAN_OUT, 2.0)),
]


@pytest.mark.parametrize(("initialiser", "bound"), UNIFORM, ids=str)
def test_uniform_initialisers_fill_their_interval_evenly(initialiser, bound):
    w = draw(initialiser)
    assert w.dtype == np.float64 and w.shape == SHAPE
    assert np.abs(w).max() <= bound
    counts, _ = np.histogram(w, bins=20, range=(-bound, bound))
    expected = w.size / 20
    assert np.abs(counts - expected).max() < 6 * math.sqrt(expected)


@pytest.mark.parametrize(("initialiser", "std"), NORMAL, ids=str)
def test_normal_initialisers_have_their_mean_and_deviation(initialiser, std):
    w = draw(initialiser)
    assert w.dtype == np.float64 and w.shape == SHAPE
    assert abs(w.mean()) < 6 * std / math.sqrt(w.size)
    assert abs(w.std() / std - 1) < 6 / math.sqrt(2 * w.size)
    within = (np.abs(w) < std).mean()
    assert abs(within - 0.682689) < 6 * 0.47 / math.sqrt(w.size)


def test_zeros_and_constants():
    assert not draw(init.Zeros()).any()
    assert (draw(init.Constant(0.25)) == 0.25).all()


@pytest.mark.parametrize("initialiser", [i for i, _ in UNIFORM + NORMAL], ids=str)
def test_values_are_a_function_of_the_generator(initialiser):
    assert same_bits(draw(initialiser), draw(initialiser))
    assert not same_bits(draw(initialiser), draw(initialiser, seed=1))


@pytest.mark.parametrize("fan_in", [1, 16, 784])
def test_linear_starts_uniform_within_one_over_root_fan_in_for_weight_and_bias(fan_in):
    layer = nn.Linear(fan_in, 500, rng=np.random.default_rng(0))
    bound = 1 / math.sqrt(fan_in)
    for values in (layer.weight, layer.bias):
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert np.abs(values).max() > 0.97 * bound
        assert abs(values.mean()) < 6 * bound / math.sqrt(3 * values.size)


def test_fan_in_is_in_features():
    seen = []

    def spy(rng, shape, fan_in, fan_out):
        seen.append((shape, fan_in, fan_out))
        return np.zeros(shape)

    nn.Linear(7, 3, init=spy, bias_init=spy)
    assert seen == [((7, 3), 7, 3), ((3,), 7, 3)]


def test_linear_uses_the_initialisers_it_is_given():
    layer = nn.Linear(5, 4, init=init.Constant(0.5), bias_init=init.Zeros())
    assert (layer.weight == 0.5).all() and not layer.bias.any()


def test_the_same_generator_seed_gives_the_same_layer_in_both_precisions():
    one = nn.Linear(17, 5, rng=np.random.default_rng(3))
    assert same_state(one.state_dict(), nn.Linear(17, 5, rng=np.random.default_rng(3)).state_dict())
    double = nn.Linear(17, 5, dtype=np.float64, rng=np.random.default_rng(3))
    assert same_bits(double.weight.astype(np.float32), one.weight)


def test_without_a_generator_layers_differ():
    assert not same_bits(nn.Linear(5, 5).weight, nn.Linear(5, 5).weight)


def test_reset_parameters_of_a_network_is_a_function_of_the_generator():
    a = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    b = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    a.reset_parameters(np.random.default_rng(1))
    b.reset_parameters(np.random.default_rng(1))
    assert same_state(a.state_dict(), b.state_dict())
    b.reset_parameters(np.random.default_rng(2))
    assert not same_state(a.state_dict(), b.state_dict())


def test_a_seed_in_place_of_a_generator_says_what_to_pass():
    with pytest.raises(TypeError, match="default_rng"):
        nn.Linear(2, 2, rng=0)


def test_an_initialiser_of_another_shape_is_rejected():
    with pytest.raises(ValueError, match="weight must have shape"):
        nn.Linear(3, 2, init=lambda rng, shape, fan_in, fan_out: np.zeros(shape[::-1]))
