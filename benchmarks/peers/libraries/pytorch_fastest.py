"""PyTorch's fastest step by hand: no autograd, oneDNN's products, a fused update.

The fastest of the ways that were tried: every large product by oneDNN's linear operator, with bias
and ReLU fused forwards and transposed views backwards; the last layer, which is narrow, by
``addmm``; gradients of biases into buffers; and one fused call for momentum SGD. Slower were
``addmm`` and ``mm`` with ``out=`` throughout (MKL), contiguous copies of transposed operands,
weights kept as (in, out), and the update over one flat buffer or by foreach operators.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.libraries import Lap
from benchmarks.peers.problem import LEARNING_RATE, MOMENTUM, Problem


def linear(x: Any, weight: Any, bias: Any = None, activation: str = "none") -> Any:
    """Return h(x Wᵀ + b) by oneDNN, with W (out, in)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


class Network:
    """Weights as PyTorch keeps them, their gradients and velocities, and a batch's buffers."""

    def __init__(self, problem: Problem) -> None:
        self.weights = [torch.from_numpy(weight.T.copy()) for weight, _ in problem.weights]
        self.biases = [torch.from_numpy(bias.copy()) for _, bias in problem.weights]
        self.parameters = self.weights + self.biases
        self.weight_grads = [torch.empty_like(weight) for weight in self.weights]
        self.bias_grads = [torch.empty_like(bias) for bias in self.biases]
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.minus_one = torch.full((problem.batch, 1), -1.0)
        self.x = torch.empty(problem.batch, problem.sizes[0])
        self.y = torch.empty(problem.batch, dtype=torch.int64)
        self.last = len(self.weights) - 1

    def forward(self, x: Any) -> list[Any]:
        """Return the input and every layer's output."""
        a = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            a.append(linear(a[-1], weight, bias, "relu"))
        a.append(torch.addmm(self.biases[-1], a[-1], self.weights[-1].t()))
        return a

    def step(self, x: Any, y: Any, rows: Any) -> None:
        """Take one step of momentum SGD on these rows of the data."""
        n = len(rows)
        xb = torch.index_select(x, 0, rows, out=self.x[:n])
        yb = torch.index_select(y, 0, rows, out=self.y[:n])
        a = self.forward(xb)
        delta = a.pop()
        delta.sub_(delta.amax(1, keepdim=True)).exp_()
        delta.div_(delta.sum(1, keepdim=True))
        delta.scatter_add_(1, yb[:, None], self.minus_one[:n]).mul_(1 / n)
        for layer in range(self.last, -1, -1):
            torch.sum(delta, 0, out=self.bias_grads[layer])
            if layer == self.last:
                torch.mm(delta.t(), a[layer], out=self.weight_grads[layer])
                below = torch.mm(delta, self.weights[layer]) if layer else None
            else:
                self.weight_grads[layer] = linear(delta.t(), a[layer].t())
                below = linear(delta, self.weights[layer].t()) if layer else None
            if layer:
                delta = torch.ops.aten.threshold_backward(below, a[layer], 0)
        torch._fused_sgd_(
            self.parameters,
            self.weight_grads + self.bias_grads,
            self.velocities,
            weight_decay=0.0,
            momentum=MOMENTUM,
            lr=LEARNING_RATE,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


def train(problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
    """Train by hand-written steps."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    net = Network(problem)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(problem.batch):
            net.step(x, y, rows)
        lap(lambda rows: net.forward(torch.from_numpy(rows))[-1].numpy())


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict one row by ``addmm`` into buffers, many by oneDNN on weights packed for it."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    net, tensor = Network(problem), torch.from_numpy(x)
    if len(x) > 1:
        packed = [torch.ops.mkldnn._reorder_linear_weight(weight, len(x)) for weight in net.weights]

        def predict() -> Any:
            a = tensor
            for weight, bias in zip(packed[:-1], net.biases[:-1], strict=True):
                a = linear(a, weight, bias, "relu")
            return linear(a, packed[-1], net.biases[-1])

        return predict
    layers = [
        (weight.t().contiguous(), bias, torch.empty(1, len(bias)))
        for weight, bias in zip(net.weights, net.biases, strict=True)
    ]

    def predict_row() -> Any:
        a = tensor
        for weight, bias, z in layers[:-1]:
            a = torch.addmm(bias, a, weight, out=z).relu_()
        weight, bias, z = layers[-1]
        return torch.addmm(bias, a, weight, out=z)

    return predict_row
