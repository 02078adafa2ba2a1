"""Each kernel at MNIST's shapes, called through its layer, loss or optimiser."""

import ctypes
import functools
from typing import Any

import numpy as np

from .in_turn import best, numba_threads, over_numpy, seconds, seconds_a_flop, thread_count
from .inputs import BATCH, SHAPES, network

DTYPES = ["float32", "float64"]
ACTIVATIONS = [
    "ReLU",
    "LeakyReLU",
    "Sigmoid",
    "Tanh",
    "Softmax",
    "GELU",
    "SiLU",
    "ELU",
    "Softplus",
    "Identity",
]
LOSSES = [
    "CrossEntropyLoss",
    "NLLLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "MSELoss",
    "L1Loss",
    "HuberLoss",
    "PoissonNLLLoss",
]


class Linear:
    """One linear layer at a batch of 128: z = a W + b, and back: dW, db and the input's delta."""

    params = (SHAPES, DTYPES)
    param_names = ("shape", "dtype")

    def setup(self, shape: tuple[int, int], dtype: str) -> None:
        from fastfcn import nn

        rng = np.random.default_rng(0)
        self.layer = nn.Linear(*shape, dtype=np.dtype(dtype), rng=rng)
        self.a = rng.standard_normal((BATCH, shape[0])).astype(dtype)
        self.delta = rng.standard_normal((BATCH, shape[1])).astype(dtype) / BATCH
        self.layer.forward(self.a)
        self.layer.backward(self.delta)

    def time_forward(self, shape: tuple[int, int], dtype: str) -> None:
        self.layer.forward(self.a)

    def time_backward(self, shape: tuple[int, int], dtype: str) -> None:
        self.layer.backward(self.delta)


class LinearOverLimit:
    """One square layer's time at a batch of 128, over what its products take at PEAK.

    Of ``forward``, z = a W + b; of ``weight gradient``, dW = aᵀ δ and db; and of ``delta``, δ Wᵀ:
    what ``backward`` takes above that of the weight gradient alone.
    """

    params = (["forward", "delta", "weight gradient"], [64, 256, 1024, 4096], [1, "all"])
    param_names = ("operation", "width", "threads")
    unit = "x LIMIT"

    def setup(self, operation: str, width: int, threads: int | str) -> None:
        from fastfcn import nn

        rng = np.random.default_rng(0)
        self.layer = nn.Linear(width, width, rng=rng)
        self.a = rng.standard_normal((BATCH, width), np.float32)
        self.delta = rng.standard_normal((BATCH, width), np.float32) / BATCH
        self.threads = thread_count(threads)
        with numba_threads(self.threads):
            self.layer.forward(self.a)
            self.layer.backward(self.delta)

    def track_time_over_limit(self, operation: str, width: int, threads: int | str) -> float:
        forward = seconds(lambda: self.layer.forward(self.a))
        gradient = seconds(lambda: self.layer.backward(self.delta, input_gradient=False))
        backward = seconds(lambda: self.layer.backward(self.delta))
        limit = seconds_a_flop(self.threads)
        with numba_threads(self.threads):
            if operation == "delta":
                whole, part, a_flop = best(backward, gradient, limit)
                took = whole - part
            else:
                took, a_flop = best(forward if operation == "forward" else gradient, limit)
        return took / (2 * BATCH * width * width * a_flop)


class MatmulOverNumpy:
    """Time of the kernels' matrix product over that of NumPy's ``matmul``, one thread each."""

    params = (
        ["128x256x784", "128x128x256", "256x256x256", "512x512x512", "1024x1024x1024"],
        DTYPES,
    )
    param_names = ("m x n x depth", "dtype")
    unit = "x NumPy"

    def setup(self, sizes: str, dtype: str) -> None:
        from fastfcn_kernels.matmul import matmul

        m, n, depth = (int(size) for size in sizes.split("x"))
        rng = np.random.default_rng(0)
        self.a = rng.standard_normal((m, depth)).astype(dtype)
        self.b = rng.standard_normal((depth, n)).astype(dtype)
        self.start = np.zeros(n, dtype)
        self.c, self.out = np.empty((m, n), dtype), np.empty((m, n), dtype)
        arrays = (self.c, n), (self.start, 0), (self.a, depth, 1), (self.b, n)
        values = [v for array, *strides in arrays for v in (array.ctypes.data, *strides)]
        kinds = [
            k
            for _, *strides in arrays
            for k in (ctypes.c_void_p, *[ctypes.c_ssize_t] * len(strides))
        ]
        function = ctypes.CFUNCTYPE(None, *kinds, *[ctypes.c_ssize_t] * 3)(
            matmul.address(self.c.dtype)
        )
        # Converted once: what is timed is the product, not ctypes.
        arguments = [kind(value) for kind, value in zip(kinds, values, strict=True)]
        self.product = functools.partial(function, *arguments, m, n, depth)

    def fastfcn(self) -> Any:
        self.product()
        return self.c

    def numpy(self) -> Any:
        return np.matmul(self.a, self.b, out=self.out)

    def track_time_over_numpy(self, sizes: str, dtype: str) -> float:
        return over_numpy(self.fastfcn, self.numpy)


