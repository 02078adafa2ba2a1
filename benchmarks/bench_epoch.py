"""The main job: one epoch of MNIST through ``fit``."""

import numpy as np

from .in_turn import best, seconds, seconds_a_flop, thread_count
from .inputs import BATCH, SHAPES, SOURCE, fit, load, network


class Epoch:
    """One epoch of 784-256-128-10 on 60,000 images, planning included, compilation not."""

    params = ([SOURCE], ["uint8", "float32", "float64"], [1, 2])
    param_names = ("data", "input", "threads")
    number = 1
    repeat = (3, 10, 8.0)
    warmup_time = 0
    rounds = 1
    timeout = 300

    def setup(self, data: str, dtype: str, threads: int) -> None:
        images, self.y, _, _ = load()
        self.scale = 1 / 255 if dtype == "uint8" else 1.0
        self.x = images if dtype == "uint8" else (images / np.float32(255)).astype(dtype)
        self.net = network()
        self.threads = threads
        # Compile, or load from disk, and start the threads.
        fit(self.net, self.x[:BATCH], self.y[:BATCH], scale=self.scale, n_threads=threads)

    def time_fit(self, data: str, dtype: str, threads: int) -> None:
        fit(self.net, self.x, self.y, scale=self.scale, n_threads=threads)


class EpochOverLimit:
    """The epoch's time over LIMIT, what its products would take at the machine's peak rate.

    LIMIT = dense flops / PEAK. Forward and weight gradients go through every layer, deltas through
    all but the first; a product with a zero counts as well. A ratio below 1 is possible: images are
    four fifths zeros, and what is multiplied by them may be left out.
    """

    params = ([SOURCE], ["uint8", "float32"], [1, "all"])
    param_names = ("data", "input", "threads")
    unit = "x LIMIT"
    timeout = 300

    def setup(self, data: str, dtype: str, threads: int | str) -> None:
        images, self.y, _, _ = load()
        self.scale = 1 / 255 if dtype == "uint8" else 1.0
        self.x = images if dtype == "uint8" else images / np.float32(255)
        self.net = network()
        self.threads = thread_count(threads)
        products = 3 * sum(i * o for i, o in SHAPES) - SHAPES[0][0] * SHAPES[0][1]
        self.flops = 2 * products * len(self.x)
        self.run(BATCH)

    def run(self, n: int) -> None:
        fit(self.net, self.x[:n], self.y[:n], scale=self.scale, n_threads=self.threads)

    def track_epoch_over_limit(self, data: str, dtype: str, threads: int | str) -> float:
        epoch = seconds(lambda: self.run(len(self.x)))
        took, a_flop = best(epoch, seconds_a_flop(self.threads), rounds=6)
        return took / (self.flops * a_flop)


class StepByStep:
    """The same epoch's first 100 steps, written out in Python over layers, loss and optimiser."""

    params = ([SOURCE],)
    param_names = ("data",)
    number = 1
    repeat = (3, 10, 8.0)
    rounds = 1

    def setup(self, data: str) -> None:
        from fastfcn import losses, optim

        images, labels, _, _ = load()
        self.x = images[: 100 * BATCH] / np.float32(255)
        self.y = labels[: 100 * BATCH]
        self.net = network()
        self.criterion = losses.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.02, momentum=0.9)
        self.time_steps(data)

    def time_steps(self, data: str) -> None:
        for start in range(0, len(self.x), BATCH):
            xb, yb = self.x[start : start + BATCH], self.y[start : start + BATCH]
            out = self.net(xb)
            self.criterion(out, yb)
            self.net.backward(self.criterion.grad(out, yb))
            self.optimizer.step()
            self.optimizer.zero_grad()
