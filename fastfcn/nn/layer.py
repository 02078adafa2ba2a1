"""What a layer and a network have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.parameter import Parameter
from fastfcn.plan import Plan
from fastfcn.validation import as_matrix


class Layer:
    """Something with a forward and a backward pass.

    A layer keeps its last input and output for the backward pass. ``layer(x)`` is
    ``layer.forward(x)``.
    """

    _plan: Plan | None = None

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

    def parameters(self) -> list[Parameter]:
        """Return the trainable parameters, for an optimiser."""
        return list(self.named_parameters().values())

    def zero_grad(self) -> None:
        """Set every gradient to zero; backward passes add to them."""
        for parameter in self.parameters():
            parameter.grad[...] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name, contiguous and without padding."""
        return {name: p.copy() for name, p in self.named_parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters in from what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            For missing, unknown or wrongly shaped entries; nothing is changed then.
        """
        own = self.named_parameters()
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
