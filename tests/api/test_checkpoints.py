"""Checkpoints: a run goes on from them to the same bits."""

from typing import Any

import numpy as np
import pytest

import fastfcn as ff
from fastfcn import checkpoints, losses, nn, optim
from fastfcn.checkpoints import Checkpoint
from fastfcn.history import History
from fastfcn.models import Model

RNG = np.random.default_rng


def test_state_of_any_nesting_reads_back(tmp_path):
    extra: dict[str, Any] = {"m": [np.ones(2), [np.zeros((1, 2))]], "none": None, "empty": {}}
    extra |= {"step": np.int64(3), "nan": float("nan"), "t": (1, "a")}
    net = nn.Sequential(nn.Linear(2, 1))
    history = History(epoch=[1], loss=[0.1], accuracy=[None], compile_seconds=0.5, seed=7)
    file = tmp_path / "c.safetensors"
    checkpoints.write(file, Checkpoint(Model(net, scale=[1.0, 2.0]), {"lr": 0.1}, history, extra))
    found = checkpoints.read(file)
    assert found.history == history
    assert found.optimizer == {"lr": 0.1}
    assert found.model.scale.tolist() == [1.0, 2.0]
    assert np.array_equal(found.model.net[0].weight, net[0].weight)
    assert found.extra["m"][1][0].tolist() == [[0.0, 0.0]]
    assert (found.extra["step"], found.extra["none"], found.extra["t"]) == (3, None, [1, "a"])
    assert np.isnan(found.extra["nan"])


def test_a_model_file_is_no_checkpoint(tmp_path):
    ff.save(tmp_path / "m.safetensors", nn.Sequential(nn.Linear(2, 1)))
    with pytest.raises(ValueError, match=r"m\.safetensors must be a checkpoint"):
        checkpoints.read(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_fit_in_two_parts_gives_the_bits_of_one(tmp_path, dtype, stop_after):
    x, y = RNG(0).normal(size=(100, 4)), RNG(1).integers(0, 3, 100)
    epochs = 5

    def run(epochs, checkpoint=None):
        net = nn.Sequential(
            nn.Linear(4, 8, dtype=dtype, rng=RNG(3)),
            nn.ReLU(),
            nn.Linear(8, 3, dtype=dtype, rng=RNG(4)),
        )
        history = None
        if checkpoint is not None:
            net, history = checkpoint.model.net, checkpoint.history
        sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        if checkpoint is not None:
            sgd.load_state_dict(checkpoint.optimizer)
        history = ff.fit(
            net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, batch_size=16, epochs=epochs,
            seed=11, history=history,
        )  # fmt: skip
        return Checkpoint(Model(net), sgd.state_dict(), history, {})

    whole = run(epochs)
    checkpoints.write(tmp_path / "c.safetensors", run(stop_after))
    parts = run(epochs, checkpoints.read(tmp_path / "c.safetensors"))
    for name, values in whole.model.net.state_dict().items():
        assert np.array_equal(parts.model.net.state_dict()[name], values)
    for one, other in zip(whole.optimizer["velocity"], parts.optimizer["velocity"], strict=True):
        assert np.array_equal(one, other)
    assert parts.history.epoch == [1, 2, 3, 4, 5]
    assert parts.history.loss == whole.history.loss


class StopAfter:
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            run.stop("enough")


class Indexed:
    """A data set of samples, as PyTorch's map-style ones."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize("form", ["arrays", "batches", "samples"])
def test_schedules_masks_and_batches_go_on_as_well(stop, form):
    batches = [(RNG(i).normal(size=(8, 4)), RNG(i).integers(0, 3, 8)) for i in range(5)]
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    data = {"arrays": (x, y), "batches": (batches,), "samples": (Indexed(x, y),)}[form]

    def trained(*stops):
        first, last = nn.Linear(4, 9, rng=RNG(3)), nn.Linear(9, 3, rng=RNG(4))
        net = nn.Sequential(first, nn.Dropout(0.2), last)
        adam = optim.Adam(net.parameters(), lr=0.1)
        history = None
        for epoch in stops:
            history = ff.fit(
                net, *data, loss=losses.CrossEntropyLoss(),
                optimizer=adam, batch_size=8, epochs=6, seed=2, schedule=ff.schedules.Cosine(),
                callbacks=[StopAfter(epoch)], history=history,
            )  # fmt: skip
        return net.state_dict(), history

    whole, parts = trained(6), trained(stop, 6)
    assert all(np.array_equal(whole[0][name], parts[0][name]) for name in whole[0])
    assert whole[1].loss == parts[1].loss
    assert parts[1].lr == whole[1].lr


def test_a_history_that_has_all_epochs_or_another_seed_is_refused():
    net = nn.Sequential(nn.Linear(2, 2))
    sgd = optim.SGD(net.parameters())
    given = {"loss": losses.CrossEntropyLoss(), "optimizer": sgd, "batch_size": 1}
    x, y = np.zeros((3, 2)), [0, 1, 0]
    history = ff.fit(net, x, y, epochs=2, seed=5, **given)
    with pytest.raises(ValueError, match="epochs must be above the 2 that history has, got 2"):
        ff.fit(net, x, y, epochs=2, history=history, **given)
    with pytest.raises(ValueError, match="seed must be the history's, 5, got 6"):
        ff.fit(net, x, y, epochs=3, seed=6, history=history, **given)