class Activation:
    """One activation over a batch of 128 rows of 256, and its derivative times a delta."""

    params = (ACTIVATIONS, DTYPES)
    param_names = ("activation", "dtype")

    def setup(self, activation: str, dtype: str) -> None:
        from fastfcn import nn

        rng = np.random.default_rng(0)
        self.layer = getattr(nn, activation)()
        self.z = rng.standard_normal((BATCH, 256)).astype(dtype)
        self.delta = rng.standard_normal((BATCH, 256)).astype(dtype)
        self.layer.forward(self.z)
        self.layer.backward(self.delta)

    def time_forward(self, activation: str, dtype: str) -> None:
        self.layer.forward(self.z)

    def time_backward(self, activation: str, dtype: str) -> None:
        self.layer.backward(self.delta)


class Loss:
    """The loss of a batch of 128 rows of 10 outputs, and the output delta."""

    params = (LOSSES, DTYPES)
    param_names = ("loss", "dtype")

    def setup(self, loss: str, dtype: str) -> None:
        from fastfcn import losses

        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, BATCH)
        by_class = loss in ("CrossEntropyLoss", "NLLLoss")
        self.loss = getattr(losses, loss)()
        output = rng.standard_normal((BATCH, 10))
        if loss == "NLLLoss":
            output -= np.log(np.exp(output).sum(axis=1, keepdims=True))
        elif loss == "BCELoss":
            output = 1 / (1 + np.exp(-output))
        self.output = output.astype(dtype)
        self.target = labels if by_class else np.eye(10, dtype=dtype)[labels]
        self.loss(self.output, self.target)
        self.loss.grad(self.output, self.target)

    def time_value(self, loss: str, dtype: str) -> None:
        self.loss(self.output, self.target)

    def time_grad(self, loss: str, dtype: str) -> None:
        self.loss.grad(self.output, self.target)


class SGD:
    """One update of all 235,146 parameters of 784-256-128-10, and setting gradients to zero."""

    params = ([0.0, 0.9], [False, True])
    param_names = ("momentum", "nesterov")

    def setup(self, momentum: float, nesterov: bool) -> None:
        from fastfcn import optim

        if nesterov and not momentum:
            raise NotImplementedError("Nesterov's form needs momentum")
        rng = np.random.default_rng(0)
        self.net = network()
        options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov}
        self.optimizer = optim.SGD(self.net.parameters(), lr=1e-6, **options)
        x = rng.standard_normal((BATCH, 784)).astype(np.float32)
        self.net(x)
        self.net.backward(rng.standard_normal((BATCH, 10)).astype(np.float32) / BATCH)
        self.optimizer.step()

    def time_step(self, momentum: float, nesterov: bool) -> None:
        self.optimizer.step()

    def time_zero_grad(self, momentum: float, nesterov: bool) -> None:
        self.optimizer.zero_grad()


class Adaptive:
    """One update of all 235,146 parameters of 784-256-128-10 by the optimisers beside SGD."""

    params = (["Adam", "AdamW", "RMSprop", "Adagrad"],)
    param_names = ("optimiser",)

    def setup(self, optimiser: str) -> None:
        from fastfcn import optim

        rng = np.random.default_rng(0)
        self.net = network()
        self.optimizer = getattr(optim, optimiser)(self.net.parameters(), lr=1e-6)
        for parameter in self.net.parameters():
            parameter.grad = rng.standard_normal(parameter.shape)
        self.optimizer.step()

    def time_step(self, optimiser: str) -> None:
        self.optimizer.step()
