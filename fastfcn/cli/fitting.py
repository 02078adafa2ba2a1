"""Training under way: what is kept of it, epoch by epoch, and going on with it."""

import time
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastfcn.cli import network, record
from fastfcn.cli.configuration import MAY_CHANGE
from fastfcn.cli.data import Data, readable
from fastfcn.cli.record import Options, Run
from fastfcn.cli.scores import scores

if TYPE_CHECKING:
    from fastfcn.callbacks import EMA, EarlyStopping, TrainingRun
    from fastfcn.checkpoints import Checkpoint
    from fastfcn.history import History
    from fastfcn.losses import Loss
    from fastfcn.models import Model

CHECKPOINT_SECONDS = 10.0
"""How much work a crash may cost; a checkpoint is written no more often."""

CHECKPOINT = "checkpoint.safetensors"


def fit_and_keep(
    options: Options,
    data: Data,
    criterion: "Loss",
    checkpoint: "Checkpoint | None",
    folder: Path,
) -> Run:
    """Train, with checkpoints in `folder`; Ctrl-C ends it after the last whole epoch."""
    from fastfcn.callbacks import EMA, EarlyStopping, TensorBoard
    from fastfcn.training import fit

    if checkpoint is None:
        model = network.model(options, data, criterion)
    else:
        model = checkpoint.model
    optimizer = network.optimizer(options, model.net)
    stopping = EarlyStopping(patience=options.early_stopping) if options.early_stopping else None
    average = None if options.ema is None else EMA(options.ema)
    if checkpoint is not None:
        optimizer.load_state_dict(checkpoint.optimizer)
        if average is not None:
            average.load_state_dict(checkpoint.extra["average"])
        if stopping is not None:
            stopping.best_weights = checkpoint.extra["best"]
    x, scale, shift = model.prepared(data.train.x)
    watched = next(iter(data.held_out.values()), None)
    began_with = {"data": fingerprint(data), "options": record.table(options, data)}
    board = TensorBoard(folder) if options.tensorboard else None
    keeper = _Keeper(folder / CHECKPOINT, model, stopping, average, began_with)

    began = time.perf_counter()
    interrupted = False
    try:
        with warnings.catch_warnings():  # said at the end, in the command line's terms
            warnings.filterwarnings("ignore", "the loss is", RuntimeWarning)
            history = fit(
                model.net,
                x,
                data.train.y,
                loss=criterion,
                optimizer=optimizer,
                batch_size=options.batch_size or len(data.train.y),
                epochs=options.epochs,
                validation_data=watched and (model.prepared(watched.x)[0], watched.y),
                seed=options.seed,
                n_threads=options.threads,
                clip_norm=options.clip_norm,
                progress=options.progress,
                schedule=network.schedule(options),
                # The average first: the others see it. The keeper last: it keeps what they did.
                callbacks=[
                    c for c in (average, network.plateau(options), stopping, board, keeper) if c
                ],
                history=None if checkpoint is None else checkpoint.history,
                scale=scale,
                shift=shift,
            )
        keeper.ended(history.stop_reason)
    except KeyboardInterrupt:
        if keeper.kept is None or keeper.history is None:
            raise
        interrupted = True
        history = _cut(keeper.history, keeper.kept.epoch)
        if stopping is None:  # which has given back the best weights
            model.net.load_state_dict(keeper.kept.parameters)
    around = time.perf_counter() - began - history.compile_seconds - sum(history.seconds)
    keeper.write()
    parts = {"train": data.train, **data.held_out}
    found = {name: scores(model, part, options.threads) for name, part in parts.items()}
    return Run(model, history, found, max(around, 0.0), interrupted)


class _Kept(NamedTuple):
    """A whole epoch."""

    epoch: int
    parameters: dict[str, Any]
    optimizer: dict[str, Any]
    extra: dict[str, Any]


class _Keeper:
    """Remembers the last whole epoch, for Ctrl-C, and writes it to disk from time to time."""

    def __init__(
        self,
        path: Path,
        model: "Model",
        stopping: "EarlyStopping | None",
        average: "EMA | None",
        began_with: dict[str, Any],
    ) -> None:
        self._path, self._model, self._began_with = path, model, began_with
        self._stopping, self._average = stopping, average
        self._written = time.perf_counter()
        self.kept: _Kept | None = None
        self.history: History | None = None

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Remember the epoch."""
        self.history = run.history
        best = None if self._stopping is None else self._stopping.best_weights
        average = None if self._average is None else self._average.state_dict()
        extra = {"best": best, "average": average, "stopped": run.stop_reason}
        # In one go: Ctrl-C may come at any time.
        self.kept = _Kept(
            run.epoch, run.net.state_dict(), run.optimizer.state_dict(), extra | self._began_with
        )
        if time.perf_counter() - self._written > CHECKPOINT_SECONDS:
            self.write()

    def ended(self, reason: str | None) -> None:
        """Remember why there will be no other epoch, which may be known only after the last."""
        assert self.kept is not None
        self.kept.extra["stopped"] = reason

    def write(self) -> None:
        """Write the last whole epoch."""
        from fastfcn import checkpoints
        from fastfcn.checkpoints import Checkpoint

        assert self.kept is not None and self.history is not None
        _, parameters, optimizer, extra = self.kept
        checkpoints.write(
            self._path, Checkpoint(self._model, optimizer, self.history, extra, parameters)
        )
        self._written = time.perf_counter()


def _cut(history: "History", epochs: int) -> "History":
    """Take off the row of an epoch that was not kept whole."""
    for column in vars(history).values():
        if isinstance(column, list):
            del column[epochs:]
    return history


def to_go_on_with(options: Options, data: Data) -> "Checkpoint":
    """Read where the run of ``--resume`` stopped; refuse one that cannot go on."""
    from fastfcn import checkpoints

    assert options.resume is not None
    with readable():
        checkpoint = checkpoints.read(options.resume / CHECKPOINT)
    done, stopped = len(checkpoint.history), checkpoint.extra["stopped"]
    if stopped is not None:
        raise click.BadParameter(
            f"{options.resume} has ended in epoch {done}: {stopped}.", param_hint="'--resume'"
        )
    if done >= options.epochs:
        raise click.BadParameter(
            f"{options.resume} has all of its {done} epochs; pass more with --epochs.",
            param_hint="'--resume'",
        )
    _refuse_edits(options.resume, checkpoint.extra.get("options", {}), record.table(options, data))
    if checkpoint.extra["data"] != fingerprint(data):
        raise click.BadParameter(
            f"{options.resume} must go on with the data it began with, and {data.title} has "
            "changed; start another run.",
            param_hint="'--resume'",
        )
    return checkpoint


def _refuse_edits(folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse options that were changed in a run's config.toml: the network is there already.

    The file of the data may lie elsewhere by now: what counts is what it holds.
    """
    file = folder / "config.toml"
    for name in sorted(begun.keys() - MAY_CHANGE - {"data"}):
        was, got = begun[name], now.get(name)
        if was != got:
            raise click.BadParameter(
                f"{file} must have the options that the run began with, {_said(name, was)}, got "
                f"{_said(name, got)}; take that back, or start another run with --config {file}.",
                param_hint="'--resume'",
            )


def _said(name: str, value: Any) -> str:
    return f"no {name}" if value is None else f"{name} = {value!r}"


def fingerprint(data: Data) -> str:
    """Return a few characters that tell the training samples from others."""
    import numpy as np

    x, y = (np.ascontiguousarray(values) for values in data.train)
    return f"{x.shape[0]}x{x.shape[1]}-{zlib.crc32(y.data, zlib.crc32(x.data)):08x}"
