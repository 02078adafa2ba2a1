"""Networks: layers in order."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.activations import Activation
from fastfcn.nn.dropout import Dropout
from fastfcn.nn.flatten import Flatten
from fastfcn.nn.layer import Layer
from fastfcn.nn.linear import Linear
from fastfcn.nn.parameter import Parameter, pack
from fastfcn.nn.summary import Summary, summarise
from fastfcn.plan import Plan
from fastfcn.validation import as_int, as_matrix, described
from fastfcn.workspace import Stage
from fastfcn_kernels.activations import IDENTITY
from fastfcn_kernels.table import LINEAR


class Module(Layer):
    """A network with its own ``forward``.

    Subclasses create layers, hand them to :meth:`add_layers` in the order in which data passes
    through them, and define ``forward(self, x)`` by calling what they handed over.
    :meth:`backward` calls the own one of each in reverse order.

    Parameters
    ----------
    name : str, optional
        Shown by ``repr``; the class's name by default.

    Examples
    --------
    >>> import numpy as np
    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__("FCN")
    ...         self.hidden, self.relu, self.out = Linear(4, 8), ReLU(), Linear(8, 3)
    ...         self.add_layers([self.hidden, self.relu, self.out])
    ...     def forward(self, x):
    ...         return self.out(self.relu(self.hidden(x)))
    >>> from fastfcn.nn import Linear, ReLU
    >>> Net()(np.zeros((2, 4))).shape
    (2, 3)
    """

    _planned: tuple[Any, ...] = ()

    def __init__(self, name: str | None = None) -> None:
        self.name = name if name is not None else type(self).__name__
        self.layers: list[Layer] = []
        self._parts: list[Layer] = []

    def add_layers(self, layers: Sequence[Layer]) -> None:
        """Register the network's layers, in order; a nested network counts as its layers.

        Raises
        ------
        TypeError
            For something that is not a layer.
        ValueError
            For a layer that appears twice, sizes that do not chain, or mixed dtypes.
        """
        flat: list[Layer] = []
        for layer in layers:
            if isinstance(layer, Module):
                flat += layer.layers
            elif isinstance(layer, Layer) and type(layer).stage is not Layer.stage:
                flat.append(layer)
            else:
                raise TypeError(_not_a_layer(layer))
        _check_chain(flat)
        self.layers, self._parts = flat, list(layers)
        pack(list(self._stored().values()))
        self.train(self.training)

    @property
    def linears(self) -> list[Linear]:
        """The linear layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, Linear)]

    def named_parameters(self) -> dict[str, Parameter]:
        return {
            f"{i}.{name}": parameter
            for i, layer in enumerate(self.layers)
            for name, parameter in layer.named_parameters().items()
        }

    def named_buffers(self) -> dict[str, Parameter]:
        return {
            f"{i}.{name}": buffer
            for i, layer in enumerate(self.layers)
            for name, buffer in layer.named_buffers().items()
        }

    def _stored(self) -> dict[str, Parameter]:
        return {
            f"{i}.{name}": parameter
            for i, layer in enumerate(self.layers)
            for name, parameter in layer._stored().items()
        }

    def train(self, mode: bool = True) -> Self:
        for part in self._parts:
            part.train(mode)
        return super().train(mode)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Work as in prediction, until the block is left."""
        modes = [(layer, layer.training) for layer in self._with_parts()]
        self.eval()
        try:
            yield
        finally:
            for layer, mode in modes:
                layer.training = mode

    def _with_parts(self) -> Iterator[Layer]:
        """Go through the network, the networks within it and all their layers."""
        yield self
        for part in self._parts:
            yield from part._with_parts() if isinstance(part, Module) else (part,)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw new initial values for every layer, in order, from one generator."""
        rng = np.random.default_rng() if rng is None else rng
        for layer in self.layers:
            layer.reset_parameters(rng)

    def plan(self) -> Plan:
        """Return the layers laid out for the kernels, made anew only when they have moved.

        Raises
        ------
        ValueError
            For a network without a Linear layer.
        """
        plan = self._plan
        if plan is not None and not plan.buffer.moved and self._planned == self._described():
            return plan
        if not self.linears:
            raise ValueError(
                f"the network must have at least one Linear layer, got {self.layers}; "
                "Modules name theirs with add_layers([...])"
            )
        buffer = pack(list(self._stored().values()))
        assert buffer is not None
        stages = _stages(self.layers)
        if plan is None or plan.buffer is not buffer or plan.stages != stages:
            flattens = isinstance(self.layers[0], Flatten)
            plan = self._plan = Plan(stages, buffer, self.linears[0].dtype, flattens)
        self._planned = self._described()
        return plan

    def summary(self, batch_size: int = 32, optimizer: Any = None) -> Summary:
        """Return shapes, parameters, operations and memory, which ``print`` shows as a table.

        Parameters
        ----------
        batch_size : int, default 32
            Rows of a batch, for output shapes and memory.
        optimizer : optimiser, optional
            Tells which parameters are trained, and how much memory its state takes.

        Raises
        ------
        ValueError
            For a network without a Linear layer.

        Examples
        --------
        >>> from fastfcn.nn import Linear, ReLU
        >>> print(Sequential(Linear(784, 256), ReLU(), Linear(256, 10)).summary())
        Sequential
           layer             output shape  parameters  FLOP a sample
        0  Linear(784, 256)  (32, 256)        200,960        401,408
        1  ReLU()            (32, 256)              0              0
        2  Linear(256, 10)   (32, 10)           2,570          5,120
        parameters     203,530, all trainable
        FLOP a sample  406,528 forward, 818,176 to train on it
        memory         parameters 820 kB, gradients 820 kB, activations ...
        """
        return summarise(self, as_int(batch_size, "batch_size", 1), optimizer)

    def _described(self) -> tuple[Any, ...]:
        """Return what tells two states of the network's layers apart, quickly."""
        return (
            *self.layers,
            *[layer.numbers for layer in self.layers if layer.has_numbers],
        )

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Add this batch's gradients to the parameters', last layer to first.

        Parameters
        ----------
        delta : array_like (n, out_features)
            Gradient of the loss with respect to the last output: ``criterion.grad(output, y)``.
        input_gradient : bool, default True
            Whether to compute and return the gradient of the network's input.
        """
        gradient: Any = delta
        for i, part in reversed(list(enumerate(self._parts))):
            gradient = part.backward(gradient, input_gradient or i > 0)
        return gradient if input_gradient else None

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __repr__(self) -> str:
        count = sum(p.size for p in self.parameters())
        lines = [f"  ({i}): {layer!r}" for i, layer in enumerate(self.layers)]
        return "\n".join([f"{self.name}(  # {count:,} parameters", *lines, ")"])


class Sequential(Module):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Layer
        Linear layers and activations; nested networks are taken apart into theirs.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Module.add_layers`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn.nn import Linear, ReLU
    >>> net = Sequential(Linear(4, 8), ReLU(), Linear(8, 3))
    >>> net
    Sequential(  # 67 parameters
      (0): Linear(4, 8)  # 40 parameters
      (1): ReLU()
      (2): Linear(8, 3)  # 27 parameters
    )
    >>> net(np.zeros((5, 4))).shape
    (5, 3)
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.add_layers(layers)

    _apart = False

    def forward(self, x: Any) -> Array:
        """Return the output for a batch (n, features), all layers in one kernel call.

        Layers in different modes, some training and some not, are called one by one.
        """
        mixed = any(layer.training != self.training for layer in self.layers)
        self._apart = mixed or not self.linears
        if self._apart:
            output: Any = x
            for part in self._parts:
                output = part(output)
            return np.asarray(output)
        plan = self.plan()
        batch = as_matrix(x, "x", plan.stages[0].in_features, plan.flattens)
        if plan.flattens:
            self.layers[0](x)  # keeps the shape for the backward pass
        drops = [layer for layer in self.layers if isinstance(layer, Dropout)]
        return plan.forward(batch, self.training, drops[0].next_seed() if drops else 0)

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Add this batch's gradients to the parameters', all layers in one kernel call.

        Parameters
        ----------
        delta : array_like (n, out_features)
            Gradient of the loss with respect to the last output: ``criterion.grad(output, y)``.
        input_gradient : bool, default True
            Whether to compute and return the gradient of the network's input.
        """
        if self._apart:
            return super().backward(delta, input_gradient)
        gradient = self._backward(delta, input_gradient)
        first = self.layers[0]
        if input_gradient and isinstance(first, Flatten):
            gradient = first.backward(gradient)
        return gradient


