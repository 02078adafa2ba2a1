"""Callbacks that keep weights: the best, on disk, averaged."""

import copy
import os

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from api.fitting import SIZES, data, fitted, sgd
from fastfcn import losses
from fastfcn.callbacks import EMA, EarlyStopping, ModelCheckpoint

HELD_OUT = data(seed=1)


class States:
    """Remembers the network's state after each epoch."""

    def __init__(self):
        self.after = {}

    def on_epoch_end(self, run):
        self.after[run.epoch] = run.net.state_dict()


class Raise:
    def __init__(self, error, epoch):
        self.error, self.epoch = error, epoch

    def on_progress(self, run):
        if run.epoch == self.epoch:
            raise self.error


class Losses:
    """Overwrites the history's losses, so that a test says which epoch is best."""

    def __init__(self, *values):
        self.values = values

    def on_epoch_end(self, run):
        run.history.loss[-1] = self.values[run.epoch - 1]


# ---- EarlyStopping -----------------------------------------------------------------------------


def stopped(values, **options):
    stopping, states = EarlyStopping(**options), States()
    x, y = data()
    callbacks = [Losses(*values), stopping, states]
    net, history = fitted(x, y, epochs=len(values), callbacks=callbacks)
    return net, history, stopping, states


@pytest.mark.parametrize(
    ("values", "patience", "done", "best"),
    [
        ([5, 4, 3, 2, 1], 1, 5, 5),
        ([5, 4, 6, 3, 7, 8, 1], 2, 6, 4),
        ([5, 6, 7, 1], 1, 2, 1),
        ([5, 5, 5, 1], 2, 3, 1),
        ([np.nan, 5, np.nan, 6, 1], 2, 4, 2),
    ],
)
def test_early_stopping_waits_for_its_patience_and_gives_back_the_best(
    values, patience, done, best
):
    net, history, stopping, states = stopped(values, patience=patience)
    assert len(history) == done
    assert (stopping.best, stopping.best_epoch) == (values[best - 1], best)
    assert same_state(net.state_dict(), states.after[best])
    if done < len(values):
        assert history.stop_reason == (
            f"loss has not improved for {patience} epoch{'s' * (patience > 1)} since epoch {best}"
        )
    else:
        assert history.stop_reason is None


def test_early_stopping_says_since_when_too_little_got_better():
    _, history, _, _ = stopped([5, 4.9, 4.8, 4.7], patience=2, min_delta=0.5)
    assert (
        history.stop_reason == "loss has not improved by more than 0.5 for 2 epochs since epoch 1"
    )


def test_the_best_weights_come_back_when_the_epochs_run_out():
    net, history, _, states = stopped([5, 1, 4, 3], patience=10)
    assert len(history) == 4 and same_state(net.state_dict(), states.after[2])


def test_less_than_min_delta_does_not_renew_patience_and_is_best_all_the_same():
    net, history, stopping, states = stopped([5, 4.9, 4.8, 4.7], patience=2, min_delta=0.5)
    assert len(history) == 3 and stopping.best_epoch == 3
    assert same_state(net.state_dict(), states.after[3])
    # Small gains add up.
    assert len(stopped([5, 4.7, 4.4, 4.1, 3.8], patience=2, min_delta=0.5)[1]) == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_best_weights_come_back_after_ctrl_c_and_exceptions(error):
    x, y = data()
    net, states = mlp(SIZES), States()
    callbacks = [Losses(3, 1, 2, 9), EarlyStopping(), states, Raise(error("mine"), 4)]
    with pytest.raises(error):
        fitted(x, y, net=net, epochs=4, callbacks=callbacks)
    assert same_state(net.state_dict(), states.after[2])


def test_the_best_weights_come_back_after_divergence():
    x, y = data()
    net = mlp(SIZES)

    class Explode:
        def on_epoch_end(self, run):
            run.optimizer.lr = 1e30

    stopping, states = EarlyStopping(), States()
    with pytest.warns(RuntimeWarning, match="diverged"):
        fitted(x, y, net=net, epochs=9, callbacks=[Explode(), stopping, states])
    assert same_state(net.state_dict(), states.after[stopping.best_epoch])
    assert all(np.isfinite(values).all() for values in net.state_dict().values())


def test_the_validation_loss_is_monitored_where_there_is_one():
    x, y = data()
    stopping = EarlyStopping()
    _, history = fitted(
        x, y, epochs=5, validation_data=HELD_OUT, callbacks=[stopping], hyper={"lr": 0.3}
    )
    assert stopping.best == min(history.val_loss)
    fitted(x, y, callbacks=[stopping])
    assert stopping.best_epoch in (1, 2)  # begins anew, on the loss


