"""Save a trained network, load it elsewhere and predict; and train on where training stopped.

    python examples/save_and_load.py

The file is safetensors: arrays by name, with the layers and what the outputs mean beside them, and
nothing that can run code. What it takes to train on, the optimiser's state too, goes into a
pickle.

Output::

    predicted: zero one two three four
    true:      zero one two three four
    the loaded network predicts the same bits: True
    trained on, from memory and from disk alike: True
"""

import pickle
from pathlib import Path

import numpy as np

import fastfcn as ff
from fastfcn import datasets, losses, nn, optim

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def main() -> None:
    """Save, load, predict, train on."""
    x, y, x_test, y_test = datasets.digits()
    criterion = losses.CrossEntropyLoss()
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = optim.Adam(net.parameters(), lr=0.003)
    ff.fit(net, x, y, loss=criterion, optimizer=optimizer, epochs=10, seed=0)

    folder = Path("runs")
    ff.save(folder / "digits.safetensors", net, task="classification", classes=NAMES)
    model = ff.load(folder / "digits.safetensors")
    print("predicted:", *model.predict(x_test[:5]))
    print("true:     ", *[NAMES[label] for label in y_test[:5]])
    same = np.array_equal(ff.predict(model.net, x_test), ff.predict(net, x_test))
    print("the loaded network predicts the same bits:", same)

    # To train on: both in one pickle, as the optimiser holds the network's own parameters.
    (folder / "training.pickle").write_bytes(pickle.dumps((net, optimizer)))
    net2, optimizer2 = pickle.loads((folder / "training.pickle").read_bytes())
    once = ff.fit(net, x, y, loss=criterion, optimizer=optimizer, epochs=5, seed=1)
    again = ff.fit(net2, x, y, loss=criterion, optimizer=optimizer2, epochs=5, seed=1)
    print("trained on, from memory and from disk alike:", once.loss == again.loss)


if __name__ == "__main__":
    main()