def _not_a_layer(given: Any) -> str:
    """Say what is wrong with something among the layers."""
    what = described(given)
    if isinstance(given, list | tuple):
        what = f"a {type(given).__name__}; pass them one by one, Sequential(*layers)"
    return f"layers must be fastfcn.nn layers, got {what}"


def _check_chain(layers: Sequence[Layer]) -> None:
    features: int | None = None
    dtype = None
    seen: set[int] = set()
    for i, layer in enumerate(layers):
        if id(layer) in seen:
            raise ValueError(
                f"a layer must appear once, got {layer!r} again at {i}; it keeps the input of one "
                "place for the backward pass, so make a new one"
            )
        seen.add(id(layer))
        if layer.in_features is None:
            continue
        if features is not None and layer.in_features != features:
            raise ValueError(
                f"layer {i} must have in_features={features}, as the layer before it gives, "
                f"got {layer!r}"
            )
        if dtype is not None and layer.dtype != dtype:
            raise ValueError(f"layers must share one dtype, got {dtype} and {layer.dtype} at {i}")
        features, dtype = layer.out_features, layer.dtype


def _stages(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """Describe layers to a plan; an activation joins the linear map before it."""
    features = next(layer.in_features for layer in layers if layer.in_features is not None)
    stages: list[Stage] = []
    for layer in layers:
        stage = layer.stage(features)
        if stage is None:
            continue
        before = stages[-1] if stages else None
        joins = before is not None and before.kind == LINEAR and before.activation == IDENTITY
        if joins and isinstance(layer, Activation) and before is not None:
            stages[-1] = before._replace(activation=stage.activation, numbers=stage.numbers)
        else:
            stages.append(stage)
        features = stage.out_features
    return tuple(stages)
