"""What every optimiser has in common."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastfcn.buffers import Array, Buffer, aligned_copy, aligned_zeros
from fastfcn.frame import Frame
from fastfcn.nn.parameter import Parameter
from fastfcn.threads import threads
from fastfcn.validation import as_flag, as_not_negative, as_positive
from fastfcn_kernels import optimisers as kernels
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native


class Optimizer:
    """Base of the optimisers: parameters, their flat state, and rows of hyperparameters.

    A subclass names its step kernel, its slots of state and its hyperparameters, and says in
    :meth:`_row` how these become a row for the kernel.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train: ``net.parameters()``, or those of some layers, which freezes the others.
    lr : float
        Learning rate η > 0.
    weight_decay : float, default 0.0
        λ ≥ 0.
    decay_bias : bool, default True
        Whether biases, and scales and shifts of normalisations, decay as weights do.
    decay_by_batch : bool, default False
        Whether λ is divided by the number of a batch's samples (the sum of their weights), as the
        ``alpha`` of scikit-learn is.

    Attributes
    ----------
    state : ndarray
        All slots, flat.
    steps : int
        Steps done.
    last_lr : float
        Learning rate of the last step, which a schedule may have made another than ``lr``.
    """

    options: ClassVar[tuple[str, ...]]
    """Names of the hyperparameters, as the constructor takes them."""
    counters: ClassVar[tuple[str, ...]] = ("steps",)
    """Names of the whole numbers that are part of the state."""

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        decay_by_batch: bool = False,
    ) -> None:
        self.parameters = _checked(parameters)
        self.lr = lr
        self.last_lr = self.lr
        self.weight_decay = as_not_negative(weight_decay, "weight_decay")
        self.decay_bias = as_flag(decay_bias, "decay_bias")
        self.decay_by_batch = as_flag(decay_by_batch, "decay_by_batch")
        self.steps = 0
        sizes = [parameter.padded_size for parameter in self.parameters]
        self.dtype = self.parameters[0].dtype
        self.slot = sum(sizes)
        self._offsets: list[int] = np.cumsum([0, *sizes[:-1]]).tolist()
        self.state = aligned_zeros(len(self.slots) * self.slot, self.dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bring the unpickled state to memory of its own, as a buffer does with its values."""
        self.__dict__.update(state)
        self.state = aligned_copy(self.state)

    @property
    def lr(self) -> float:
        """Learning rate η; may be changed between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = as_positive(value, "lr")

    @property
    def kernel(self) -> Native:
        """The step kernel."""
        raise NotImplementedError

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays that are kept for each parameter."""
        raise NotImplementedError

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        """Return what follows the smallest normal number in a row, an array or number each.

        Parameters
        ----------
        lr, decay : ndarray (steps,)
            Learning rate and weight decay of each step, float64.
        step : ndarray (steps,)
            Number of each step, from 1.
        """
        raise NotImplementedError

    def _decay(self, lr: Array, decay: Array) -> Array:
        """Return what is added to the gradient for each unit of a parameter."""
        return decay

    def _normal(self, divisor: Any) -> Any:
        """Return a divisor above 0 as one that is above 0 in the parameters' precision too."""
        return np.maximum(divisor, np.finfo(self.dtype).smallest_normal)

    def hyperparameters(self, factors: Any = 1.0, samples: Any = 1.0) -> Array:
        """Return the rows of the steps to come, as the kernels take them.

        Parameters
        ----------
        factors : array_like (steps,)
            What a schedule makes of the learning rate, step by step.
        samples : array_like (steps,)
            Samples of each step's batch, or the sum of their weights.

        Returns
        -------
        ndarray (steps, 2, HYPERPARAMETERS)
            For weights, and for other parameters.
        """
        self.check_state()
        lr = self.lr * np.atleast_1d(np.asarray(factors, np.float64))
        step = self.steps + 1.0 + np.arange(len(lr))
        weight_decay = np.full(len(lr), self.weight_decay)
        if self.decay_by_batch:
            # A batch without weight has nothing to learn from, and nothing to decay for.
            counts = np.broadcast_to(np.asarray(samples, np.float64), weight_decay.shape)
            weight_decay = np.divide(
                weight_decay, counts, out=np.zeros(len(lr)), where=counts > 0.0
            )
        rows = np.zeros((len(lr), 2, kernels.HYPERPARAMETERS), self.dtype)
        smallest = np.finfo(self.dtype).smallest_normal
        for others in (0, 1):
            decay = weight_decay if self.decay_bias or not others else np.zeros(len(lr))
            row = (lr, self._decay(lr, decay), smallest, *self._row(lr, step, decay))
            for place, values in enumerate(row):
                rows[:, others, place] = values
        return rows

    def check_state(self) -> None:
        """Raise where hyperparameters were changed that the state depends on."""
        if self.state.size != len(self.slots) * self.slot:
            raise RuntimeError(
                f"the optimiser's state must have the slots {', '.join(self.slots)}, which it was "
                "not made with; make a new one with these hyperparameters"
            )

    def places(self, buffer: Buffer) -> dict[int, int]:
        """Return where in the state a parameter's begins, by the parameter's place in a buffer."""
        pairs = zip(self.parameters, self._offsets, strict=True)
        return {parameter.offset: at for parameter, at in pairs if parameter.buffer is buffer}

    def zero_grad(self) -> None:
        """Set the gradients to zero; backward passes add to them."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def step(self, samples: float = 1.0) -> None:
        """Update the parameters from their gradients.

        Parameters
        ----------
        samples : float, default 1.0
            Samples of the batch, or the sum of their weights: read with ``decay_by_batch`` only.

        Raises
        ------
        TypeError, ValueError
            For samples that are no number from 0 on.
        """
        hyper = self.hyperparameters(samples=as_not_negative(samples, "samples"))
        self.steps += 1
        self.last_lr = self.lr
        for run in self.runs():
            frame = Frame(self.dtype)
            frame.point(t.PARAMS, run.values)
            frame.point(t.GRADS, run.of(run.buffer.grads))
            frame.point(t.STATE, self.state[run.place.start :])
            frame[t.STATE_SLOT] = self.slot
            frame.link(t.STEP, self.kernel)
            frame.point(t.HYPER, hyper[0, run.others])
            run.buffer.changed()  # first: Ctrl-C may come before anything that follows
            with threads(None, 4.0 * run.size) as count:
                frame.run(kernels.step_all, 0, 0, run.size, count)

    def runs(self) -> list["Run"]:
        """Join parameters of one kind that follow each other in one buffer."""
        runs: list[Run] = []
        same = self.weight_decay == 0.0 or self.decay_bias
        for parameter, state in zip(self.parameters, self._offsets, strict=True):
            size = parameter.padded_size
            others = int(not same and len(parameter.shape) == 1)
            place = slice(state, state + size)
            if runs:
                last = runs[-1]
                follows = last.buffer is parameter.buffer
                if follows and last.first + last.size == parameter.offset and last.others == others:
                    runs[-1] = last._replace(place=slice(last.place.start, place.stop))
                    continue
            runs.append(Run(parameter.buffer, parameter.offset, place, others))
        return runs

    def _slot_views(self, name: str) -> list[Array]:
        """Return each parameter's part of a slot, in its shape."""
        first = self.slots.index(name) * self.slot
        pairs = zip(self.parameters, self._offsets, strict=True)
        return [parameter.view(self.state, first + offset) for parameter, offset in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return hyperparameters, counters and copies of each parameter's state, in order."""
        return {
            **{name: getattr(self, name) for name in self.options},
            **{name: getattr(self, name) for name in self.counters},
            **{slot: [view.copy() for view in self._slot_views(slot)] for slot in self.slots},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            Where it is another optimiser's, or does not fit the parameters; nothing is changed
            then.
        """
        # Made for its checks, and for the slots that go with the options.
        given = {name: state[name] for name in self.options if name in state}
        other = type(self)(self.parameters, **given)
        expected = {*self.counters, *self.options, *other.slots}
        if set(state) != expected:
            raise ValueError(
                f"state must be a {type(self).__name__}'s, with {sorted(expected)}, got "
                f"{sorted(state)}"
            )
        for slot in other.slots:
            shapes = [np.shape(values) for values in state[slot]]
            own = [view.shape for view in other._slot_views(slot)]
            if shapes != own:
                raise ValueError(f"{slot} must have shapes {own}, got {shapes}")
        for name in self.counters:
            setattr(other, name, int(state[name]))
        for slot in other.slots:
            for view, saved in zip(other._slot_views(slot), state[slot], strict=True):
                view[...] = saved
        for name in (*self.options, *self.counters, "state"):
            setattr(self, name, getattr(other, name))

    def __repr__(self) -> str:
        values = [f"{name}={getattr(self, name)}" for name in self.options]
        return f"{type(self).__name__}({', '.join(values)})"


class Run(NamedTuple):
    """Parameters of one kind that follow each other in a buffer."""

    buffer: Buffer
    first: int
    """Where they begin in it."""
    place: slice
    """Where they are in a slot of the state."""
    others: int
    """0 for weights, 1 for other parameters."""

    @property
    def size(self) -> int:
        return int(self.place.stop - self.place.start)

    @property
    def values(self) -> Array:
        return self.of(self.buffer.values)

    def of(self, flat: Array) -> Array:
        """Return their part of what is laid out as the buffer."""
        return flat[self.first : self.first + self.size]


DECAY_OPTIONS = ("weight_decay", "decay_bias", "decay_by_batch")
"""Weight decay's hyperparameters, which every optimiser has."""


def _checked(parameters: Iterable[Parameter]) -> list[Parameter]:
    listed = list(parameters)
    if not listed:
        raise ValueError(
            "parameters must hold at least one, got none; pass net.parameters() of a network with "
            "Linear layers, which a Module of one's own names with add_layers([...])"
        )
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"parameters must be fastfcn.nn.Parameter, got {type(parameter).__name__}; "
                "pass net.parameters()"
            )
    if len(set(map(id, listed))) < len(listed):
        raise ValueError("parameters must be given once each, got one twice")
    if len({parameter.dtype for parameter in listed}) > 1:
        raise ValueError("parameters must share one dtype")
    return listed
