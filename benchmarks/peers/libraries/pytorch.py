"""PyTorch as people write it: modules, autograd, ``optim.SGD``; batches by indexing a tensor."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


def network(problem: Problem) -> Any:
    """Return the problem's network; PyTorch keeps W as (out, in)."""
    layers: list[Any] = []
    for weight, bias in problem.weights:
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def scores(net: Any, rows: Any) -> Any:
    """Return the network's outputs for an ndarray, as one."""
    with torch.inference_mode():
        return net(torch.from_numpy(rows)).numpy()


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by the usual loop."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    net = network(problem)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(problem.batch):
            optimizer.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            optimizer.step()
        lap(lambda rows: scores(net, rows))


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict in inference mode, which is entered once and not in every call."""
    torch.set_num_threads(threads)
    net, tensor, mode = network(problem), torch.from_numpy(x), torch.inference_mode()
    mode.__enter__()

    def predict(_mode: Any = mode) -> Any:  # holds the mode, which ends with its object
        return net(tensor)

    return predict
