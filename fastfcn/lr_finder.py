"""Find a learning rate: one sweep from small to large, and the weights as before."""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.callbacks.run import TrainingRun
from fastfcn.losses import Loss
from fastfcn.nn.containers import Module
from fastfcn.optim import Optimizer
from fastfcn.optim.minimiser import Minimiser
from fastfcn.training import fit
from fastfcn.validation import as_int, as_real


@dataclass(frozen=True)
class LRFinderResult:
    """Losses over learning rates, of one sweep.

    Attributes
    ----------
    lr : ndarray (steps,)
        Learning rates of the steps, rising.
    loss : ndarray (steps,)
        Smoothed loss of each step's batch, before the step.
    suggestion : float or None
        Where the loss falls fastest: a rate to begin with. None where it did not fall.
    diverged : bool
        Whether the sweep ended because the loss grew beyond all bounds.
    """

    lr: Array
    loss: Array
    suggestion: float | None
    diverged: bool

    def __repr__(self) -> str:
        what = "no suggestion" if self.suggestion is None else f"suggestion={self.suggestion:.3g}"
        return f"LRFinderResult({len(self.lr)} steps, {what}, diverged={self.diverged})"


def lr_find(
    net: Module,
    x: Any,
    y: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int = 32,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    divergence: float = 4.0,
    seed: int | None = None,
    **options: Any,
) -> LRFinderResult:
    """Try learning rates from small to large, a step each, and say where the loss falls fastest.

    The network, its running statistics and the optimiser are afterwards what they were before,
    whatever happens.

    Parameters
    ----------
    net, x, y, loss, optimizer, batch_size, seed
        As in :func:`fastfcn.fit`.
    lowest, highest : float, default 1e-6 and 10.0
        The first and the last learning rate; each is a fixed factor above the one before.
    steps : int, default 100
        Learning rates, at least 2. Small data are gone through as often as that takes.
    smoothing : float, default 0.9
        In [0, 1): weight of the past in the exponential mean of the losses; its start is corrected.
    divergence : float, default 4.0
        The sweep ends where the smoothed loss is above this many times its smallest, or not finite.
    **options
        Others of :func:`fastfcn.fit`: ``scale``, ``sample_weight``, ``clip_norm``, ...

    Returns
    -------
    LRFinderResult
        ``lr``, ``loss``, ``suggestion`` and ``diverged``; :func:`fastfcn.plots.lr_finder` draws it.

    Raises
    ------
    TypeError, ValueError
        For parameters out of range, and as :func:`fastfcn.fit`.

    Notes
    -----
    The suggestion is the rate of the steepest descent of the smoothed loss over log lr, up to its
    minimum, and from there back by smoothing / (1 - smoothing) steps: by so much the smoothed loss
    comes late.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import losses, nn, optim
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> net = nn.Sequential(nn.Linear(8, 32, rng=rng), nn.ReLU(), nn.Linear(32, 2, rng=rng))
    >>> sgd = optim.SGD(net.parameters(), momentum=0.9)
    >>> result = lr_find(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, seed=0)
    >>> 1e-3 < result.suggestion < 1
    True
    """
    lowest, highest = as_real(lowest, "lowest"), as_real(highest, "highest")
    if not 0.0 < lowest < highest:
        raise ValueError(f"lowest must be above 0 and below highest, got {lowest} and {highest}")
    steps = as_int(steps, "steps", 2)
    smoothing = as_real(smoothing, "smoothing")
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
    divergence = as_real(divergence, "divergence")
    if divergence <= 1.0:
        raise ValueError(f"divergence must be above 1, got {divergence}")
    if isinstance(optimizer, Minimiser):
        raise ValueError(
            "optimizer must take steps as long as its learning rate says, got "
            f"{type(optimizer).__name__}, which searches for its own: there is nothing to find"
        )
    sweep = _Sweep(np.geomspace(lowest, highest, steps), smoothing, divergence)
    with warnings.catch_warnings():  # divergence is what the sweep is for
        warnings.filterwarnings("ignore", "the loss is", RuntimeWarning)
        fit(
            net, x, y, loss=loss, optimizer=optimizer, batch_size=batch_size, epochs=steps,
            seed=seed, callbacks=[sweep], **options,
        )  # fmt: skip
    return sweep.result()


class _Sweep:
    """Callback that gives each step the next learning rate, and puts everything back at the end."""

    def __init__(self, rates: Array, smoothing: float, divergence: float) -> None:
        self._rates, self._smoothing, self._divergence = rates, smoothing, divergence
        self._losses: list[float] = []
        self._mean, self._least = 0.0, math.inf
        self._diverged = False

    def on_fit_begin(self, run: TrainingRun) -> None:
        self._weights = run.net.state_dict()
        self._state = copy.deepcopy(run.optimizer.state_dict())
        run.optimizer.lr = float(self._rates[0])

    def on_fit_end(self, run: TrainingRun) -> None:
        run.net.load_state_dict(self._weights)
        run.optimizer.load_state_dict(self._state)

    def on_batch_end(self, run: TrainingRun) -> None:
        past, done = self._smoothing, len(self._losses) + 1
        self._mean = past * self._mean + (1.0 - past) * run.recent_loss
        smooth = self._mean / (1.0 - past**done)
        if not math.isfinite(smooth) or (done > 1 and smooth > self._divergence * self._least):
            self._diverged = True
            run.stop("the sweep diverged")
            return
        self._losses.append(smooth)
        self._least = min(self._least, smooth)
        if done == len(self._rates):
            run.stop("the sweep is done")
        else:
            run.optimizer.lr = float(self._rates[done])

    def result(self) -> LRFinderResult:
        """Return what the sweep found."""
        losses = np.array(self._losses)
        rates = self._rates[: len(losses)]
        late = round(self._smoothing / (1.0 - self._smoothing))
        return LRFinderResult(rates, losses, _steepest(rates, losses, late), self._diverged)


def _steepest(rates: Array, losses: Array, late: int) -> float | None:
    """Return the rate some steps before the losses fall fastest over its logarithm."""
    falling = int(np.argmin(losses)) + 1 if len(losses) else 0
    if falling < 2:
        return None
    slopes = np.gradient(losses[:falling], np.log(rates[:falling]))
    return float(rates[max(0, int(np.argmin(slopes)) - late)])
