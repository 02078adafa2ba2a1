"""What a layer and a network have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from fastfcn.buffers import Array, Buffer
from fastfcn.nn.parameter import Parameter, pack
from fastfcn.plan import Plan
from fastfcn.validation import as_matrix
from fastfcn.workspace import Stage


class Layer:
    """Something with a forward and a backward pass.

    A layer keeps its last input and output for the backward pass. ``layer(x)`` is
    ``layer.forward(x)``.
    """

    _plan: Plan | None = None
    in_features: int | None = None
    """Features that the layer takes; None: any, and it gives as many."""
    out_features: int | None = None
    dtype: np.dtype[Any] | None = None
    """Precision of the parameters; None without any."""
    training = True
    """Whether the layer works as in training: see :meth:`train`."""
    has_numbers: ClassVar[bool] = False
    """Whether :attr:`numbers` may change."""

    @property
    def flops(self) -> int:
        """Floating-point operations of a row's forward pass, matrix products only."""
        return 0

    @property
    def numbers(self) -> tuple[float, float]:
        """Numbers of the layer that its kernels take, beside its parameters."""
        return 0.0, 0.0

    def stage(self, features: int) -> Stage | None:
        """Describe the layer to a plan, for rows of ``features``; None: it computes nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define stage(self, features)")

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw new initial values, from ``rng`` or a fresh generator."""

    def train(self, mode: bool = True) -> Self:
        """Work as in training: drop activations, normalise by the batch's own statistics.

        A new layer does. :func:`fastfcn.fit` always trains in this mode, and
        :func:`fastfcn.predict` and :func:`fastfcn.evaluate` never use it: the mode is for calling
        layers and networks oneself.
        """
        self.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Work as in prediction: drop nothing, normalise by the running statistics."""
        return self.train(False)

    def forward(self, x: Any) -> Array:
        """Return the output for a batch and keep what :meth:`backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, x)")

    def backward(self, delta: Any, input_gradient: bool = True) -> Array | None:
        """Add this batch's gradients to the parameters' and return that of the input."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, delta)")

    def __call__(self, x: Any) -> Array:
        return self.forward(x)

    def named_parameters(self) -> dict[str, Parameter]:
        """Return the trainable parameters under their names in :meth:`state_dict`."""
        return {}

    def named_buffers(self) -> dict[str, Parameter]:
        """Return what is kept beside the parameters and not trained, likewise."""
        return {}

    def parameters(self) -> list[Parameter]:
        """Return the trainable parameters, for an optimiser."""
        return list(self.named_parameters().values())

    def _stored(self) -> dict[str, Parameter]:
        """Return parameters and buffers, as they lie in memory."""
        return self.named_parameters() | self.named_buffers()

    def zero_grad(self) -> None:
        """Set every gradient to zero; backward passes add to them."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Return copies of parameters and buffers by name, contiguous and without padding."""
        return {name: p.copy() for name, p in self._stored().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters and buffers in from what :meth:`state_dict` returned.

        Raises
        ------
        TypeError, ValueError
            For missing, unknown or wrongly shaped entries; nothing is changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state must be a mapping of names to arrays, got {type(state).__name__}; "
                "fastfcn.load_weights(path) reads one from a file"
            )
        own = self._stored()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise ValueError(
                f"state must hold exactly {sorted(own)}; missing {missing}, unknown {unknown}"
            )
        arrays = {name: np.asarray(state[name]) for name in own}
        for name, parameter in own.items():
            if arrays[name].shape != parameter.shape:
                raise ValueError(
                    f"state[{name!r}] must have shape {parameter.shape}, got {arrays[name].shape}; "
                    "a weight from PyTorch needs .T"
                )
            if arrays[name].dtype.kind not in "fiub":
                raise TypeError(
                    f"state[{name!r}] must be real numbers, got dtype {arrays[name].dtype}"
                )
        for name, parameter in own.items():
            parameter.data = arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_plan")}

    def _forward(self, batch: Array, seed: int = 0) -> Array:
        """Run the layer's own plan on a checked batch; ``seed`` is that of its mask."""
        dtype = self.dtype or np.dtype(np.float64 if batch.dtype == np.float64 else np.float32)
        stored, plan = list(self._stored().values()), self._plan
        if len({id(parameter.buffer) for parameter in stored}) > 1:
            pack(stored)
        stage = self.stage(batch.shape[1])
        assert stage is not None
        stale = plan is None or plan.stages[0] != stage or plan.dtype != dtype
        if plan is None or stale or (stored and plan.buffer is not stored[0].buffer):
            buffer = stored[0].buffer if stored else Buffer(0, dtype)
            plan = self._plan = Plan([stage], buffer, dtype)
        return plan.forward(batch, self.training, seed)

    def _backward(self, delta: Any, input_gradient: bool) -> Array | None:
        """Run the plan's backward pass on a checked delta."""
        plan = self._plan
        shape = None if plan is None else plan.batch_shape
        if plan is None or shape is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward pass before it; call the layer "
                "on its input first"
            )
        given = as_matrix(delta, "delta")
        if given.shape != shape:
            raise ValueError(
                f"delta must have the shape of the last output, {shape}, got {given.shape}"
            )
        return plan.backward(given, input_gradient)
