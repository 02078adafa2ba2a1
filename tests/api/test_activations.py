import math

import numpy as np
import pytest

import reference
from api.checks import ACTIVATIONS, DTYPES, ELEMENTWISE
from fastfcn import nn

VALUES = np.concatenate(
    [
        np.linspace(-12, 12, 193),
        [-1e4, -800, -104, -88.8, -50, -20, 20, 50, 88.8, 104, 800, 1e4],
        [1e-3, -1e-3, 1e-7, -1e-7, 1e-20, -1e-20, 0.0, -0.0, 1e-38, -1e-38],
    ]
)


def values(dtype):
    return VALUES.astype(dtype)


def limit(name, z, exact, dtype):
    """Rounding of the result, of the argument of the exponential, and of nothing else."""
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).smallest_normal
    sensitivity = 1.0 + (np.minimum(z * z, 1e4) if name == "GELU" else 0.0)
    return 16 * eps * np.abs(exact) * sensitivity + tiny


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_forward_equals_the_formula_to_rounding(name, dtype):
    z = values(dtype)
    exact = reference.ACTIVATIONS[name][0](z)
    got = ELEMENTWISE[name]()(z[None, :])[0]
    assert got.dtype == dtype
    error = np.abs(got - exact)
    worst = np.argmax(error - limit(name, z.astype(float), exact, dtype))
    assert (error <= limit(name, z.astype(float), exact, dtype)).all(), (
        f"{name}({z[worst]!r}) = {got[worst]!r}, exactly {exact[worst]!r}"
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_backward_is_the_derivative_of_z_times_delta(name, dtype):
    z = values(dtype)
    rng = np.random.default_rng(0)
    delta = rng.normal(size=z.shape).astype(dtype)
    layer = ELEMENTWISE[name]()
    layer(z[None, :])
    got = layer.backward(delta[None, :])[0]
    exact = reference.activation_vjp(name, z, delta)
    assert got.dtype == dtype
    # Derivatives may come from the output (σ' = a (1 - a)): absolute rounding, of |δ|.
    allowed = 16 * np.finfo(dtype).eps * np.abs(delta.astype(float))
    worst = np.argmax(np.abs(got - exact) - allowed)
    assert (np.abs(got - exact) <= allowed).all(), (
        f"{name}'({z[worst]!r})·{delta[worst]!r} = {got[worst]!r}, exactly {exact[worst]!r}"
    )


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivative_agrees_with_finite_differences(name):
    z = np.linspace(-5.03, 5.01, 57)
    layer = ELEMENTWISE[name]()
    h = 1e-4
    stencil = [layer((z + k * h)[None, :])[0] for k in (-2, -1, 1, 2)]
    numeric = (stencil[0] - 8 * stencil[1] + 8 * stencil[2] - stencil[3]) / (12 * h)
    layer(z[None, :])
    np.testing.assert_allclose(layer.backward(np.ones((1, 57)))[0], numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_of_leaky_relu_and_elu_are_used(dtype):
    z = values(dtype)[None, :]
    delta = np.ones_like(z)
    for layer, formula, derivative in [
        (nn.LeakyReLU(0.2), reference.leaky_relu, reference.d_leaky_relu),
        (nn.ELU(0.2), reference.elu, reference.d_elu),
    ]:
        parameter = float(dtype(0.2))
        np.testing.assert_allclose(
            layer(z), formula(z, parameter), rtol=16 * np.finfo(dtype).eps, atol=1e-37
        )
        np.testing.assert_allclose(
            layer.backward(delta), derivative(z, parameter), rtol=0, atol=16 * np.finfo(dtype).eps
        )
        assert "0.2" in repr(layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 10, 15, 16, 17, 65])
def test_softmax_and_its_vjp_work_row_by_row(width, dtype):
    rng = np.random.default_rng(width)
    z = (10 * rng.normal(size=(7, width))).astype(dtype)
    delta = rng.normal(size=(7, width)).astype(dtype)
    layer = nn.Softmax()
    p = layer(z)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(p, reference.softmax(z), rtol=64 * eps, atol=1e-37)
    np.testing.assert_allclose(p.sum(axis=1, dtype=float), 1, atol=4 * eps * width)
    exact = reference.softmax_vjp(z, delta)
    np.testing.assert_allclose(
        layer.backward(delta), exact, rtol=64 * eps, atol=16 * eps * np.abs(delta).max()
    )
    for i in range(7):
        assert nn.Softmax()(z[i : i + 1]).tobytes() == p[i].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_survives_huge_logits(dtype):
    p = nn.Softmax()(np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4]], dtype))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_gives_nan_forwards_and_backwards(name, dtype):
    z = np.linspace(-1, 1, 17).astype(dtype)[None, :].repeat(3, axis=0)
    z[1, 5] = np.nan
    layer = ACTIVATIONS[name]()
    a = layer(z)
    assert np.isnan(a[1, 5])
    assert np.isfinite(a[[0, 2]]).all()
    if name != "Softmax":
        assert np.isfinite(np.delete(a[1], 5)).all()
    gradient = layer.backward(np.ones_like(z))
    assert np.isfinite(gradient[[0, 2]]).all()
    if name in ("Sigmoid", "Tanh", "GELU", "SiLU", "Softplus", "Softmax"):
        assert np.isnan(gradient[1, 5])  # piecewise ones compare: z > 0 is false of NaN
    delta = np.ones_like(z)
    delta[0, 4] = np.nan
    assert np.isnan(layer.backward(delta)[0, 4])


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_of_nan_is_nan(dtype):
    assert np.isnan(nn.ReLU()(np.array([[np.nan, -np.nan]], dtype))).all()


LIMITS = {
    "ReLU": (0, math.inf),
    "LeakyReLU": (-math.inf, math.inf),
    "Sigmoid": (0, 1),
    "Tanh": (-1, 1),
    "ELU": (-1, math.inf),
    "Softplus": (0, math.inf),
    "Identity": (-math.inf, math.inf),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_infinity_gives_the_limit(name, dtype):
    z = np.array([[-np.inf, np.inf]], dtype)
    assert tuple(ACTIVATIONS[name]()(z)[0].tolist()) == LIMITS[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_element_has_the_same_bits_wherever_it_lies(name, dtype):
    z = np.random.default_rng(0).normal(size=(13, 17)).astype(dtype)
    whole = ACTIVATIONS[name]()(z)
    for i in (0, 5, 12):
        assert ACTIVATIONS[name]()(z[i : i + 1]).tobytes() == whole[i].tobytes()
    if name != "Softmax":
        for j in (0, 8, 15, 16):
            assert ACTIVATIONS[name]()(z[:, j : j + 1]).tobytes() == whole[:, j].tobytes()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_has_no_parameters_and_shows_its_name(name):
    layer = ACTIVATIONS[name]()
    assert layer.parameters() == [] and dict(layer.state_dict()) == {}
    layer.zero_grad()
    assert repr(layer).startswith(name)


def test_the_input_is_left_as_it_was():
    z = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    kept = z.copy()
    for activation in ACTIVATIONS.values():
        layer = activation()
        layer(z)
        layer.backward(np.ones_like(z))
        assert z.tobytes() == kept.tobytes()