def test_accuracies_are_better_when_higher_unless_the_mode_says_otherwise():
    x, y = data()
    up, down = EarlyStopping("accuracy"), EarlyStopping("accuracy", mode="min")
    _, history = fitted(x, y, epochs=5, callbacks=[up, down])
    assert up.best == max(history.accuracy) and down.best == min(history.accuracy)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"monitor": "valid_loss"}, ValueError, "monitor must be one of.*val_loss"),
        ({"patience": 0}, ValueError, "patience must be at least 1"),
        ({"min_delta": -1}, ValueError, "min_delta must be at least 0"),
        ({"mode": "best"}, ValueError, "mode must be one of"),
    ],
)
def test_early_stopping_refuses_what_makes_no_sense(options, error, match):
    with pytest.raises(error, match=match):
        EarlyStopping(**options)


@pytest.mark.parametrize("column", ["val_loss", "val_accuracy"])
def test_a_column_that_is_not_measured_is_refused_before_training(column):
    x, y = data()
    net = mlp(SIZES)
    with pytest.raises(ValueError, match="validation_data"):
        fitted(x, y, net=net, callbacks=[EarlyStopping(column)])
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())


# ---- ModelCheckpoint ---------------------------------------------------------------------------


def test_every_epochs_weights_are_written_under_its_values(tmp_path):
    x, y = data()
    states = States()
    path = tmp_path / "new" / "w-{epoch:02d}-{val_loss:.3f}.safetensors"
    checkpoint = ModelCheckpoint(path)
    _, history = fitted(x, y, epochs=3, validation_data=HELD_OUT, callbacks=[checkpoint, states])
    names = [f"w-{e:02d}-{history.val_loss[e - 1]:.3f}.safetensors" for e in (1, 2, 3)]
    assert sorted(os.listdir(tmp_path / "new")) == names
    for epoch, name in enumerate(names, 1):
        assert same_state(ff.load_weights(tmp_path / "new" / name), states.after[epoch])
    assert checkpoint.last_path == tmp_path / "new" / names[-1]
    net = mlp(SIZES, seed=9)
    net.load_state_dict(ff.load_weights(checkpoint.last_path))
    assert same_state(net.state_dict(), states.after[3])


def test_only_the_best_epochs_are_written_where_asked_for(tmp_path):
    x, y = data()
    states, path = States(), tmp_path / "best.safetensors"
    callbacks = [Losses(3, 1, 2), ModelCheckpoint(path, save_best_only=True), states]
    fitted(x, y, epochs=3, callbacks=callbacks)
    assert same_state(ff.load_weights(path), states.after[2])
    assert os.listdir(tmp_path) == ["best.safetensors"]


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    ff.save_weights(path, {"a": np.arange(3.0)}, {"note": "kept"})

    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            ff.save_weights(path, {"a": np.zeros(3)})
    assert same_bits(ff.load_weights(path)["a"], np.arange(3.0))
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_missing_folders_are_made_for_weights(tmp_path):
    path = tmp_path / "new" / "folder" / "w.safetensors"
    ff.save_weights(path, {"a": np.arange(3.0)})
    assert same_bits(ff.load_weights(path)["a"], np.arange(3.0))


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path):
    x, y = data()
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "w.safetensors"):
        history = ff.History(seed=3)
        with pytest.raises(OSError, match="must be a file to write, got a folder|exists|director"):
            fitted(x, y, callbacks=[ModelCheckpoint(path)], history=history)
        assert len(history) == 0
    with pytest.raises(IsADirectoryError, match="must be a file to write, got a folder; pass "):
        ff.save_weights(tmp_path, {})


def test_a_network_in_place_of_its_weights_is_refused(tmp_path):
    x, y = data()
    net, _ = fitted(x, y, epochs=1)
    with pytest.raises(TypeError, match=r"got Sequential; pass net.state_dict\(\)"):
        ff.save_weights(tmp_path / "w.safetensors", net)
    assert not list(tmp_path.iterdir())


def test_checkpoints_carry_metadata(tmp_path):
    from safetensors import safe_open

    x, y = data()
    path = tmp_path / "w.safetensors"
    fitted(x, y, epochs=1, callbacks=[ModelCheckpoint(path, metadata={"layers": "17 5"})])
    with safe_open(path, framework="numpy") as tensors:
        assert tensors.metadata() == {"format": "fastfcn", "layers": "17 5"}


def test_braces_that_name_no_column_are_refused(tmp_path):
    for name in ("{epochs}", "{0}", "{loss:q}", "{loss"):
        with pytest.raises(ValueError, match="path may have the history's columns in braces"):
            ModelCheckpoint(tmp_path / name)
    x, y = data()
    with pytest.raises(ValueError, match="validation_data"):
        fitted(x, y, callbacks=[ModelCheckpoint(tmp_path / "{val_loss}")])


# ---- EMA ---------------------------------------------------------------------------------------


def averaged_by_hand(x, y, decay, every, epochs):
    """The average of the weights, and the weights, by a fit of one batch after the other."""
    average, count, states = None, 0, []

    class Weights:
        def __init__(self):
            setattr(self, "on_batch_end" if every == "batch" else "on_epoch_end", self.keep)

        def keep(self, run):
            states.append(run.net.state_dict())

    net, _ = fitted(x, y, epochs=epochs, callbacks=[Weights()])
    for state in states:
        count += 1
        if average is None:
            average = {k: v.astype(np.float64) for k, v in state.items()}
            continue
        d = min(decay, count / (count + 10))
        average = {k: d * average[k] + (1 - d) * state[k] for k in state}
    return average, net.state_dict()


