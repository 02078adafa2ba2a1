"""MNIST from scratch: train, evaluate, draw the curves and the worst mistakes.

    python examples/mnist.py            # MNIST, downloaded where it is missing
    python examples/mnist.py --quick    # scikit-learn's small digits, no files needed

Images stay bytes: ``scale`` brings them to [0, 1] as each batch is read.

Output::

    Sequential
       layer             output shape  parameters  FLOP a sample
    0  Linear(784, 256)  (128, 256)       200,960        401,408
    1  ReLU()            (128, 256)             0              0
    2  Linear(256, 128)  (128, 128)        32,896         65,536
    3  ReLU()            (128, 128)             0              0
    4  Linear(128, 10)   (128, 10)          1,290          2,560
    parameters     235,146, all trainable
    FLOP a sample  469,504 forward, 1,007,104 to train on it
    memory         parameters 944 kB, gradients 944 kB, activations 975 kB
    test accuracy 0.980
    figures in runs/: curves.png, misclassified.png
"""

import sys
from pathlib import Path

import numpy as np

import fastfcn as ff
from fastfcn import datasets, losses, nn, optim, plots


def main() -> None:
    """Train, and draw."""
    if "--quick" in sys.argv:
        data, scale, epochs = datasets.digits(), 1.0, 20
    else:
        data, scale, epochs = datasets.mnist(), 1 / 255, 8
    x, y, x_test, y_test = data

    rng = np.random.default_rng(0)  # of the initial weights
    net = nn.Sequential(
        nn.Linear(x.shape[1], 256, rng=rng),
        nn.ReLU(),
        nn.Linear(256, 128, rng=rng),
        nn.ReLU(),
        nn.Linear(128, 10, rng=rng),
    )
    print(net.summary(batch_size=128))

    history = ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.02, momentum=0.9),
        batch_size=128,
        epochs=epochs,
        scale=scale,
        validation_data=(x_test, y_test),
        seed=0,
        progress=True,
    )
    print(f"test accuracy {history.val_accuracy[-1]:.3f}")

    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    plots.curves(history, "784-256-128-10").savefig(folder / "curves.png", dpi=100)
    p = ff.predict_proba(net, x_test, scale=scale)
    plots.misclassified(x_test, y_test, p, p).savefig(folder / "misclassified.png", dpi=100)
    print("figures in runs/: curves.png, misclassified.png")


if __name__ == "__main__":
    main()
