"""Callbacks: one of your own, and checkpoints, a CSV file, averaged weights, a rate that adapts.

    python examples/using_callbacks.py

A callback is any object with a method such as ``on_epoch_end(run)``. ``fit`` calls them in the
order of the list.

Output::

    epoch  1  lr 0.3000  validation accuracy 0.9203
    epoch  2  lr 0.3000  validation accuracy 0.9451
    epoch  3  lr 0.3000  validation accuracy 0.9588
    epoch  4  lr 0.3000  validation accuracy 0.9670
    epoch  5  lr 0.3000  validation accuracy 0.9725
    epoch  6  lr 0.3000  validation accuracy 0.9725
    epoch  7  lr 0.3000  validation accuracy 0.9808
    stopped after 7 epochs because validation accuracy is 0.9808
    runs/history.csv has 7 rows, with epoch, loss, accuracy, val_loss, val_accuracy, lr, seconds, samples_per_second
    the best weights, loaded: loss 0.0965, accuracy 0.9808
"""

import csv

import fastfcn as ff
from fastfcn import callbacks, datasets, losses, nn, optim
from fastfcn.callbacks import TrainingRun


class StopWhenGoodEnough:
    """Print each epoch, and stop at a validation accuracy."""

    def __init__(self, accuracy: float) -> None:
        self.accuracy = accuracy

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Look at the history's last row."""
        reached = run.history.val_accuracy[-1] or 0.0
        print(f"epoch {run.epoch:2}  lr {run.optimizer.lr:.4f}  validation accuracy {reached:.4f}")
        if reached >= self.accuracy:
            run.stop(f"validation accuracy is {reached:.4f}")


def main() -> None:
    """Train with several callbacks, and read back what they have written."""
    x, y, x_test, y_test = datasets.digits()
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
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
            callbacks.ReduceLROnPlateau(factor=0.5, patience=3),
            checkpoint,
            callbacks.CSVLogger("runs/history.csv"),
            StopWhenGoodEnough(0.975),
        ],
        seed=0,
    )
    print(f"stopped after {len(history)} epochs because {history.stop_reason}")

    with open("runs/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"runs/history.csv has {len(rows)} rows, with {', '.join(rows[0])}")

    net.load_state_dict(ff.load_weights("runs/best.safetensors"))
    loss, accuracy = ff.evaluate(net, x_test, y_test, loss=losses.CrossEntropyLoss())
    print(f"the best weights, loaded: loss {loss:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
