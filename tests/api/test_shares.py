"""How much of a step each thread does: as much as it is fast, to the same bits."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import same_bits, same_state, shares
from fastfcn import epochs, losses, nn, optim
from fastfcn.frame import Frame
from fastfcn.pace import Pace, Way
from fastfcn.shares import Shares
from fastfcn_kernels import table as t
from fastfcn_kernels.shares import RECORD, WHOLE


class Threads:
    """Threads of given speeds, for rows and for weights."""

    def __init__(self, *speeds):
        self.speeds = np.array(speeds, float)
        self.shares = Shares(len(speeds))
        frame = Frame(np.dtype(np.float32))
        self.shares.join(frame)
        self.cuts = frame.array(t.SHARES)
        self.spent = frame.array(t.SPENT).reshape(-1, RECORD)

    @property
    def each(self):
        """Each thread's share of the rows, and of the weights."""
        return np.diff(self.cuts.reshape(2, -1)) / WHOLE

    def work(self, steps, size=1_000_000, noise=1.0, seconds=1e-3):
        """Do some steps, and take note."""
        done = np.rint(self.each * size * steps)
        self.spent[:, [0, 2]] += np.rint(done / self.speeds * noise).astype(np.int64).T
        self.spent[:, [1, 3]] += done.astype(np.int64).T
        self.shares.adapt(steps, steps * seconds)


@pytest.mark.parametrize("speeds", [(1, 1), (1, 2), (3, 1), (1, 1, 0.5, 0.5), (1, 0.9, 0.7)])
def test_threads_finish_together(speeds):
    threads = Threads(*speeds)
    for _ in range(3):
        threads.work(Shares.STEPS)
    took = threads.each / threads.speeds
    assert (took.max(axis=1) <= (1 + Shares.TOLERANCE) * took.mean(axis=1)).all()
    assert (threads.each.sum(axis=1) == 1).all()


def test_noise_changes_nothing():
    threads = Threads(1, 1, 1)
    before = threads.cuts.copy()
    rng = np.random.default_rng(0)
    for _ in range(200):
        threads.work(Shares.STEPS, noise=rng.uniform(0.97, 1.03, (2, 3)))
    np.testing.assert_array_equal(threads.cuts, before)


def test_a_core_that_is_free_again_gets_its_share_back():
    threads = Threads(1, 1)
    threads.speeds = np.array([1.0, 0.5])
    threads.work(Shares.STEPS)
    np.testing.assert_allclose(threads.each, [[2 / 3, 1 / 3]] * 2, atol=1e-3)
    threads.speeds = np.array([1.0, 1.0])
    for _ in range(3):
        threads.work(Shares.STEPS)
    np.testing.assert_allclose(threads.each, 0.5, atol=1e-3)


def test_few_steps_tell_nothing_until_they_are_enough():
    threads = Threads(1, 2)
    before = threads.cuts.copy()
    for _ in range(Shares.STEPS - 1):
        threads.work(1)
        np.testing.assert_array_equal(threads.cuts, before)
    threads.work(1)
    assert not np.array_equal(threads.cuts, before)


def test_every_thread_keeps_a_share():
    threads = Threads(1, 1e-6)
    for _ in range(5):
        threads.work(Shares.STEPS)
    assert threads.each.min() > 0.85 * Shares.LEAST / 2


def test_short_steps_keep_equal_shares():
    threads = Threads(1, 2)
    before = threads.cuts.copy()
    threads.work(Shares.STEPS, seconds=0.9 * Shares.STEP_SECONDS)
    np.testing.assert_array_equal(threads.cuts, before)


def test_shares_without_a_clock_stay_equal():
    threads = Threads(np.inf, np.inf)
    before = threads.cuts.copy()
    threads.work(Shares.STEPS)
    np.testing.assert_array_equal(threads.cuts, before)