@pytest.mark.parametrize("every", ["batch", "epoch"])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_the_network_holds_the_average_after_the_fit(decay, every):
    x, y = data()
    ema = EMA(decay, every)
    net, _ = fitted(x, y, epochs=4, callbacks=[ema])
    average, trained = averaged_by_hand(x, y, decay, every, 4)
    for name, values in net.state_dict().items():
        np.testing.assert_allclose(values, average[name], rtol=1e-5, atol=1e-6)
    assert same_state(ema.trained, trained)
    assert ema.updates == (20 if every == "batch" else 4)


def test_the_validation_is_of_the_average_and_training_of_the_weights():
    x, y = data()
    plain = fitted(x, y, epochs=3, validation_data=HELD_OUT)[1]
    states = States()
    _, history = fitted(x, y, epochs=3, validation_data=HELD_OUT, callbacks=[EMA(0.9), states])
    assert history.loss == plain.loss
    assert history.val_loss != plain.val_loss
    net = mlp(SIZES)
    for epoch, value in enumerate(history.val_loss, 1):
        net.load_state_dict(states.after[epoch])
        assert ff.evaluate(net, *HELD_OUT, loss=losses.CrossEntropyLoss()).loss == value


def test_after_ctrl_c_the_network_holds_the_average_and_the_weights_are_kept():
    x, y = data()
    net, ema = mlp(SIZES), EMA(0.9)
    with pytest.raises(KeyboardInterrupt):
        fitted(x, y, net=net, callbacks=[ema, Raise(KeyboardInterrupt(), 2)])
    average, trained = averaged_by_hand(x, y, 0.9, "batch", 1)
    assert not same_state(ema.trained, net.state_dict())
    assert not same_state(ema.trained, trained)  # one batch further
    assert ema.updates == 6


def test_with_early_stopping_the_best_average_comes_back():
    x, y = data()
    net, states, ema = mlp(SIZES), States(), EMA(0.5, every="epoch")
    ctrl_c = Raise(KeyboardInterrupt(), 4)
    with pytest.raises(KeyboardInterrupt):
        fitted(
            x, y, net=net, epochs=4,
            callbacks=[ema, Losses(3, 1, 2), EarlyStopping(), states, ctrl_c],
        )  # fmt: skip
    assert same_state(net.state_dict(), states.after[2])


def test_training_goes_on_from_the_trained_weights():
    x, y = data()
    net, optimizer = mlp(SIZES), None
    ema = EMA(0.9)
    optimizer = sgd(net)
    options = {"loss": losses.CrossEntropyLoss(), "optimizer": optimizer, "batch_size": 32}
    ff.fit(net, x, y, **options, epochs=2, shuffle=False, callbacks=[ema])
    net.load_state_dict(ema.trained)
    ff.fit(net, x, y, **options, epochs=2, shuffle=False)
    assert same_state(net.state_dict(), fitted(x, y, epochs=4, shuffle=False)[0].state_dict())


@pytest.mark.parametrize("every", ["batch", "epoch"])
@pytest.mark.parametrize("through_a_state", [False, True])
def test_a_fit_that_goes_on_with_a_history_goes_on_with_the_average(every, through_a_state):
    x, y = data()
    whole = EMA(0.9, every)
    expected = fitted(x, y, epochs=4, callbacks=[whole], validation_data=HELD_OUT)
    net, ema = mlp(SIZES), EMA(0.9, every)
    options = {
        "loss": losses.CrossEntropyLoss(), "optimizer": sgd(net), "batch_size": 32,
        "validation_data": HELD_OUT,
    }  # fmt: skip
    seed = expected[1].seed
    history = ff.fit(net, x, y, **options, epochs=2, seed=seed, callbacks=[ema])
    if through_a_state:
        state, ema = ema.state_dict(), EMA(0.9, every)
        ema.load_state_dict(copy.deepcopy(state))
    history = ff.fit(net, x, y, **options, epochs=4, history=history, callbacks=[ema])
    assert same_state(net.state_dict(), expected[0].state_dict())
    assert same_state(ema.trained, whole.trained)
    assert history.val_loss == expected[1].val_loss
    assert ema.updates == whole.updates


def test_each_fit_averages_anew_and_callbacks_can_be_copied():
    x, y = data()
    ema = EMA(0.9)
    expected = fitted(x, y, callbacks=[ema])[0].state_dict()
    for again in (ema, copy.deepcopy(ema)):
        assert same_state(fitted(x, y, callbacks=[again])[0].state_dict(), expected)


def test_only_an_average_over_batches_asks_for_batches():
    assert hasattr(EMA(), "on_batch_end") and not hasattr(EMA(every="epoch"), "on_batch_end")
    with pytest.raises(ValueError, match="every must be"):
        EMA(every="step")
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        EMA(1.0)
