"""Weights of samples: in losses, their gradients, training, history and evaluation."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import fastfcn as ff
import reference
from api.checks import DTYPES, mlp, same_bits, same_state, two_threads
from api.loss_cases import CASES, REDUCTIONS, case
from fastfcn import losses, optim
from fastfcn.training import batch_order

MEANS = ["mean", "batchmean"]
SIZES = [7, 16, 5]


def weights(n, seed=0):
    """Weights from 0 to 3, a third of them 0."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 3, n) * (rng.random(n) < 2 / 3)


def data(name="labels", n=130, dtype=np.float32):
    """Inputs, and targets that fit the loss of a case."""
    x = np.random.default_rng(1).normal(size=(n, 7)).astype(dtype)
    kind, options, _, y = case(name, n, dtype)
    return x, y, getattr(losses, kind)(**options)


def fitted(x, y, loss, *, dtype=np.float32, sizes=SIZES, lr=0.05, momentum=0.9, **options):
    net = mlp(sizes, dtype=dtype)
    sgd = optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    settings = {"batch_size": 32, "epochs": 2, "seed": 3, **options}
    return net, ff.fit(net, x, y, loss=loss, optimizer=sgd, **settings)


# ---- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_reference(name, reduction, dtype):
    for n in (2, 7, 13):
        kind, options, z, y = case(name, n, dtype, seed=n)
        w = weights(n, seed=n)
        w[0] = 0.5
        if np.ndim(y) == 1:
            y[0] = 0  # a class that counts
        loss = getattr(losses, kind)(**options, reduction=reduction)
        value, grad = reference.LOSSES[kind](z, y, **options, reduction=reduction, sample_weight=w)
        got, got_grad = loss(z, y, w), loss.grad(z, y, sample_weight=w)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(got, value, rtol=16 * eps, atol=1e-300)
        np.testing.assert_allclose(
            got_grad, grad, rtol=16 * eps, atol=8 * eps * np.abs(grad).max(initial=0.0)
        )
        assert got_grad.dtype == dtype
        assert not got_grad[w == 0].any()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative_of_the_value(name, reduction):
    kind, options, z, y = case(name, 6, np.float64, seed=3)
    w = np.array([0.5, 0.0, 2.0, 1.0, 3.0, 0.25])
    loss = getattr(losses, kind)(**options, reduction=reduction)
    numeric = reference.numerical_gradient(lambda v: np.sum(loss(v, y, w)), z, step=1e-4)
    assert np.abs(loss.grad(z, y, w) - numeric).max() <= 1e-6 * np.abs(numeric).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_weights_of_one_give_the_bits_of_none(name, reduction, dtype):
    kind, options, z, y = case(name, 13, dtype)
    loss = getattr(losses, kind)(**options, reduction=reduction)
    assert same_bits(loss(z, y, np.ones(13)), loss(z, y))
    assert same_bits(loss.grad(z, y, np.ones(13)), loss.grad(z, y))


@pytest.mark.parametrize("reduction", MEANS)
@pytest.mark.parametrize("name", CASES)
def test_doubling_all_weights_changes_no_bit_of_a_mean(name, reduction):
    kind, options, z, y = case(name, 13, np.float32)
    w = weights(13)
    loss = getattr(losses, kind)(**options, reduction=reduction)
    assert loss(z, y, 2 * w) == loss(z, y, w)
    assert same_bits(loss.grad(z, y, 2 * w), loss.grad(z, y, w))


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_whole_weights_are_repeated_samples(name, reduction):
    kind, options, z, y = case(name, 6, np.float64)
    times = np.array([1, 3, 0, 2, 1, 4])
    loss = getattr(losses, kind)(**options, reduction=reduction)
    repeated = np.repeat(z, times, axis=0), np.repeat(y, times, axis=0)
    assert loss(z, y, times) == pytest.approx(loss(*repeated), rel=1e-14)
    grad = np.zeros_like(z)
    np.add.at(grad, np.repeat(np.arange(6), times), loss.grad(*repeated))
    np.testing.assert_allclose(loss.grad(z, y, times), grad, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", CASES)
def test_a_sample_of_weight_zero_counts_for_nothing_whatever_its_output(name):
    kind, options, z, y = case(name, 7, np.float64)
    w = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0, 3.0])
    kept = w > 0
    loss = getattr(losses, kind)(**options)
    expected, grad = loss(z[kept], y[kept], w[kept]), loss.grad(z[kept], y[kept], w[kept])
    z[~kept] = np.nan
    assert loss(z, y, w) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(loss.grad(z, y, w)[kept], grad, rtol=1e-14)
    assert not loss.grad(z, y, w)[~kept].any()


