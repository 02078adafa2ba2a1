import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from api.checks import DTYPES, same_bits
from api.loss_cases import CASES, REDUCTIONS, case
from fastfcn import losses

mp = mpmath.MPContext()
mp.dps = 60


def softmax_term(row, k):
    """-log p of class k of a row of logits, in 60 digits: log1p(Σ e^(zⱼ - zₖ)) over j ≠ k."""
    own = mp.mpf(float(row[k]))
    return mp.log1p(mp.fsum(mp.exp(mp.mpf(float(v)) - own) for j, v in enumerate(row) if j != k))


def softmax_terms(row):
    return [softmax_term(row, k) for k in range(len(row))]


def assert_within_ulps(got, exact, dtype, ulps=4):
    """Each value within ``ulps`` ε of its value in 60 digits, relative down to the normal range."""
    eps, smallest = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    for i, (g, e) in enumerate(zip(np.ravel(got), exact, strict=True)):
        error = abs(mp.mpf(float(g)) - e)
        assert error <= ulps * eps * max(abs(e), smallest), (
            f"value {i}: got {g!r}, exactly {mp.nstr(e, 20)}, "
            f"{mp.nstr(error / (eps * abs(e)), 5) if e else error} ε off"
        )


def hard_logits(dtype):
    """Rows from huge to nearly lossless: what a naive form overflows or cancels on."""
    rng = np.random.default_rng(0)
    rows = [
        [1e4, -1e4, 0, 5],
        [-1e4, 1e4, 1e4, 0],
        [1e4, 1e4, 1e4, 1e4],
        [-1e4, -1e4, -1e4, -1e4],
        [10, -10, -10, -10],
        [30, -3, 0, 1],
        [50, 0, 0.5, 0.25],
        [90, 0, 0, 0],
        [700, 1, 0, -1],
        [0.1, 0.1, 0.1, 0.1],
        [0, 0, 0, 0],
        [1e4, 9999.5, 9990, 9980],
        [12345.678, 12330.123, 12300, 0],
        [1e-8, -1e-8, 2e-8, 0],
        *(rng.normal(size=(6, 4)) * 10.0 ** np.arange(-2, 4)[:, None]),
    ]
    return np.array(rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", range(4))
def test_cross_entropy_of_hard_logits_is_within_4_eps_of_60_digits(label, dtype):
    z = hard_logits(dtype)
    got = losses.CrossEntropyLoss(reduction="none")(z, np.full(len(z), label))
    assert_within_ulps(got, [softmax_term(row, label) for row in z], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_many_classes_nearly_lossless_is_within_4_eps(dtype):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20, 1000)).astype(dtype)
    labels = rng.integers(0, 1000, 20)
    z[np.arange(20), labels] += np.linspace(0, 60, 20).astype(dtype)
    got = losses.CrossEntropyLoss(reduction="none")(z, labels)
    exact = [softmax_term(row, label) for row, label in zip(z, labels, strict=True)]
    assert_within_ulps(got, exact, dtype)
    assert_within_ulps(losses.CrossEntropyLoss()(z, labels), [mp.fsum(exact) / 20], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_with_probabilities_is_within_4_eps(dtype):
    z = hard_logits(dtype)
    y = np.random.default_rng(1).dirichlet(np.ones(4), len(z)).astype(dtype)
    got = losses.CrossEntropyLoss(reduction="none")(z, y)
    exact = [
        mp.fsum(mp.mpf(float(t)) * q for t, q in zip(row, softmax_terms(logits), strict=True))
        for row, logits in zip(y, z, strict=True)
    ]
    assert_within_ulps(got, exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", range(4))
def test_cross_entropy_with_weights_and_smoothing_is_within_4_eps(label, dtype):
    z = hard_logits(dtype)
    weight, smoothing = [0.5, 2.0, 1.0, 0.25], 0.125
    loss = losses.CrossEntropyLoss(weight, label_smoothing=smoothing, reduction="none")
    exact = [
        mp.fsum(
            w * ((1 - smoothing) * (k == label) + smoothing / 4) * q
            for k, (w, q) in enumerate(zip(weight, softmax_terms(row), strict=True))
        )
        for row in z
    ]
    assert_within_ulps(loss(z, np.full(len(z), label)), exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("y", [0.0, 1.0, 0.25])
def test_binary_cross_entropy_of_logits_is_within_4_eps_from_nearly_zero_to_1e4(y, dtype):
    magnitudes = [0, 1e-8, 1e-3, 0.5, 1, 5, 15, 17, 36, 40, 88, 100, 700, 740, 1e4]
    z = np.array([*magnitudes, *(-m for m in magnitudes)], dtype)[:, None]
    got = losses.BCEWithLogitsLoss(reduction="none")(z, np.full_like(z, y))
    exact = []
    for v in z[:, 0]:
        logit = mp.mpf(float(v))
        exact.append((1 - y) * mp.log1p(mp.exp(logit)) + y * mp.log1p(mp.exp(-logit)))
    assert got.shape == z.shape
    assert_within_ulps(got, exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("y", [0.0, 1.0, 0.25])
def test_binary_cross_entropy_of_probabilities_is_within_4_eps(y, dtype):
    one = dtype(1)
    p = np.array([1e-30, 1e-10, 1e-3, 0.3, 0.5, 0.7, 0.999, np.nextafter(one, dtype(0))], dtype)[
        :, None
    ]
    got = losses.BCELoss(reduction="none")(p, np.full_like(p, y))
    exact = []
    for v in p[:, 0]:
        q = mp.mpf(float(v))
        exact.append(-(y * mp.log(q) + (1 - y) * mp.log1p(-q)))
    assert_within_ulps(got, exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_clamps_as_pytorch_does(dtype):
    p = np.array([[0.0], [1.0], [0.0], [1.0]], dtype)
    y = np.array([[1.0], [0.0], [0.0], [1.0]], dtype)
    loss = losses.BCELoss(reduction="none")
    assert loss(p, y).ravel().tolist() == [100.0, 100.0, 0.0, 0.0]
    np.testing.assert_allclose(loss.grad(p, y).ravel(), [-1e12, 1e12, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_squared_error_is_within_4_eps(dtype):
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(2, 13, 5)).astype(dtype)
    y[0, 0] = a[0, 0] * (1 + np.finfo(dtype).eps)
    exact = [
        (mp.mpf(float(p)) - mp.mpf(float(q))) ** 2
        for p, q in zip(a.ravel(), y.ravel(), strict=True)
    ]
    assert_within_ulps(losses.MSELoss(reduction="none")(a, y), exact, dtype)
    assert_within_ulps(losses.MSELoss()(a, y), [mp.fsum(exact) / 65], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_float32_loss_is_as_exact_at_the_mean_as_row_by_row(dtype):
    z = np.array([[20.0, 0.0]] * 7, dtype)
    got = losses.CrossEntropyLoss()(z, np.zeros(7, int))
    assert_within_ulps(got, [mp.log1p(mp.exp(-20))], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_reference_for_every_reduction(name, reduction, dtype):
    for n in (2, 5, 6, 7, 13):
        kind, options, z, y = case(name, n, dtype, seed=n)
        loss = getattr(losses, kind)(**options, reduction=reduction)
        value, grad = reference.LOSSES[kind](z, y, **options, reduction=reduction)
        got, got_grad = loss(z, y), loss.grad(z, y)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(got, value, rtol=16 * eps, atol=1e-300)
        assert got_grad.dtype == dtype and got_grad.shape == z.shape
        np.testing.assert_allclose(
            got_grad, grad, rtol=16 * eps, atol=8 * eps * np.abs(grad).max(initial=0.0)
        )
        if reduction == "none":
            assert isinstance(got, np.ndarray) and got.dtype == np.float64
            assert got.shape == value.shape
        else:
            assert isinstance(got, float)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative_of_the_value_of_that_reduction(name, reduction):
    kind, options, z, y = case(name, 6, np.float64, seed=3)
    loss = getattr(losses, kind)(**options, reduction=reduction)
    numeric = reference.numerical_gradient(lambda v: np.sum(loss(v, y)), z, step=1e-4)
    grad = loss.grad(z, y)
    assert np.abs(grad - numeric).max() <= 1e-6 * np.abs(numeric).max()


def test_worked_by_hand():
    loss = losses.CrossEntropyLoss()
    z = np.array([[np.log(3.0), 0.0], [0.0, 0.0]])
    assert loss(z, [0, 1]) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-15)
    np.testing.assert_allclose(loss.grad(z, [0, 1]), [[-0.125, 0.125], [0.25, -0.25]], rtol=1e-15)
    assert losses.MSELoss()(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])) == 2.5
    assert losses.MSELoss().grad(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])).tolist() == [
        [1.0, -2.0]
    ]
    assert losses.NLLLoss(weight=[1.0, 3.0])([[-1.0, -2.0], [-4.0, -5.0]], [0, 1]) == 4.0
    assert losses.BCEWithLogitsLoss(reduction="sum")([[0.0]], [[1.0]]) == pytest.approx(np.log(2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_probability_elsewhere_does_not_poison_the_loss(dtype):
    z = np.array([[0.0, -np.inf, 0.0]], dtype)
    loss = losses.CrossEntropyLoss()
    assert loss(z, [0]) == pytest.approx(np.log(2))
    assert loss(z, np.array([[1.0, 0.0, 0.0]], dtype)) == pytest.approx(np.log(2))
    np.testing.assert_allclose(loss.grad(z, [0]), [[-0.5, 0, 0.5]], rtol=1e-6)
    assert losses.CrossEntropyLoss()(z, [1]) == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_nan_in_one_row_stays_in_that_row(name, dtype):
    kind, options, z, y = case(name, 7, dtype, seed=1)
    if kind in ("CrossEntropyLoss", "NLLLoss") and np.ndim(y) == 1:
        y[3] = 0  # neither ignored nor without weight
    z[3, 0] = np.nan
    loss = getattr(losses, kind)(**options, reduction="none")
    value, grad = loss(z, y), loss.grad(z, y)
    rows = np.isnan(value).reshape(7, -1).any(axis=1)
    assert np.flatnonzero(rows).tolist() == [3]
    assert np.isfinite(np.delete(grad, 3, axis=0)).all()
    if kind != "NLLLoss":  # linear: its gradient does not depend on the output
        assert np.isnan(grad[3, 0])
    assert np.isnan(getattr(losses, kind)(**options)(z, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_stay_finite_and_sum_to_zero_at_huge_logits(dtype):
    z = hard_logits(dtype)
    grad = losses.CrossEntropyLoss(reduction="sum").grad(z, np.zeros(len(z), int))
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad.sum(axis=1, dtype=float), 0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_nearly_solved_row_does_not_cancel_to_zero(dtype):
    z = np.array([[40.0, 0.0]], dtype)
    grad = losses.CrossEntropyLoss().grad(z, [0])
    exact = float(mp.exp(-40) / (1 + mp.exp(-40)))
    np.testing.assert_allclose(grad, [[-exact, exact]], rtol=8 * np.finfo(dtype).eps)
    grad = losses.BCEWithLogitsLoss().grad(z[:, :1], [[1.0]])
    np.testing.assert_allclose(grad, [[-exact]], rtol=8 * np.finfo(dtype).eps)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    rows=st.lists(
        st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=6
    ),
    label=st.integers(0, 2),
    dtype=st.sampled_from(DTYPES),
)
def test_cross_entropy_is_within_4_eps_for_any_logits(rows, label, dtype):
    z = np.array(rows, dtype)
    got = losses.CrossEntropyLoss(reduction="none")(z, np.full(len(z), label))
    assert_within_ulps(got, [softmax_term(row, label) for row in z], dtype)


def test_ignored_rows_count_for_nothing():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(6, 3)), np.array([0, -100, 2, 1, -100, 2])
    kept = y != -100
    for kind in (losses.CrossEntropyLoss, losses.NLLLoss):
        loss = kind(weight=[1.0, 2.0, 3.0])
        assert loss(z, y) == pytest.approx(loss(z[kept], y[kept]), rel=1e-14)
        grad = loss.grad(z, y)
        assert not grad[~kept].any()
        np.testing.assert_allclose(grad[kept], loss.grad(z[kept], y[kept]), rtol=1e-14)
        assert (kind(reduction="none")(z, y)[~kept] == 0).all()


def test_one_hot_targets_equal_class_indices():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(6, 3)), rng.integers(0, 3, 6)
    loss = losses.CrossEntropyLoss()
    assert loss(z, y) == pytest.approx(loss(z, reference.one_hot(y, 3)), rel=1e-14)
    np.testing.assert_allclose(loss.grad(z, y), loss.grad(z, reference.one_hot(y, 3)), rtol=1e-13)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_labels_of_any_integer_type_give_the_same_bits(kind):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(6, 3)), rng.integers(0, 3, 6)
    loss = losses.CrossEntropyLoss()
    assert loss(z, y.astype(kind)) == loss(z, y)
    assert same_bits(loss.grad(z, y.astype(kind)), loss.grad(z, y))


def test_arguments_are_left_as_they_were():
    for name in CASES:
        kind, options, z, y = case(name, 4, np.float32)
        kept_z, kept_y = z.copy(), y.copy()
        z.flags.writeable = y.flags.writeable = False
        loss = getattr(losses, kind)(**options)
        loss(z, y)
        loss.grad(z, y)
        assert same_bits(z, kept_z) and same_bits(y, kept_y)


@pytest.mark.parametrize(
    ("loss", "output", "target", "error", "match"),
    [
        (losses.CrossEntropyLoss(), (3, 4), [0, 1], ValueError, "target"),
        (losses.CrossEntropyLoss(), (2, 4), [0, 4], ValueError, "between 0 and 3"),
        (losses.CrossEntropyLoss(), (2, 4), [0, -1], ValueError, "between 0 and 3"),
        (losses.CrossEntropyLoss(), (2, 4), [0.0, 1.0], TypeError, "integer"),
        (losses.CrossEntropyLoss(), (2, 1), [0, 0], ValueError, "2 outputs"),
        (losses.CrossEntropyLoss([1.0, 2.0]), (2, 4), [0, 1], ValueError, "weight"),
        (losses.CrossEntropyLoss(), (2, 2), [[0.5, 0.6], [1, 0]], ValueError, "probabilities"),
        (losses.CrossEntropyLoss(), (2, 2), [[1.5, -0.5], [1, 0]], ValueError, "probabilities"),
        (losses.CrossEntropyLoss(), (4,), [0, 1, 2, 3], ValueError, "output must have shape"),
        (losses.NLLLoss(), (2, 4), [[1.0, 0, 0, 0]] * 2, ValueError, "target"),
        (losses.MSELoss(), (2, 4), [[1.0, 2.0]] * 2, ValueError, "target must have shape"),
        (losses.MSELoss(), (2, 1), [["a"], ["b"]], TypeError, "real numbers"),
        (losses.MSELoss(), (2, 1), [[np.nan], [0.0]], ValueError, "finite"),
        (losses.BCEWithLogitsLoss(), (2, 1), [[2.0], [0.0]], ValueError, "between 0 and 1"),
    ],
)
def test_targets_that_do_not_fit_are_rejected(loss, output, target, error, match):
    z = np.zeros(output)
    with pytest.raises(error, match=match):
        loss(z, np.array(target))
    with pytest.raises(error, match=match):
        loss.grad(z, np.array(target))


def test_binary_cross_entropy_rejects_logits():
    with pytest.raises(ValueError, match="BCEWithLogitsLoss"):
        losses.BCELoss()([[1.5]], [[1.0]])


@pytest.mark.parametrize("dtype", [object, complex])
def test_outputs_that_are_not_real_are_rejected(dtype):
    with pytest.raises(TypeError, match="output must be real"):
        losses.CrossEntropyLoss()(np.zeros((2, 3), dtype), [0, 1])


@pytest.mark.parametrize("kind", reference.LOSSES)
def test_an_unknown_reduction_is_rejected(kind):
    with pytest.raises(ValueError, match="reduction must be"):
        getattr(losses, kind)(reduction="average")


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
def test_label_smoothing_outside_0_to_1_is_rejected(smoothing):
    with pytest.raises(ValueError, match="label_smoothing must be"):
        losses.CrossEntropyLoss(label_smoothing=smoothing)


@pytest.mark.parametrize("weight", [[-1.0, 1.0], [np.nan, 1.0], [[1.0, 2.0]], []])
def test_class_weights_must_be_finite_and_not_negative(weight):
    with pytest.raises(ValueError, match="weight must"):
        losses.CrossEntropyLoss(weight=weight)
