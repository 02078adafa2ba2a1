"""Find a learning rate, then train with it in one cycle.

    python examples/learning_rate.py

``lr_find`` tries rates from small to large and leaves the network as it was. ``OneCycle`` then
goes up to a rate and far down again, which trains well in few epochs.

Output::

    suggested learning rate: 0.145
    constant   test accuracy 0.945, mean of 5 seeds;  rate after each epoch 0.145, 0.145, 0.145
    one cycle  test accuracy 0.969, mean of 5 seeds;  rate after each epoch 0.144, 0.067, 0.000
"""

from pathlib import Path

import numpy as np

import fastfcn as ff
from fastfcn import datasets, losses, nn, optim, plots, schedules


def main() -> None:
    """Find, draw and train."""
    x, y, x_test, y_test = datasets.digits()
    criterion = losses.CrossEntropyLoss()

    def network(seed: int) -> nn.Sequential:
        rng = np.random.default_rng(seed)
        return nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Linear(128, 10, rng=rng))

    net = network(0)
    sgd = optim.SGD(net.parameters(), momentum=0.9)
    found = ff.lr_find(net, x, y, loss=criterion, optimizer=sgd, batch_size=16, seed=0)
    print(f"suggested learning rate: {found.suggestion:.3f}")
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    plots.lr_finder(found).savefig(folder / "lr_finder.png", dpi=100)

    for name, schedule in (("constant", None), ("one cycle", schedules.OneCycle())):
        accuracies = []
        for seed in range(5):
            net = network(seed)
            history = ff.fit(
                net,
                x,
                y,
                loss=criterion,
                optimizer=optim.SGD(net.parameters(), lr=found.suggestion, momentum=0.9),
                batch_size=16,
                epochs=3,
                schedule=schedule,
                validation_data=(x_test, y_test),
                seed=seed,
            )
            accuracies.append(history.val_accuracy[-1])
        rates = ", ".join(f"{rate:.3f}" for rate in history.lr)
        print(
            f"{name:9}  test accuracy {np.mean(accuracies):.3f}, mean of {len(accuracies)} seeds;  "
            f"rate after each epoch {rates}"
        )


if __name__ == "__main__":
    main()
