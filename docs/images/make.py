"""Draw the figures of the user guide: ``FASTFCN_DATA=... python docs/images/make.py``.

Trains networks on MNIST for some seconds and writes the PNG files beside this one, 800 pixels
wide and with few colours: each must stay below 60 kB.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import fastfcn as ff
from fastfcn import datasets, losses, nn, optim, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
COLOURS, LIMIT = 128, 60_000


def main() -> None:
    """Train, and draw."""
    x, y, x_test, y_test = datasets.mnist()
    runs, nets = {}, {}
    for hidden in (32, 256):
        net = nets[hidden] = network(hidden)
        runs[f"784-{hidden}-10"] = ff.fit(
            net,
            x,
            y,
            loss=losses.CrossEntropyLoss(),
            optimizer=optim.SGD(net.parameters(), lr=0.02, momentum=0.9),
            batch_size=128,
            epochs=10,
            scale=1 / 255,
            validation_data=(x_test, y_test),
            seed=0,
        )
    probabilities = ff.predict_proba(nets[256], x_test, scale=1 / 255)
    write("curves", plots.curves(runs, "Two networks on MNIST"))
    write("confusion", plots.confusion_matrix(y_test, probabilities))
    write(
        "misclassified",
        plots.misclassified(x_test, y_test, probabilities, probabilities, max_images=18),
    )
    write("weights", plots.first_layer_weights(nets[256], max_images=32))
    net = network(256)
    found = ff.lr_find(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), momentum=0.9),
        batch_size=128,
        scale=1 / 255,
        seed=0,
    )
    write("lr_finder", plots.lr_finder(found))
    write("activations", plots.activations())


def network(hidden: int) -> nn.Sequential:
    """Make 784-hidden-10, always the same."""
    net = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    net.reset_parameters(np.random.default_rng(0))
    return net


def write(name: str, figure: "Figure") -> None:
    """Write a figure with few colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    file = HERE / f"{name}.png"
    # So chosen that rare colours, as at the ends of a colour bar, stay.
    few = Image.open(drawn).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    few.save(file, optimize=True)
    size = file.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"{file} must be at most {LIMIT:,} bytes, got {size:,}; draw less")


if __name__ == "__main__":
    main()
