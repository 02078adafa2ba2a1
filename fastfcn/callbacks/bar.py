"""What a training run shows while it goes on."""

import sys
from typing import Any

from fastfcn.callbacks.run import TrainingRun
from fastfcn_kernels import training


class ProgressBar:
    """Progress on standard error: a bar on a terminal, else one line an epoch.

    ``fit(..., progress=True)`` is short for it.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown = 0

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Show an empty bar, and what is waited for."""
        if sys.stderr.isatty():
            from tqdm import tqdm

            whole = run.samples or run.batches
            self._bar = tqdm(
                total=whole and run.epochs * whole,
                unit=" samples" if run.samples else " batches",
                unit_scale=True,
                leave=False,
                file=sys.stderr,
            )
        if not training.learn.precisions:
            self._say("loading or compiling the kernels (seconds; kept on disk afterwards)")

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Count the epoch from 0."""
        self._shown = 0

    def on_progress(self, run: TrainingRun) -> None:
        """Move the bar."""
        if self._bar is not None:
            now = run.seen if run.samples else run.batch
            self._bar.update(now - self._shown)
            self._shown = now

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Show the epoch's results."""
        history = run.history
        width = len(str(run.epochs))
        parts = [
            f"epoch {run.epoch:{width}d}/{run.epochs}",
            f"loss {history.loss[-1]:.4f}",
        ]
        for name, values in [
            ("accuracy", history.accuracy),
            ("val loss", history.val_loss),
            ("val accuracy", history.val_accuracy),
        ]:
            value = values[-1]
            if value is not None:
                parts.append(f"{name} {value:.4f}")
        if self._bar is None:
            parts.append(f"{history.seconds[-1]:.2f} s")
        self._say("  ".join(parts))

    def on_fit_end(self, run: TrainingRun) -> None:
        """Take the bar away; say why training ended early."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        if run.stop_reason is not None:
            self._say(f"stopped: {run.stop_reason}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text)
        else:
            print(text, file=sys.stderr, flush=True)
