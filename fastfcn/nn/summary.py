"""A network at a glance: shapes, parameters, operations and memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastfcn.nn.containers import Module


class LayerSummary(NamedTuple):
    """One layer: its name in the state dict, what it is, and what it takes."""

    name: str
    layer: str
    output_shape: tuple[int, int]
    """(batch size, features)."""
    parameters: int
    trainable: int
    """Of these, those that are trained."""
    flops: int
    """Of a sample's forward pass, matrix products only."""


class Memory(NamedTuple):
    """Bytes that training takes beside the data, padding included."""

    parameters: int
    """With the running statistics of normalisations."""
    gradients: int
    optimizer: int | None
    """None where no optimiser was given."""
    activations: int
    """Of a batch, with their gradients and the kernels' scratch space, on one thread."""


@dataclass(frozen=True)
class Summary:
    """A network at a glance; ``print`` shows it as a table.

    Attributes
    ----------
    title : str
        The network's name.
    batch_size : int
        What output shapes and memory are given for.
    layers : tuple of LayerSummary
        In order.
    training_flops : int
        To train on a sample: forward, the weights' gradients, and those that each layer hands down,
        which the first need not. Matrix products only.
    memory : Memory
        In bytes.
    """

    title: str
    batch_size: int
    layers: tuple[LayerSummary, ...]
    training_flops: int
    memory: Memory

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Number of parameters that are trained."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of a sample's forward pass, matrix products only."""
        return sum(layer.flops for layer in self.layers)

    def __str__(self) -> str:
        head = ("", "layer", "output shape", "parameters", "FLOP a sample")
        rows = [
            (row.name, row.layer, str(row.output_shape), f"{row.parameters:,}", f"{row.flops:,}")
            for row in self.layers
        ]
        frozen = self.parameters - self.trainable
        memory = [
            f"{name} {_bytes(size)}"
            for name, size in zip(Memory._fields, self.memory, strict=True)
            if size is not None
        ]
        facts = [
            f"parameters     {self.parameters:,}"
            + (f", {self.trainable:,} trainable" if frozen else ", all trainable"),
            f"FLOP a sample  {self.flops:,} forward, {self.training_flops:,} to train on it",
            f"memory         {', '.join(memory)}",
        ]
        return "\n".join([self.title, *_table([head, *rows]), *facts])

    __repr__ = __str__


def summarise(net: "Module", batch_size: int, optimizer: Any) -> Summary:
    """Return the summary of a network; what the optimiser holds is what is trained."""
    plan = net.plan()
    held = None if optimizer is None else {id(parameter) for parameter in optimizer.parameters}
    features = plan.stages[0].in_features
    # Layers that compute nothing aside, the first hands no gradient down.
    computing = [layer for layer in net.layers if layer.stage(features) is not None]
    layers = []
    for name, layer in enumerate(net.layers):
        features = layer.out_features or features
        own = layer.parameters()
        layers.append(
            LayerSummary(
                str(name),
                repr(layer).partition("  #")[0],
                (batch_size, features),
                sum(parameter.size for parameter in own),
                sum(p.size for p in own if held is None or id(p) in held),
                layer.flops,
            )
        )
    products = sum(row.flops for row in layers)
    space = plan.workspace(batch_size, True, 1, input_gradient=False)
    memory = Memory(
        plan.values.nbytes,
        plan.values.nbytes,  # gradients, once they are asked for
        None if optimizer is None else optimizer.state.nbytes,
        space.buffer.nbytes,
    )
    return Summary(net.name, batch_size, tuple(layers), 3 * products - computing[0].flops, memory)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} B"
