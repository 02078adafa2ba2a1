"""Each kernel at MNIST's shapes, called through its layer, loss or optimiser."""

import numpy as np

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

    params = (["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss", "MSELoss"], DTYPES)
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
        options = {"momentum": momentum, "nesterov": nesterov}
        self.optimizer = optim.SGD(self.net.parameters(), lr=1e-6, **options)
        x = rng.standard_normal((BATCH, 784)).astype(np.float32)
        self.net(x)
        self.net.backward(rng.standard_normal((BATCH, 10)).astype(np.float32) / BATCH)
        self.optimizer.step()

    def time_step(self, momentum: float, nesterov: bool) -> None:
        self.optimizer.step()

    def time_zero_grad(self, momentum: float, nesterov: bool) -> None:
        self.optimizer.zero_grad()
