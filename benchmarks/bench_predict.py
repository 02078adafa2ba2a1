"""Prediction, from one row to MNIST's whole test set, Python to Python."""

import numpy as np

import fastfcn as ff

from .inputs import SOURCE, load, network


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
