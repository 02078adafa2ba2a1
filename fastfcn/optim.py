"""Optimisers."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastfcn.buffers import Array, aligned_zeros
from fastfcn.frame import Frame
from fastfcn.nn.parameter import Parameter
from fastfcn.threads import threads
from fastfcn.validation import as_real
from fastfcn_kernels import sgd
from fastfcn_kernels import table as t


class SGD:
    """Stochastic gradient descent with momentum: v ← γ v - η g; θ ← θ + v.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float, default 0.01
        Learning rate η > 0.
    momentum : float, default 0.0
        γ in [0, 1).
    nesterov : bool, default False
        θ ← θ + γ v - η g with the new v; needs momentum.
    weight_decay : float, default 0.0
        λ ≥ 0; adds λ θ to the gradient.

    Notes
    -----
    The form of reference 000, section 2.5. PyTorch's buffer is -v/η; the two agree while η is
    constant.

    Raises
    ------
    ValueError, TypeError
        For a hyperparameter out of its range, no parameters, or one given twice.

    Examples
    --------
    >>> from fastfcn import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> layer.weight = [[1.0]]
    >>> layer.weight_grad[...] = 2.0
    >>> SGD(layer.parameters(), lr=0.25).step()
    >>> layer.weight
    array([[0.5]], dtype=float32)
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("parameters must hold at least one, got none; pass net.parameters()")
        for parameter in self.parameters:
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"parameters must be fastfcn.nn.Parameter, got {type(parameter).__name__}; "
                    "pass net.parameters()"
                )
        if len(set(map(id, self.parameters))) < len(self.parameters):
            raise ValueError("parameters must be given once each, got one twice")
        if len({parameter.dtype for parameter in self.parameters}) > 1:
            raise ValueError("parameters must share one dtype")
        self.lr = lr
        self.momentum = as_real(momentum, "momentum")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        self.nesterov = bool(nesterov)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs a momentum above 0, got momentum=0")
        self.weight_decay = as_real(weight_decay, "weight_decay")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
        sizes = [parameter.padded_size for parameter in self.parameters]
        self.dtype = self.parameters[0].dtype
        self._offsets: list[int] = np.cumsum([0, *sizes[:-1]]).tolist()
        self.velocity = aligned_zeros(sum(sizes), self.dtype)

    @property
    def lr(self) -> float:
        """Learning rate η; may be changed between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        checked = as_real(value, "lr")
        if checked <= 0.0:
            raise ValueError(f"lr must be above 0, got {value}")
        self._lr = checked

    def hyperparameters(self) -> Array:
        """Return the hyperparameters as the kernels take them."""
        smallest = np.finfo(self.dtype).smallest_normal
        return np.array(
            [self.lr, self.momentum, self.weight_decay, self.nesterov, smallest], self.dtype
        )

    def velocity_offset(self, parameter: Parameter) -> int:
        """Return where a parameter's velocity begins; -1 where it is not trained."""
        for own, offset in zip(self.parameters, self._offsets, strict=True):
            if own is parameter:
                return offset
        return -1

    def zero_grad(self) -> None:
        """Set the gradients to zero; backward passes add to them."""
        for parameter in self.parameters:
            parameter.grad[...] = 0.0

    def step(self) -> None:
        """Update the parameters from their gradients."""
        for buffer, theta, state, size in self._runs():
            frame = Frame(self.dtype)
            frame.point(t.PARAMS, buffer.values[theta:])
            frame.point(t.GRADS, buffer.grads[theta:])
            frame.point(t.VELOCITY, self.velocity[state:])
            frame.point(t.HYPER, self.hyperparameters())
            buffer.changed()  # first: Ctrl-C may come before anything that follows
            with threads(None, 4.0 * size) as count:
                frame.run(sgd.sgd_step, 0, 0, size, count)

    def _runs(self) -> list[tuple[Any, int, int, int]]:
        """Join parameters that follow each other in one buffer: (buffer, offset, state, size)."""
        runs: list[tuple[Any, int, int, int]] = []
        for parameter, state in zip(self.parameters, self._offsets, strict=True):
            size = parameter.padded_size
            if runs:
                buffer, theta, first, length = runs[-1]
                if buffer is parameter.buffer and theta + length == parameter.offset:
                    runs[-1] = (buffer, theta, first, length + size)
                    continue
            runs.append((parameter.buffer, parameter.offset, state, size))
        return runs

    def _velocities(self) -> list[Array]:
        pairs = zip(self.parameters, self._offsets, strict=True)
        return [parameter.view(self.velocity, offset) for parameter, offset in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return the hyperparameters and a copy of each parameter's velocity, in order."""
        return {
            "lr": self.lr,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "velocity": [velocity.copy() for velocity in self._velocities()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            Where the velocities do not fit the parameters; nothing is changed then.
        """
        own = self._velocities()
        shapes = [np.shape(velocity) for velocity in state["velocity"]]
        if shapes != [velocity.shape for velocity in own]:
            raise ValueError(
                f"velocity must have shapes {[velocity.shape for velocity in own]}, got {shapes}"
            )
        other = SGD(
            self.parameters,
            state["lr"],
            state["momentum"],
            state["nesterov"],
            state["weight_decay"],
        )
        self.lr, self.momentum = other.lr, other.momentum
        self.nesterov, self.weight_decay = other.nesterov, other.weight_decay
        for velocity, saved in zip(own, state["velocity"], strict=True):
            velocity[...] = saved

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, nesterov={self.nesterov}, "
            f"weight_decay={self.weight_decay})"
        )
