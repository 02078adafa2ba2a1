"""Input of any kind and layout."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import (
    DTYPES,
    linears,
    mlp,
    same_bits,
    same_state,
)
from api.fitting import SIZES, data, fitted, images


@pytest.mark.parametrize("dtype", DTYPES)
def test_uint8_with_a_scale_equals_the_scaled_floats(dtype):
    x, y = images()
    scale = dtype(1 / 255)
    net, _ = fitted(x, y, dtype=dtype, scale=1 / 255)
    other, _ = fitted(x.astype(dtype) * scale, y, dtype=dtype)
    assert same_state(net.state_dict(), other.state_dict())
    assert same_bits(ff.predict(net, x, scale=1 / 255), ff.predict(other, x.astype(dtype) * scale))


@pytest.mark.parametrize(
    "kind", ["uint8", "float32", "float64", "int16", "int64", "float16", "bool"]
)
def test_scale_and_shift_apply_to_input_of_any_type(kind):
    x = (images()[0] % 2 if kind == "bool" else images()[0] % 128).astype(kind)
    net = mlp(SIZES, dtype=np.float64)
    expected = ff.predict(net, x.astype(np.float64) * 0.25 - 3)
    np.testing.assert_allclose(
        ff.predict(net, x, scale=0.25, shift=-3), expected, rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_input_of_the_other_precision_is_converted(dtype):
    x, y = data(np.float32)
    net, _ = fitted(x, y, dtype=dtype)
    other, _ = fitted(x.astype(np.float64), y, dtype=dtype)
    assert same_state(net.state_dict(), other.state_dict())


def layouts(x, tmp_path):
    n, features = x.shape
    wide = np.full((3 * n, 2 * features), 77, x.dtype)
    wide[1::3, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "x.npy", x)
    record = np.zeros(n, np.dtype([("odd", "u1"), ("x", x.dtype, (features,))]))
    record["x"] = x
    return {
        "Fortran": np.asfortranarray(x),
        "every third row, every second column": wide[1::3, ::2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": frozen,
        "memory-mapped": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "unaligned": record["x"],
        "byte-swapped": x.astype(x.dtype.newbyteorder()),
        "nested lists": x.tolist(),
    }


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_any_layout_of_the_input_gives_the_same_bits(kind, tmp_path):
    x, y = images()
    x = x.astype(kind)
    net, history = fitted(x, y, scale=1 / 255)
    outputs = ff.predict(net, x, scale=1 / 255)
    for name, given in layouts(x, tmp_path).items():
        other, again = fitted(given, y, scale=1 / 255)
        assert same_state(net.state_dict(), other.state_dict()), name
        assert history.loss == again.loss, name
        assert same_bits(ff.predict(net, given, scale=1 / 255), outputs), name


def test_a_broadcast_row_is_read_as_it_lies():
    row = np.arange(17, dtype=np.float32)
    net = mlp(SIZES)
    many = ff.predict(net, np.broadcast_to(row, (1000, 17)))
    assert same_bits(many, np.repeat(ff.predict(net, row[None]), 1000, axis=0))


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_columns_that_repeat_are_trained_on_as_they_lie(kind):
    _, y = images()
    column = np.random.default_rng(0).integers(0, 256, (len(y), 1)).astype(kind)
    repeated = np.broadcast_to(column, (len(y), 17))
    net, _ = fitted(repeated, y, scale=1 / 255)
    other, _ = fitted(repeated.copy(), y, scale=1 / 255)
    assert same_state(net.state_dict(), other.state_dict())


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int32", "uint64", ">i4"])
def test_labels_of_any_integer_type_give_the_same_bits(kind):
    x, y = data()
    net, _ = fitted(x, y)
    assert same_state(net.state_dict(), fitted(x, y.astype(kind))[0].state_dict())


def test_labels_may_be_read_only_strided_or_a_list():
    x, y = data()
    expected = fitted(x, y)[0].state_dict()
    frozen = y.copy()
    frozen.flags.writeable = False
    for labels in (frozen, np.repeat(y, 2)[::2], y.tolist(), y[::-1].copy()[::-1]):
        assert same_state(fitted(x, labels)[0].state_dict(), expected)


def test_the_data_are_left_as_they_were():
    x, y = data()
    kept = x.copy(), y.copy()
    net, _ = fitted(x, y, validation_data=(x, y))
    ff.predict(net, x)
    assert same_bits(x, kept[0]) and same_bits(y, kept[1])


def test_non_finite_input_passes_only_where_the_check_is_switched_off():
    x, y = data()
    x[3, 2] = np.nan
    with pytest.warns(RuntimeWarning, match="loss is nan in epoch 1"):
        net, history = fitted(x, y, check_finite=False, epochs=1)
    assert np.isnan(history.loss[0])
    assert all(np.isnan(layer.weight).all() for layer in linears(net)[-1:])
    clean = mlp(SIZES)
    got = ff.predict(clean, x, check_finite=False)
    assert np.isnan(got[3]).all() and np.isfinite(np.delete(got, 3, axis=0)).all()
