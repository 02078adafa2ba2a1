"""PyTorch by ``torch.compile``: forward, loss and backward in one graph, the update in another.

Needs a C++ compiler where it runs.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.libraries import Lap
from benchmarks.peers.libraries.pytorch import network, scores
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by the usual loop over a compiled loss and a compiled update."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    net = network(problem)
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def mean_loss(xb: Any, yb: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(xb), yb)

    # Shapes are compiled in: once for whole batches, once for an epoch's last.
    loss = torch.compile(mean_loss, fullgraph=True, dynamic=False)
    update = torch.compile(optimizer.step, dynamic=False)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(problem.batch):
            optimizer.zero_grad()
            loss(x[rows], y[rows]).backward()
            update()
        lap(lambda rows: scores(net, rows))


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by the compiled network in inference mode."""
    torch.set_num_threads(threads)
    tensor, mode = torch.from_numpy(x), torch.inference_mode()
    mode.__enter__()
    net = torch.compile(network(problem), fullgraph=True, dynamic=False)

    def predict(_mode: Any = mode) -> Any:
        return net(tensor)

    return predict