@pytest.mark.parametrize("reduction", MEANS)
@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_weight_has_gradient_zero_and_no_mean(name, reduction):
    kind, options, z, y = case(name, 5, np.float32)
    loss = getattr(losses, kind)(**options, reduction=reduction)
    grad = loss.grad(z, y, np.zeros(5))
    assert grad.shape == z.shape and not grad.any()
    assert np.isnan(loss(z, y, np.zeros(5)))


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_class_weights_are_sample_weights_by_label(name):
    rng = np.random.default_rng(0)
    z, y = reference.log_softmax(rng.normal(size=(9, 3))), rng.integers(0, 3, 9)
    by_class = np.array([0.5, 2.0, 0.0])
    kind = getattr(losses, name)
    assert kind(by_class)(z, y) == pytest.approx(kind()(z, y, by_class[y]), rel=1e-14)
    np.testing.assert_allclose(
        kind(by_class).grad(z, y), kind().grad(z, y, by_class[y]), rtol=1e-13, atol=1e-17
    )


@pytest.mark.parametrize("name", [name for name in CASES if name != "half mse"])
def test_weighted_means_have_pytorchs_gradients(requires_torch, name):
    torch = requires_torch
    kind, options, z, y = case(name, 13, np.float64)
    w = weights(13)
    tensors = {
        k: torch.tensor(v, dtype=torch.float64) if k == "weight" else v for k, v in options.items()
    }
    output = torch.tensor(z, requires_grad=True)
    terms = getattr(torch.nn, kind)(**tensors, reduction="none")(output, torch.tensor(y))
    terms = terms.reshape(13, -1).sum(axis=1)
    kept = y != options.get("ignore_index", -100) if y.ndim == 1 else np.ones(13, bool)
    value = (terms * torch.tensor(w)).sum() / (w * kept).sum()
    value.backward()
    loss = getattr(losses, kind)(**options, reduction="batchmean")
    assert loss(z, y, w) == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(loss.grad(z, y, w), output.grad.numpy(), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("kind", [list, np.float32, np.int16, np.uint8, np.bool_])
def test_weights_may_be_of_any_real_type(kind):
    z, y = np.random.default_rng(0).normal(size=(4, 3)), [0, 1, 2, 0]
    w = [1, 0, 1, 1]
    given = w if kind is list else np.array(w, kind)
    loss = losses.CrossEntropyLoss()
    assert loss(z, y, given) == loss(z, y, np.array(w, float))


BAD = {
    "too few": (np.ones(3), ValueError, r"must have shape \(4,\), one number a row, got \(3,\)"),
    "a column": (np.ones((4, 1)), ValueError, "must have shape"),
    "a number": (1.0, ValueError, "must have shape"),
    "negative": ([1, 1, -0.5, 1], ValueError, "must be finite and not negative, got -0.5 at 2"),
    "nan": ([1, np.nan, 1, 1], ValueError, "must be finite and not negative, got nan at 1"),
    "infinite": ([1, 1, 1, np.inf], ValueError, "must be finite and not negative, got inf at 3"),
    "text": (["a"] * 4, TypeError, "must be real numbers"),
    "complex": (np.ones(4, complex), TypeError, "must be real numbers"),
    "objects": (np.ones(4, object), TypeError, "must be real numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_weights_that_do_not_fit_are_refused(name):
    given, error, match = BAD[name]
    loss, x, y = losses.CrossEntropyLoss(), np.ones((4, 7), np.float32), np.zeros(4, int)
    net = mlp(SIZES)
    before = net.state_dict()
    options = {"loss": loss, "optimizer": optim.SGD(net.parameters(), lr=0.1), "batch_size": 2}
    for call, prefix in [
        (lambda: loss(np.ones((4, 5)), y, given), "sample_weight"),
        (lambda: loss.grad(np.ones((4, 5)), y, given), "sample_weight"),
        (lambda: ff.evaluate(net, x, y, loss=loss, sample_weight=given), "sample_weight"),
        (lambda: ff.fit(net, x, y, sample_weight=given, **options), "sample_weight"),
        (
            lambda: ff.fit(net, x, y, validation_data=(x, y, given), **options),
            "validation sample_weight",
        ),
    ]:
        with pytest.raises(error, match=f"^{prefix} {match}"):
            call()
    assert same_state(net.state_dict(), before)


def test_weights_that_are_all_zero_are_refused_where_data_are_given():
    net, x, y = mlp(SIZES), np.ones((4, 7), np.float32), np.zeros(4, int)
    loss, sgd = losses.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1)
    for call in (
        lambda: ff.evaluate(net, x, y, loss=loss, sample_weight=np.zeros(4)),
        lambda: ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=2, sample_weight=[0] * 4),
    ):
        with pytest.raises(ValueError, match="sample_weight must be above 0 for at least one row"):
            call()


# ---- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
@pytest.mark.parametrize("name", ["everything", "probabilities", "bce with logits", "huber"])
def test_fit_gives_the_bits_of_the_step_by_step_loop(name, reduction, dtype):
    x, y, loss = data(name, dtype=dtype)
    loss.reduction = reduction
    w = weights(len(x))
    net, _ = fitted(x, y, loss, dtype=dtype, lr=0.001, sample_weight=w)
    other = mlp(SIZES, dtype=dtype)
    sgd = optim.SGD(other.parameters(), lr=0.001, momentum=0.9)
    for epoch in (1, 2):
        order = batch_order(3, epoch, len(x))
        for start in range(0, len(x), 32):
            rows = order[start : start + 32]
            sgd.zero_grad()
            other.backward(loss.grad(other(x[rows]), y[rows], w[rows]))
            sgd.step()
    assert same_state(net.state_dict(), other.state_dict())
    plain, _ = fitted(x, y, loss, dtype=dtype, lr=0.001)
    assert not same_state(net.state_dict(), plain.state_dict())


@pytest.mark.parametrize("reduction", MEANS)
@pytest.mark.parametrize("name", ["labels", "labels with weights", "mse"])
def test_a_fit_does_not_depend_on_the_scale_of_the_weights(name, reduction):
    x, y, loss = data(name)
    loss.reduction = reduction
    w = weights(len(x))
    net, history = fitted(x, y, loss, sample_weight=w)
    other, doubled = fitted(x, y, loss, sample_weight=2 * w)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == doubled.loss and history.accuracy == doubled.accuracy


@pytest.mark.parametrize("name", ["labels", "mse", "poisson"])
def test_training_with_whole_weights_is_training_on_repeated_samples(name):
    """And so a weight of 0 is a sample that is not there."""
    x, y, loss = data(name, n=20, dtype=np.float64)
    times = np.random.default_rng(0).integers(0, 4, 20)
    options = {"dtype": np.float64, "shuffle": False, "epochs": 5}
    net, history = fitted(x, y, loss, batch_size=20, sample_weight=times, **options)
    x, y = np.repeat(x, times, axis=0), np.repeat(y, times, axis=0)
    other, repeated = fitted(x, y, loss, batch_size=len(x), **options)
    for name, values in net.state_dict().items():
        np.testing.assert_allclose(values, other.state_dict()[name], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(history.loss, repeated.loss, rtol=1e-12)
    if history.accuracy[0] is not None:
        np.testing.assert_allclose(history.accuracy, repeated.accuracy, rtol=1e-12)


@pytest.mark.parametrize("name", ["labels", "labels with weights", "probabilities", "mse"])
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
def test_a_batch_without_weight_moves_nothing(name, reduction):
    x, y, loss = data(name, n=8)
    loss.reduction = reduction
    w = np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
    options = {"shuffle": False, "epochs": 1, "batch_size": 4, "momentum": 0.0}
    net, history = fitted(x, y, loss, sample_weight=w, **options)
    other, _ = fitted(x[4:], y[4:], loss, **options)
    assert same_state(net.state_dict(), other.state_dict())
    assert np.isfinite(history.loss[0])


@two_threads
@pytest.mark.parametrize("name", ["everything", "bce with logits"])
def test_one_and_two_threads_train_to_the_same_bits(name):
    x, y, loss = data(name)
    w = weights(len(x))
    net, history = fitted(x, y, loss, sample_weight=w, n_threads=1)
    other, both = fitted(x, y, loss, sample_weight=w, n_threads=2)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == both.loss and history.accuracy == both.accuracy


# ---- history and evaluation --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["labels", "ignored labels", "mse"])
def test_history_holds_weighted_means(name):
    """With a learning rate that moves nothing an epoch's history is the network's evaluation."""
    x, y, loss = data(name)
    w = weights(len(x))
    net, history = fitted(x, y, loss, lr=1e-30, momentum=0.0, sample_weight=w)
    terms = type(loss)(**CASES[name][1], reduction="none")(ff.predict(net, x), y)
    each = terms.reshape(len(x), -1).mean(axis=1)
    kept = w if y.ndim > 1 else w * (y != loss.ignore_index)
    np.testing.assert_allclose(history.loss, np.average(each, weights=kept), rtol=1e-6)
    found = ff.evaluate(net, x, y, loss=loss, sample_weight=w)
    np.testing.assert_allclose(history.loss, found.loss, rtol=1e-6)
    accuracy = found.accuracy if found.accuracy is None else pytest.approx(found.accuracy)
    assert history.accuracy == [accuracy] * 2


def test_evaluation_is_scikit_learns_with_the_same_weights():
    x, y, loss = data("labels")
    w = weights(len(x))
    net = mlp(SIZES)
    found = ff.evaluate(net, x, y, loss=loss, sample_weight=w)
    predicted = ff.predict(net, x).argmax(axis=1)
    expected = accuracy_score(y, predicted, sample_weight=w)
    assert found.accuracy == pytest.approx(expected, rel=1e-14)
    assert found.loss == loss(ff.predict(net, x), y, w)
    assert found != ff.evaluate(net, x, y, loss=loss)


def test_validation_data_may_carry_weights():
    x, y, loss = data("labels")
    w = weights(len(x))
    net, history = fitted(x, y, loss, validation_data=(x, y, w))
    found = ff.evaluate(net, x, y, loss=loss, sample_weight=w)
    assert (history.val_loss[-1], history.val_accuracy[-1]) == found
    _, plain = fitted(x, y, loss, validation_data=(x, y, None))
    assert plain.val_loss == fitted(x, y, loss, validation_data=(x, y))[1].val_loss
    assert plain.val_loss != history.val_loss
