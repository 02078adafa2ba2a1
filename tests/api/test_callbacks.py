"""Callbacks' hooks: when they are called, what they are given, how they end a fit."""

import numpy as np
import pytest

from api.checks import mlp, same_state
from api.fitting import SIZES, N, data, fitted, sgd, step_by_step
from fastfcn import losses
from fastfcn.callbacks import TerminateOnNaN, TrainingRun

EVERY = (
    "on_fit_begin",
    "on_epoch_begin",
    "on_batch_end",
    "on_progress",
    "on_epoch_trained",
    "on_epoch_end",
    "on_fit_end",
)


class On:
    """A callback made of functions."""

    def __init__(self, **hooks):
        vars(self).update({f"on_{name}": hook for name, hook in hooks.items()})


def recorder(*hooks):
    """A callback with these hooks, and the list of (hook, epoch, batch) that it fills."""
    calls = []

    def hook(name):
        return lambda run: calls.append((name, run.epoch, run.batch))

    return On(**{name.removeprefix("on_"): hook(name) for name in hooks}), calls


def test_hooks_are_called_in_their_order():
    callback, calls = recorder(*EVERY)
    x, y = data(n=70)
    fitted(x, y, callbacks=[callback])
    epoch = [
        [("on_epoch_begin", e, 0)]
        + [(hook, e, b) for b in (1, 2, 3) for hook in ("on_batch_end", "on_progress")]
        + [("on_epoch_trained", e, 3), ("on_epoch_end", e, 3)]
        for e in (1, 2)
    ]
    assert calls == [("on_fit_begin", 0, 0), *epoch[0], *epoch[1], ("on_fit_end", 2, 3)]


@pytest.mark.parametrize("hook", EVERY)
def test_a_callback_needs_one_hook_only(hook):
    callback, calls = recorder(hook)
    x, y = data()
    fitted(x, y, callbacks=[callback])
    assert calls and {name for name, _, _ in calls} == {hook}


def test_callbacks_are_called_in_the_order_of_the_list():
    calls = []
    first, second = (
        On(**{hook: lambda run, i=i, hook=hook: calls.append((hook, i)) for hook in HALF})
        for i in (1, 2)
    )
    x, y = data()
    fitted(x, y, callbacks=[first, second], epochs=1)
    assert calls == [(hook, i) for hook in HALF for i in (1, 2)]


HALF = ("fit_begin", "epoch_begin", "epoch_end", "fit_end")


def test_training_batch_by_batch_gives_the_same_bits():
    x, y = data()
    net, history = fitted(x, y)
    other, again = fitted(x, y, callbacks=[On(batch_end=lambda run: None)])
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == again.loss and history.accuracy == again.accuracy


def test_the_run_tells_what_is_trained_and_how_far_it_is():
    x, y = data()
    runs, seen = [], []

    def batch_end(run):
        seen.append((run.epoch, run.batch, run.seen))

    callback = On(fit_begin=runs.append, batch_end=batch_end)
    net, history = fitted(x, y, callbacks=[callback], batch_size=50, validation_data=(x, y))
    (run,) = runs
    assert isinstance(run, TrainingRun)
    assert run.net is net and run.history is history and run.epochs == 2
    assert (run.batches, run.samples) == (3, N)
    assert seen == [(e, b, s) for e in (1, 2) for b, s in ((1, 50), (2, 100), (3, 130))]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "lr"} <= run.measures


def test_what_a_fit_does_not_measure_is_not_among_its_measures():
    x, y = data()
    measures = []
    target = np.eye(5)[y]
    callback = On(fit_begin=lambda run: measures.append(run.measures))
    fitted(x, target, loss=losses.MSELoss(), callbacks=[callback])
    assert "loss" in measures[0]
    assert not measures[0] & {"accuracy", "val_loss", "val_accuracy"}


@pytest.mark.parametrize(
    "loss",
    [
        losses.CrossEntropyLoss(),
        losses.CrossEntropyLoss(reduction="sum"),
        losses.CrossEntropyLoss(weight=[0.5, 2, 1, 0, 3], ignore_index=1),
    ],
)
def test_the_recent_loss_is_that_of_the_batch(loss):
    x, y = data()
    recent, expected = [], []
    callback = On(batch_end=lambda run: recent.append(run.recent_loss))
    fitted(x, y, loss=loss, callbacks=[callback], shuffle=False, epochs=1, hyper={"lr": 1e-3})
    net = mlp(SIZES)
    optimizer = sgd(net, lr=1e-3)
    for i in range(0, N, 32):
        expected.append(loss(net(x[i : i + 32]), y[i : i + 32]))
        step_by_step(net, optimizer, loss, x[i : i + 32], y[i : i + 32], epochs=1, shuffle=False)
    np.testing.assert_allclose(recent, expected, rtol=1e-12)


# ---- stopping ----------------------------------------------------------------------------------


def stop_at(hook, epoch):
    return On(**{hook: lambda run: run.stop("enough") if run.epoch == epoch else None})


@pytest.mark.parametrize(
    ("hook", "epoch", "done"),
    [("fit_begin", 0, 0), ("epoch_begin", 3, 2), ("epoch_trained", 2, 2), ("epoch_end", 2, 2)],
)
def test_a_stopped_fit_ends_with_whole_epochs_and_says_why(hook, epoch, done):
    x, y = data()
    net, history = fitted(x, y, epochs=5, callbacks=[stop_at(hook, epoch)])
    assert history.stop_reason == "enough"
    assert history.epoch == [1, 2][:done]
    expected = fitted(x, y, epochs=done)[0] if done else mlp(SIZES)
    assert same_state(net.state_dict(), expected.state_dict())


