"""The summary of a network."""

import numpy as np
import pytest

from api.checks import mlp
from fastfcn import nn, optim
from fastfcn.rates import flops_per_sample


def every_layer():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(20, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(16, 8, bias=False),
        nn.LayerNorm(8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def test_each_layer_has_its_shape_parameters_and_operations():
    rows = every_layer().summary(batch_size=7).layers
    assert [row.name for row in rows] == [str(i) for i in range(9)]
    assert [row.output_shape for row in rows] == [
        (7, 20), (7, 16), (7, 16), (7, 16), (7, 16), (7, 8), (7, 8), (7, 8), (7, 3)
    ]  # fmt: skip
    assert [row.parameters for row in rows] == [0, 336, 32, 0, 0, 128, 16, 0, 27]
    assert [row.flops for row in rows] == [0, 640, 0, 0, 0, 256, 0, 0, 48]
    assert rows[1].layer == "Linear(20, 16)" and rows[4].layer == "Dropout(0.2)"


def test_totals_are_those_of_the_network():
    net = every_layer()
    summary = net.summary()
    assert summary.parameters == sum(p.size for p in net.parameters()) == summary.trainable
    assert summary.flops == 640 + 256 + 48


@pytest.mark.parametrize("sizes", [(784, 256, 128, 10), (5, 3)])
def test_operations_to_train_are_those_the_epochs_limit_counts(sizes):
    summary = mlp(sizes).summary()
    assert summary.training_flops == flops_per_sample(sizes)


def test_a_gradient_that_the_first_layer_must_hand_down_counts():
    net = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
    assert net.summary().training_flops == 3 * net.summary().flops


def test_what_the_optimiser_does_not_hold_is_not_trained():
    net = every_layer()
    sgd = optim.SGD(net[8].parameters(), lr=0.1, momentum=0.9)
    summary = net.summary(optimizer=sgd)
    assert [row.trainable for row in summary.layers] == [0] * 8 + [27]
    assert summary.trainable == 27 and summary.memory.optimizer >= 4 * 27
    assert "27 trainable" in str(summary) and "all trainable" in str(net.summary())
    assert net.summary().memory.optimizer is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_is_that_of_the_arrays_padding_included(dtype):
    net = mlp([100, 50, 10], dtype=dtype)
    size = np.dtype(dtype).itemsize
    small, large = net.summary(10), net.summary(1000)
    assert small.memory.parameters == small.memory.gradients == net.plan().values.nbytes
    assert small.memory.parameters >= small.parameters * size
    # Input, output of each layer and their gradients, but for the input's.
    least = 990 * size * (100 + 2 * 50 + 2 * 10)
    assert least <= large.memory.activations - small.memory.activations <= 2 * least


def test_a_module_with_a_forward_of_its_own_has_a_summary():
    class Net(nn.Module):
        def __init__(self):
            super().__init__("mine")
            self.a, self.h, self.b = nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)
            self.add_layers([self.a, self.h, self.b])

        def forward(self, x):
            return self.b(self.h(self.a(x)))

    text = str(Net().summary())
    assert text.startswith("mine\n") and "Linear(4, 3)" in text


def test_the_table_is_aligned():
    lines = str(every_layer().summary()).splitlines()[1:11]
    assert len({line.find("(32, ") for line in lines[1:]}) == 1
    assert len({len(line) for line in lines}) == 1


def test_a_summary_changes_nothing():
    net = every_layer()
    before, plan = net.state_dict(), net.plan()
    net.summary(64)
    assert net.plan() is plan
    for name, values in net.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_what_has_no_summary_is_refused():
    with pytest.raises(ValueError, match="at least one Linear"):
        nn.Sequential(nn.ReLU()).summary()
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        every_layer().summary(0)
