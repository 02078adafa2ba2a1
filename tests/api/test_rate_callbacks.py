"""Callbacks that change the learning rate."""

import pytest

from api.fitting import data, fitted
from fastfcn.callbacks import LearningRateScheduler, ReduceLROnPlateau


class Losses:
    def __init__(self, *values):
        self.values = values

    def on_epoch_end(self, run):
        run.history.loss[-1] = self.values[run.epoch - 1]


def rates(values, **options):
    """The learning rates, in units of the first, of epochs with these losses."""
    x, y = data()
    reduce = ReduceLROnPlateau(factor=0.5, **options)
    _, history = fitted(x, y, epochs=len(values), callbacks=[Losses(*values), reduce])
    return [lr / history.lr[0] for lr in history.lr]


def test_a_scheduler_sets_each_epochs_rate_from_the_epoch_and_the_rate_before():
    x, y = data()
    seen = []

    def schedule(epoch, lr):
        seen.append((epoch, lr))
        return 0.1 / epoch

    _, history = fitted(x, y, epochs=3, callbacks=[LearningRateScheduler(schedule)])
    assert history.lr == [0.1, 0.1 / 2, 0.1 / 3]
    assert seen == [(1, 0.05), (2, 0.1), (3, 0.1 / 2)]


def test_a_scheduler_of_no_function_or_of_a_bad_rate_is_refused():
    with pytest.raises(TypeError, match=r"function\(epoch, lr\)"):
        LearningRateScheduler(0.1)
    x, y = data()
    with pytest.raises(ValueError, match="lr must be above 0"):
        fitted(x, y, callbacks=[LearningRateScheduler(lambda epoch, lr: 0.0)])


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([5, 4, 3, 2], {"patience": 1}, [1, 1, 1, 1]),
        ([5, 5, 5, 5, 5], {"patience": 2}, [1, 1, 1, 0.5, 0.5]),
        ([5, 5, 5, 5], {"patience": 1}, [1, 1, 0.5, 0.25]),
        ([5, 6, 4, 6, 6], {"patience": 2}, [1, 1, 1, 1, 1]),
        ([5, 5, 5, 5, 5, 5], {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25]),
        ([5, 4.95, 4.9], {"patience": 1, "min_delta": 0.2}, [1, 1, 0.5]),
        ([5, 6, 7], {"patience": 1, "mode": "max"}, [1, 1, 1]),
    ],
)
def test_the_rate_falls_after_patience_epochs_without_improvement(values, options, expected):
    assert rates(values, **options) == pytest.approx(expected)


def test_the_rate_does_not_fall_below_min_lr():
    assert rates([5] * 4, patience=1, min_lr=0.02) == pytest.approx([1, 1, 0.5, 0.4])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"factor": 1.0}, r"factor must be in \(0, 1\)"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"cooldown": -1}, "cooldown must be at least 0"),
        ({"min_lr": -0.1}, "min_lr must be at least 0"),
        ({"monitor": "lost"}, "monitor must be one of"),
    ],
)
def test_reduce_on_plateau_refuses_what_makes_no_sense(options, match):
    with pytest.raises(ValueError, match=match):
        ReduceLROnPlateau(**options)
