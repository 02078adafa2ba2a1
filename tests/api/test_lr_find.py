"""The learning-rate finder: a sweep, a suggestion, and everything as before."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from api.fitting import SIZES, data, sgd, step_by_step
from fastfcn import losses, nn, optim

LOSS = losses.CrossEntropyLoss()


def sweep(net=None, optimizer=None, **options):
    x, y = data(n=600)
    net = mlp(SIZES) if net is None else net
    optimizer = sgd(net) if optimizer is None else optimizer
    return ff.lr_find(net, x, y, loss=LOSS, optimizer=optimizer, **{"seed": 0, **options})


def normalised():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear(17, 8, rng=rng), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5, rng=rng)
    )


def same_optimiser(a, b):
    assert {k: v for k, v in a.items() if k != "velocity"} == {
        k: v for k, v in b.items() if k != "velocity"
    }
    assert all(same_bits(u, v) for u, v in zip(a["velocity"], b["velocity"], strict=True))


@pytest.mark.parametrize("build", [lambda: mlp(SIZES), normalised])
def test_weights_running_statistics_and_optimiser_are_as_before(build):
    x, y = data()
    net = build()
    optimizer = sgd(net)
    ff.fit(net, x, y, loss=LOSS, optimizer=optimizer)
    weights, state = net.state_dict(), optimizer.state_dict()
    result = sweep(net, optimizer)
    assert len(result.lr) > 50
    assert same_state(net.state_dict(), weights)
    same_optimiser(optimizer.state_dict(), state)


def test_everything_is_as_before_after_ctrl_c():
    class Stop:
        def __init__(self):
            self.rows = 0

        def __iter__(self):
            x, y = data()
            yield x, y
            yield x, y
            raise KeyboardInterrupt

    net = mlp(SIZES)
    optimizer = sgd(net)
    weights, state = net.state_dict(), optimizer.state_dict()
    with pytest.raises(KeyboardInterrupt):
        ff.lr_find(net, Stop(), loss=LOSS, optimizer=optimizer, lowest=0.1)
    assert same_state(net.state_dict(), weights)
    same_optimiser(optimizer.state_dict(), state)


def test_each_step_has_the_next_rate_and_its_batchs_loss():
    x, y = data()
    net = mlp(SIZES)
    optimizer = sgd(net)
    result = ff.lr_find(
        net, x, y, loss=LOSS, optimizer=optimizer, steps=7, lowest=1e-3, highest=1e-1,
        smoothing=0.0, shuffle=False,
    )  # fmt: skip
    np.testing.assert_allclose(result.lr, np.geomspace(1e-3, 1e-1, 7), rtol=1e-12)
    expected = []
    for step, lr in enumerate(result.lr):
        optimizer.lr = float(lr)
        rows = slice(32 * (step % 5), 32 * (step % 5) + 32)  # 130 rows: five batches an epoch
        expected.append(LOSS(net(x[rows]), y[rows]))
        step_by_step(net, optimizer, LOSS, x[rows], y[rows], epochs=1, shuffle=False)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-12)


def test_the_losses_are_smoothed_with_a_corrected_start():
    plain, smooth = (
        sweep(steps=30, highest=0.1, smoothing=s, shuffle=False).loss for s in (0.0, 0.8)
    )
    mean = 0.0
    for i, value in enumerate(plain):
        mean = 0.8 * mean + 0.2 * value
        assert smooth[i] == pytest.approx(mean / (1 - 0.8 ** (i + 1)))


def test_the_sweep_ends_where_training_diverges():
    result = sweep(highest=1e6)
    assert result.diverged and len(result.lr) < 100 and result.lr[-1] < 1e6
    assert len(result.lr) == len(result.loss) and np.isfinite(result.loss).all()
    assert result.loss[-1] <= 4 * result.loss.min()
    assert not sweep(highest=1e-3).diverged


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_with_the_suggestion_works(momentum):
    x, y = data(n=600)
    net = mlp(SIZES)
    optimizer = sgd(net, momentum=momentum)
    result = sweep(net, optimizer, highest=100.0)
    optimizer.lr = result.suggestion
    history = ff.fit(net, x, y, loss=LOSS, optimizer=optimizer, epochs=5, seed=0)
    assert history.loss[-1] < history.loss[0] / 2


def test_where_nothing_falls_there_is_no_suggestion():
    x, _ = data()
    net = mlp(SIZES)
    result = ff.lr_find(
        net, x, np.full(len(x), -100), loss=LOSS, optimizer=sgd(net), steps=10
    )  # every label is ignored
    assert result.suggestion is None and "no suggestion" in repr(result)


def test_a_loader_and_other_options_of_fit_are_taken():
    x, y = data(n=600)
    loader = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 600, 32)]
    results = []
    for given in ((loader, None), (x, y)):
        net = mlp(SIZES)
        optimizer = optim.SGD(net.parameters())
        results.append(
            ff.lr_find(
                net, *given, loss=LOSS, optimizer=optimizer, shuffle=False, scale=0.5, steps=40
            )
        )
    np.testing.assert_allclose(results[0].loss, results[1].loss, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lowest": 0.0}, "lowest must be above 0"),
        ({"lowest": 1.0, "highest": 0.1}, "below highest"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\)"),
        ({"divergence": 1.0}, "divergence must be above 1"),
        ({"batch_size": 10_000}, "batch_size must be at most"),
    ],
)
def test_what_makes_no_sense_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        sweep(**options)


def test_a_minimiser_has_no_rate_to_find():
    net = mlp(SIZES)
    with pytest.raises(ValueError, match="optimizer must take steps .* got LBFGS"):
        sweep(net, optim.LBFGS(net.parameters()))
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())
