"""Callbacks: one of your own, and checkpoints, a CSV file, averaged weights, a rate that adapts.

    python examples/using_callbacks.py

A callback is any object with a method such as ``on_epoch_end(run)``. ``fit`` calls them in the
order of the list.

Output::

    epoch  1  validation accuracy 0.931  next rate 0.3000
    epoch  2  validation accuracy 0.948  next rate 0.3000
    ...
    epoch 14  validation accuracy 0.978  next rate 0.0375
    stopped after 14 epochs because the learning rate has become small
    runs/history.csv has 14 rows, with epoch, loss, accuracy, val_loss, ...
    the best weights, loaded: loss 0.0806, accuracy 0.9780
"""

import csv

import numpy as np

import fastfcn as ff
from fastfcn import callbacks, datasets, losses, nn, optim
from fastfcn.callbacks import TrainingRun


class StopAtSmallRate:
    """Print each epoch, and stop when the learning rate has become small."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Look at the history's last row, and at the optimiser."""
        reached, lr = run.history.val_accuracy[-1], run.optimizer.lr
        print(f"epoch {run.epoch:2}  validation accuracy {reached:.3f}  next rate {lr:.4f}")
        if lr < self.lr:
            run.stop("the learning rate has become small")


def main() -> None:
    """Train with several callbacks, and read back what they have written."""
    x, y, x_test, y_test = datasets.digits()
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Linear(128, 10, rng=rng))
    checkpoint = callbacks.ModelCheckpoint("runs/best.safetensors", save_best_only=True)
    history = ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.3, momentum=0.9),
        batch_size=64,
        epochs=60,
        validation_data=(x_test, y_test),
        callbacks=[
            callbacks.EMA(decay=0.99),  # first: the others then see the averaged weights
            callbacks.ReduceLROnPlateau(factor=0.5, patience=2),
            checkpoint,
            callbacks.CSVLogger("runs/history.csv"),
            StopAtSmallRate(0.05),
        ],
        seed=0,
    )
    print(f"stopped after {len(history)} epochs because {history.stop_reason}")

    with open("runs/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"runs/history.csv has {len(rows)} rows, with {', '.join(list(rows[0])[:4])}, ...")

    net.load_state_dict(ff.load_weights("runs/best.safetensors"))
    loss, accuracy = ff.evaluate(net, x_test, y_test, loss=losses.CrossEntropyLoss())
    print(f"the best weights, loaded: loss {loss:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
