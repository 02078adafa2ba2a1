"""What a training run shows while it goes on."""

import sys
from typing import Any

from fastfcn.history import History


class Progress:
    """Progress on standard error: a bar on a terminal, else one line an epoch."""

    def __init__(self, epochs: int, samples: int, wanted: bool) -> None:
        self._epochs = epochs
        self._wanted = wanted
        self._bar: Any = None
        if wanted and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=epochs * samples,
                unit=" samples",
                unit_scale=True,
                leave=False,
                file=sys.stderr,
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text)
        elif self._wanted:
            print(text, file=sys.stderr, flush=True)

    def advance(self, samples: int) -> None:
        if self._bar is not None:
            self._bar.update(samples)

    def epoch_done(self, history: History) -> None:
        if not self._wanted:
            return
        width = len(str(self._epochs))
        parts = [
            f"epoch {history.epoch[-1]:{width}d}/{self._epochs}",
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
        if self._bar is not None:
            self._bar.set_description_str("  ".join(parts))
        else:
            parts.append(f"{history.seconds[-1]:.2f} s")
            print("  ".join(parts), file=sys.stderr, flush=True)
