"""The history, validation and evaluation."""

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import (
    mlp,
    same_state,
)
from api.fitting import SIZES, N, data, fitted, sgd, step_by_step
from fastfcn import losses


def test_history_has_one_entry_an_epoch():
    x, y = data()
    _, history = fitted(x, y, epochs=3, validation_data=(x[:50], y[:50]))
    assert len(history) == 3 and history.epoch == [1, 2, 3] and history.seed == 3
    columns = history.as_dict()
    for name in (
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "lr",
        "seconds",
        "samples_per_second",
    ):
        assert len(columns[name]) == 3 and columns[name] == getattr(history, name), name
    assert all(s > 0 for s in history.seconds)
    np.testing.assert_allclose(np.multiply(history.seconds, history.samples_per_second), N)
    assert isinstance(history.compile_seconds, float) and history.compile_seconds >= 0


def test_a_history_is_shown_by_its_last_epoch_in_one_line():
    x, y = data()
    _, history = fitted(x, y, epochs=30)
    assert repr(history) == f"History(epoch=30, loss={history.loss[-1]:.4g}, " + (
        f"accuracy={history.accuracy[-1]:.4g}, lr={history.lr[-1]:.4g})"
    )
    assert repr(ff.History()) == "History(no epochs)"


def test_many_epochs_over_few_rows_stay_few_rows_at_a_time():
    """What a slice of an epoch holds is set by its time, and an epoch may be over long before."""
    x, y = data(n=4)
    _, history = fitted(x, y, batch_size=4, epochs=200)
    assert len(history) == 200


def test_validation_equals_evaluate_after_each_epoch_and_changes_nothing():
    x, y = data()
    held_out = data(seed=1)
    loss = losses.CrossEntropyLoss()
    seen = []

    class Evaluate:
        def on_epoch_end(self, run):
            seen.append(ff.evaluate(run.net, *held_out, loss=loss))

    net, history = fitted(x, y, validation_data=held_out, callbacks=[Evaluate()])
    assert history.val_loss == [e.loss for e in seen]
    assert history.val_accuracy == [e.accuracy for e in seen]
    assert same_state(net.state_dict(), fitted(x, y)[0].state_dict())


def test_without_validation_and_classes_the_entries_are_none():
    x, y = data()
    _, history = fitted(x, reference.one_hot(y, 5), loss=losses.MSELoss())
    assert history.accuracy == history.val_accuracy == history.val_loss == [None, None]


def test_running_accuracy_is_of_the_outputs_before_each_step():
    x, y = data()
    net, history = fitted(x, y, batch_size=N, epochs=3)
    other = mlp(SIZES)
    optimizer = sgd(other)
    for epoch in range(3):
        assert history.accuracy[epoch] == ff.accuracy(y, ff.predict(other, x))
        step_by_step(other, optimizer, losses.CrossEntropyLoss(), x, y, N, 1, shuffle=False)


def test_evaluate_is_the_loss_and_accuracy_of_the_predictions():
    x, y = data()
    net, _ = fitted(x, y)
    outputs = ff.predict(net, x)
    for loss in (losses.CrossEntropyLoss(), losses.CrossEntropyLoss(reduction="sum")):
        result = ff.evaluate(net, x, y, loss=loss)
        assert result.loss == pytest.approx(loss(outputs, y), rel=1e-12)
        assert result.accuracy == ff.accuracy(y, outputs)
        assert result == (result.loss, result.accuracy)
    regression = ff.evaluate(net, x, reference.one_hot(y, 5), loss=losses.MSELoss())
    assert regression.accuracy is None


def test_training_learns_separable_classes():
    x, y = data(n=600)
    net, history = fitted(x, y, epochs=20)
    assert history.loss[-1] < history.loss[0] / 4
    assert ff.evaluate(net, x, y, loss=losses.CrossEntropyLoss()).accuracy > 0.98