@pytest.mark.parametrize(("count", "batch"), [(2, 4), (2, 6), (4, 12), (8, 32)])
def test_a_thread_left_without_rows_gets_some_again(count, batch):
    threads = Threads(*[1.0] * count)

    def rows():
        ends = (batch * threads.cuts.reshape(2, -1)[0] + WHOLE // 2) // WHOLE
        return np.diff(ends)

    def work(speeds):
        done = rows() * 1000 * Shares.STEPS
        threads.spent[:, 0] += (done / speeds).astype(np.int64)
        threads.spent[:, 1] += done
        threads.shares.adapt(Shares.STEPS, 1.0)

    slow = np.array([1.0] * (count - 1) + [0.01])
    for _ in range(2):
        work(slow)
    assert rows()[-1] == 0, "the case tests nothing"
    for _ in range(8):
        work(np.ones(count))
    assert rows().min() == rows().max() == batch // count


def test_what_all_threads_note_is_the_whole_work(monkeypatch):
    def noted(count):
        work = []

        def note(self, steps, seconds):
            work.append(self._spent[:, [1, 3]].sum(axis=0))
            self._spent[:] = 0

        monkeypatch.setattr(Shares, "adapt", note)
        monkeypatch.setattr(epochs, "Pace", lambda ways, batch: Pace([Way.ROWS], batch))
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(640, 50)), rng.integers(0, 5, 640)
        net = network("linear", np.float64)
        sgd = optim.SGD(net.parameters(), lr=0.01)
        loss = losses.CrossEntropyLoss()
        with shares(count):
            ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=20, epochs=2, seed=0)
        return np.sum(work, axis=0)

    alone, together = noted(1), noted(3)
    # But for those that a thread was put aside in.
    for rows, cost in (alone, together):
        assert 0.5 * 1280 <= rows <= 1280
        assert 0.5 <= cost / alone[1] <= 2


def network(layers, dtype):
    rng = np.random.default_rng(0)
    if layers == "linear":
        units = [nn.Linear(50, 256, dtype=dtype, rng=rng), nn.ReLU()]
        units += [nn.Linear(256, 40, dtype=dtype, rng=rng), nn.ReLU()]
        return nn.Sequential(*units, nn.Linear(40, 5, dtype=dtype, rng=rng))
    return nn.Sequential(
        nn.Linear(50, 40, dtype=dtype, rng=rng),
        nn.BatchNorm1d(40, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(40, 30, dtype=dtype, rng=rng),
        nn.LayerNorm(30, dtype=dtype),
        nn.Linear(30, 5, dtype=dtype, rng=rng),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("layers", "way", "clip"),
    [
        ("linear", Way.ROWS, None),
        ("linear", Way.ROWS, 1.0),
        ("linear", Way.PARTS, None),
        ("others", Way.ROWS, None),
        ("others", Way.ROWS, 1.0),
    ],
)
def test_bits_do_not_depend_on_the_shares(layers, way, clip, dtype, monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(700, 50)) * (rng.random((700, 50)) < 0.3)
    y = rng.integers(0, 5, 700)
    monkeypatch.setattr(epochs, "Pace", lambda ways, batch: Pace([way], batch))
    seen = set()

    def uneven(self, steps, seconds):
        self._cuts[:, 1:-1] = np.sort(rng.integers(0, WHOLE + 1, self._cuts[:, 1:-1].shape))
        seen.update(self._cuts[:, 1].tolist())

    def trained(count):
        net = network(layers, dtype)
        sgd = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        with shares(count):
            history = ff.fit(
                net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, batch_size=20, epochs=6,
                seed=0, clip_norm=clip,
            )  # fmt: skip
        return net.state_dict(), sgd.state, history.loss

    state, velocity, loss = trained(2)
    monkeypatch.setattr(Shares, "adapt", uneven)
    for count in (2, 4):
        other = trained(count)
        assert same_state(other[0], state) and same_bits(other[1], velocity) and other[2] == loss
    assert len(seen) > 12