def test_a_fit_stopped_within_an_epoch_ends_after_the_batch_and_records_what_it_saw():
    x, y = data()

    def stop(run):
        if run.epoch == 1 and run.batch == 2:
            run.stop("enough")

    net, history = fitted(x, y, epochs=3, shuffle=False, callbacks=[On(batch_end=stop)])
    other, expected = fitted(x[:64], y[:64], epochs=1, shuffle=False)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == expected.loss and history.accuracy == expected.accuracy


def test_a_fit_that_is_not_stopped_has_no_stop_reason_and_the_first_reason_stays():
    x, y = data()
    assert fitted(x, y)[1].stop_reason is None
    both = [stop_at("epoch_end", 1), On(epoch_end=lambda run: run.stop("late"))]
    assert fitted(x, y, callbacks=both)[1].stop_reason == "enough"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt, "interrupted in epoch 2"), (OSError, "OSError in epoch 2")],
)
def test_on_fit_end_is_called_for_all_whatever_ended_the_fit(error, reason):
    x, y = data()

    def fail(run):
        if run.epoch == 2:
            run.history.epoch.append(2)  # as if it came while the row was written
            raise error("mine")

    ends = []
    bad_end = On(fit_end=lambda run: 1 / 0)
    last, net = On(fit_end=lambda run: ends.append(run.history)), mlp(SIZES)
    with pytest.raises((error, ZeroDivisionError)):
        fitted(x, y, net=net, callbacks=[On(epoch_trained=fail), bad_end, last])
    (history,) = ends
    assert history.stop_reason == reason
    assert {len(column) for column in history.as_dict().values()} == {1}
    assert same_state(net.state_dict(), fitted(x, y, epochs=2)[0].state_dict())


def test_on_fit_end_is_called_only_where_the_fit_has_begun():
    x, y = data()
    callback, calls = recorder("on_fit_end")
    with pytest.raises(ZeroDivisionError):
        fitted(x, y, callbacks=[On(fit_begin=lambda run: 1 / 0), callback])
    assert calls == []


# ---- a learning rate set in a hook -------------------------------------------------------------


def test_a_learning_rate_set_at_an_epochs_end_counts_from_the_next_epoch():
    x, y = data()
    loss = losses.CrossEntropyLoss()
    net, other = mlp(SIZES), mlp(SIZES)

    def halve(run):
        run.optimizer.lr /= 2

    _, history = fitted(x, y, net=net, shuffle=False, callbacks=[On(epoch_end=halve)])
    optimizer = sgd(other)
    for _ in range(2):
        step_by_step(other, optimizer, loss, x, y, epochs=1, shuffle=False)
        optimizer.lr /= 2
    assert same_state(net.state_dict(), other.state_dict())
    assert history.lr == [0.05, 0.025]


def test_a_learning_rate_set_after_a_batch_counts_from_the_next_batch():
    x, y = data()
    loss = losses.CrossEntropyLoss()
    net, other = mlp(SIZES), mlp(SIZES)

    def halve(run):
        run.optimizer.lr /= 2

    fitted(x, y, net=net, shuffle=False, epochs=1, callbacks=[On(batch_end=halve)])
    optimizer = sgd(other)
    for i in range(0, N, 32):
        step_by_step(other, optimizer, loss, x[i : i + 32], y[i : i + 32], epochs=1, shuffle=False)
        optimizer.lr /= 2
    assert same_state(net.state_dict(), other.state_dict())


# ---- divergence --------------------------------------------------------------------------------


def test_a_fit_that_diverges_stops_with_a_warning_that_names_the_epoch_and_what_to_try():
    x, y = data()
    with pytest.warns(RuntimeWarning) as caught:
        _, history = fitted(x, y, epochs=50, hyper={"lr": 1e10})
    (warning,) = caught
    epoch = history.epoch[-1]
    assert 1 <= epoch < 50 and not np.isfinite(history.loss[-1])
    assert np.isfinite(history.loss[:-1]).all()
    for part in (f"in epoch {epoch}", "diverged", "lr=1e+10", "clip_norm", "scale"):
        assert part in str(warning.message)
    assert history.stop_reason.startswith(f"diverged in epoch {epoch}")
    assert warning.filename == fitted.__code__.co_filename


def test_terminate_on_nan_stops_within_the_epoch():
    x, y = data()
    x[40, 0] = np.nan
    each_batch = On(batch_end=lambda run: None)
    with pytest.warns(RuntimeWarning, match="loss is nan in epoch 1") as caught:
        net, history = fitted(
            x, y, shuffle=False, check_finite=False, callbacks=[each_batch, TerminateOnNaN()]
        )
    assert len(caught) == 1 and history.stop_reason.startswith("diverged in epoch 1")
    assert np.isnan(history.loss[0])
    with pytest.warns(RuntimeWarning):
        other, _ = fitted(x[:64], y[:64], shuffle=False, check_finite=False, epochs=1)
    assert same_state(net.state_dict(), other.state_dict())


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callbacks", "match"),
    [
        (TerminateOnNaN(), r"must be a list of objects.*\[callback\]"),
        ([TerminateOnNaN], r"callbacks\[0\] must be an object, got the class TerminateOnNaN"),
        ([TerminateOnNaN(), print], r"callbacks\[1\] must have at least one of the methods"),
        ([On(train_begin=print)], "on_epoch_end"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, match):
    x, y = data()
    net = mlp(SIZES)
    for progress in (False, True):
        with pytest.raises(TypeError, match=match):
            fitted(x, y, net=net, callbacks=callbacks, progress=progress)
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())
