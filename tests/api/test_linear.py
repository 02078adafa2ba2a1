import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from api.checks import BATCHES, DTYPES, WIDTHS, same_bits
from fastfcn import nn


def assert_within(got, exact, bound, dtype):
    """Element by element within 16 ε of the sum of the products' magnitudes, as BLAS is tested."""
    assert got.dtype == dtype
    error = np.abs(got.astype(np.float64) - exact)
    limit = 16 * np.finfo(dtype).eps * bound
    worst = np.unravel_index(np.argmax(error - limit), error.shape)
    assert (error <= limit).all(), f"at {worst}: error {error[worst]}, limit {limit[worst]}"


def check_layer(batch, fan_in, fan_out, dtype, bias=True, seed=0):
    rng = np.random.default_rng(seed)
    layer = nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype, rng=rng)
    x = rng.normal(size=(batch, fan_in)).astype(dtype)
    delta = rng.normal(size=(batch, fan_out)).astype(dtype)
    w, b = layer.weight.copy(), None if layer.bias is None else layer.bias.copy()

    z = layer(x)
    assert z.shape == (batch, fan_out)
    bound = reference.magnitude(x, w, b)
    assert_within(z, reference.linear_forward(x, w, b), bound, dtype)

    dx = layer.backward(delta)
    exact = reference.linear_backward(x, w, delta)
    bounds = reference.linear_backward(np.abs(x), np.abs(w), np.abs(delta))
    got = (dx, layer.weight_grad, layer.bias_grad)
    for name, g, e, m in zip(("dx", "dW", "db"), got, exact, bounds, strict=True):
        if name == "db" and not bias:
            assert g is None
            continue
        assert g.shape == e.shape, name
        assert_within(g, e, m, dtype)
    assert same_bits(layer.weight, w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_forward_and_backward_stay_within_the_matrix_bound_at_every_tile_edge(batch, dtype):
    for width in WIDTHS:
        check_layer(batch, width, 17, dtype)
        check_layer(batch, 17, width, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_matrix_bound_holds_with_and_without_bias(bias, dtype):
    check_layer(1, 1, 1, dtype, bias)
    check_layer(130, 257, 131, dtype, bias)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    batch=st.integers(1, 40),
    fan_in=st.integers(1, 140),
    fan_out=st.integers(1, 140),
    dtype=st.sampled_from(DTYPES),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_matrix_bound_holds_for_any_shape(batch, fan_in, fan_out, dtype, bias, seed):
    check_layer(batch, fan_in, fan_out, dtype, bias, seed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_worked_out_by_hand(dtype):
    layer = nn.Linear(3, 2, dtype=dtype)
    layer.weight = [[1, 2], [3, 4], [5, 6]]
    layer.bias = [10, -10]
    x = np.array([[1, 2, 3], [0, -1, 1]], dtype)
    assert layer(x).tolist() == [[32, 18], [12, -8]]
    delta = np.array([[1, 0], [2, -1]], dtype)
    assert layer.backward(delta).tolist() == [[1, 3, 5], [0, 2, 4]]
    assert layer.weight_grad.tolist() == [[1, 0], [0, 1], [5, -1]]
    assert layer.bias_grad.tolist() == [3, -1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_accumulate_over_two_backward_passes(dtype):
    rng = np.random.default_rng(1)
    layer = nn.Linear(17, 15, dtype=dtype, rng=rng)
    xs = [rng.normal(size=(n, 17)).astype(dtype) for n in (7, 5)]
    deltas = [rng.normal(size=(n, 15)).astype(dtype) for n in (7, 5)]
    for x, delta in zip(xs, deltas, strict=True):
        layer(x)
        layer.backward(delta)
    x, delta = np.concatenate(xs), np.concatenate(deltas)
    _, dw, db = reference.linear_backward(x, layer.weight, delta)
    _, mw, mb = reference.linear_backward(np.abs(x), layer.weight, np.abs(delta))
    assert_within(layer.weight_grad, dw, mw, dtype)
    assert_within(layer.bias_grad, db, mb, dtype)
    layer.zero_grad()
    assert not layer.weight_grad.any() and not layer.bias_grad.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_exactly_the_outputs_they_belong_to(value, dtype):
    layer = nn.Linear(17, 16, dtype=dtype, rng=np.random.default_rng(0))
    x = np.ones((7, 17), dtype)
    clean = layer(x)
    x[3, 11] = value
    got = layer(x)
    others = np.arange(7) != 3
    assert same_bits(got[others], clean[others])
    with np.errstate(invalid="ignore"):
        expected = value * np.sign(layer.weight[11])
    np.testing.assert_array_equal(got[3], expected.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_times_a_weight_that_is_not_finite_is_nan(dtype):
    layer = nn.Linear(17, 16, dtype=dtype)
    layer.weight[4, 2] = np.inf
    layer.weight[5, 3] = np.nan
    z = layer(np.zeros((7, 17), dtype))
    bad = np.isnan(z)
    assert bad[:, 2:4].all() and not bad[:, :2].any() and not bad[:, 4:].any()


def test_weight_and_bias_are_views_that_the_layer_reads():
    layer = nn.Linear(2, 2)
    layer.weight[...] = 0
    layer.bias[:] = [1, 2]
    layer.weight[0, 1] = 3
    assert layer(np.array([[1, 0]], np.float32)).tolist() == [[1, 5]]


def test_assigning_a_weight_copies_it_in():
    layer = nn.Linear(2, 3)
    w = np.arange(6.0).reshape(2, 3)
    layer.weight = w
    w[...] = 9
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert layer.weight.dtype == np.float32


def test_shapes_dtypes_and_absence_of_bias():
    layer = nn.Linear(3, 2, bias=False, dtype=np.float64)
    assert layer.bias is None and layer.bias_grad is None
    assert [p.shape for p in layer.parameters()] == [(3, 2)]
    assert layer.state_dict().keys() == {"weight"}
    full = nn.Linear(3, 2)
    assert [p.name for p in full.parameters()] == ["weight", "bias"]
    assert [p.shape for p in full.parameters()] == [(3, 2), (2,)]
    assert full.state_dict().keys() == {"weight", "bias"}
    for p in full.parameters():
        assert p.data.shape == p.grad.shape == p.shape
        assert p.data.dtype == np.float32


def test_parameter_data_is_the_layers_own():
    layer = nn.Linear(3, 2)
    layer.parameters()[0].data[...] = 7
    assert (layer.weight == 7).all()


def test_repr_names_sizes_and_parameter_count():
    text = repr(nn.Linear(784, 256))
    assert "784" in text and "256" in text and "200,960" in text


@pytest.mark.parametrize("order", ["C", "F", "strided", "reversed", "float64", "uint8", "readonly"])
def test_any_layout_of_the_input_gives_the_same_bits(order):
    x = np.random.default_rng(0).integers(0, 256, (13, 17)).astype(np.float32)
    layer = nn.Linear(17, 15, rng=np.random.default_rng(1))
    expected = layer(x)
    wide = np.zeros((26, 34), np.float32)
    wide[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    given = {
        "C": x,
        "F": np.asfortranarray(x),
        "strided": wide[::2, ::2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "float64": x.astype(np.float64),
        "uint8": x.astype(np.uint8),
        "readonly": frozen,
    }[order]
    assert same_bits(layer(given), expected)


def test_the_input_may_be_overwritten_between_forward_and_backward():
    rng = np.random.default_rng(0)
    layer = nn.Linear(5, 4, dtype=np.float64, rng=rng)
    x, delta = rng.normal(size=(6, 5)), rng.normal(size=(6, 4))
    kept = x.copy()
    layer(x)
    x[...] = np.nan
    layer.backward(delta)
    np.testing.assert_allclose(layer.weight_grad, kept.T @ delta, rtol=1e-12, atol=1e-14)


def test_outputs_are_not_overwritten_by_the_next_call():
    layer = nn.Linear(4, 3, rng=np.random.default_rng(0))
    x = np.ones((2, 4), np.float32)
    first = layer(x)
    kept = first.copy()
    layer(-x)
    assert same_bits(first, kept)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 2)])
def test_sizes_below_one_are_rejected(sizes):
    with pytest.raises(ValueError, match="features must be"):
        nn.Linear(*sizes)


def test_sizes_and_dtypes_of_other_kinds_are_rejected():
    with pytest.raises(TypeError, match="in_features"):
        nn.Linear(2.5, 1)
    with pytest.raises(ValueError, match="dtype"):
        nn.Linear(2, 1, dtype=np.int32)


@pytest.mark.parametrize("bias", ["relu", 1, None])
def test_bias_is_true_or_false_and_nothing_else(bias):
    with pytest.raises(TypeError, match="bias must be True or False, got"):
        nn.Linear(2, 1, bias)


def test_backward_before_forward_says_so():
    with pytest.raises(RuntimeError, match="forward"):
        nn.Linear(2, 2).backward(np.zeros((1, 2)))


def test_delta_of_another_shape_is_rejected_and_adds_nothing():
    layer = nn.Linear(3, 2)
    layer(np.ones((4, 3), np.float32))
    for shape in [(4, 3), (3, 2), (4,), (4, 2, 1)]:
        with pytest.raises(ValueError, match="delta must have"):
            layer.backward(np.ones(shape, np.float32))
    assert not layer.weight_grad.any() and not layer.bias_grad.any()
