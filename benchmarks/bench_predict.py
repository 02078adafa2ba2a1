"""Prediction, from one row to MNIST's whole test set, Python to Python."""

from typing import Any

import numpy as np

import fastfcn as ff

from .in_turn import over_numpy
from .inputs import SIZES, SOURCE, load, network


class Predict:
    """Outputs of 784-256-128-10 for uint8 or float32 rows."""

    params = ([SOURCE], [1, 128, 10_000], ["uint8", "float32"], [1, 2])
    param_names = ("data", "batch", "input", "threads")

    def setup(self, data: str, batch: int, dtype: str, threads: int) -> None:
        images = load()[2][:batch]
        self.x = images if dtype == "uint8" else images / np.float32(255)
        self.scale = 1 / 255 if dtype == "uint8" else 1.0
        self.net = network()
        self.time_predict(data, batch, dtype, threads)

    def time_predict(self, data: str, batch: int, dtype: str, threads: int) -> None:
        ff.predict(self.net, self.x, scale=self.scale, n_threads=threads)


class PredictOverNumpy:
    """Time of ``predict`` over that of NumPy's ``matmul`` into buffers, one thread against one."""

    params = ([SOURCE], [1, 128, 10_000])
    param_names = ("data", "batch")
    unit = "x NumPy"

    def setup(self, data: str, batch: int) -> None:
        self.x = load()[2][:batch] / np.float32(255)
        self.net = network()
        linear = self.net[0], self.net[2], self.net[4]
        self.layers = [
            (layer.weight.copy(), layer.bias.copy(), np.empty((batch, out), np.float32))
            for layer, out in zip(linear, SIZES[1:], strict=True)
        ]

    def fastfcn(self) -> Any:
        return ff.predict(self.net, self.x, n_threads=1)

    def numpy(self) -> Any:
        a = self.x
        for weight, bias, out in self.layers:
            np.matmul(a, weight, out=out)
            out += bias
            a = np.maximum(out, 0, out=out) if out is not self.layers[-1][2] else out
        return a

    def track_time_over_numpy(self, data: str, batch: int) -> float:
        return over_numpy(self.fastfcn, self.numpy)


class Call:
    """The same by calling the network on a float32 array, as a layer is called."""

    params = ([SOURCE], [1, 128, 10_000])
    param_names = ("data", "batch")

    def setup(self, data: str, batch: int) -> None:
        self.x = load()[2][:batch] / np.float32(255)
        self.net = network()
        self.net(self.x)

    def time_call(self, data: str, batch: int) -> None:
        self.net(self.x)


class Evaluate:
    """Loss and accuracy on the 10,000 test images."""

    params = ([SOURCE], [1, 2])
    param_names = ("data", "threads")

    def setup(self, data: str, threads: int) -> None:
        from fastfcn import losses

        _, _, self.x, self.y = load()
        self.loss = losses.CrossEntropyLoss()
        self.net = network()
        self.time_evaluate(data, threads)

    def time_evaluate(self, data: str, threads: int) -> None:
        ff.evaluate(self.net, self.x, self.y, loss=self.loss, scale=1 / 255, n_threads=threads)
