"""`fastfcn lr-find`: a suggestion, and the files that `fastfcn plot lr-finder` reads."""

from pathlib import Path

import numpy as np
import pytest

import fastfcn as ff
from command_line import done, flowers, prices, run
from fastfcn import datasets, losses, nn, optim
from fastfcn.runs import read_history

QUICK = ("--dataset", "digits", "--layers", "16")


def test_it_sweeps_as_the_library_does_and_what_it_writes_can_be_plotted() -> None:
    text = done("lr-find", *QUICK, "--output", "found", "--steps", "60").stdout
    x, y, *_ = datasets.digits()
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(64, 16, rng=rng), nn.ReLU(), nn.Linear(16, 10, rng=rng))
    expected = ff.lr_find(
        net, x, y, loss=losses.CrossEntropyLoss(), seed=0, batch_size=128, steps=60,
        optimizer=optim.SGD(net.parameters(), lr=0.02, momentum=0.9),
    )  # fmt: skip
    columns = read_history("found/lr_finder.csv")
    assert columns["lr"] == expected.lr.tolist()
    assert columns["loss"] == expected.loss.tolist()
    assert set(columns["suggestion"]) == {expected.suggestion}
    assert f"suggestion  --lr {expected.suggestion:.2g}\n" in text
    assert Path("found/lr_finder.png").is_file()
    assert done("plot", "lr-finder", "found", "--output", "again.png").stdout == "again.png\n"


def test_files_are_scaled_as_for_training() -> None:
    prices(Path("p.csv"))
    done("lr-find", "--data", "p.csv", "--target", "price", "--optimizer", "adam", "--output", "p")
    assert read_history("p/lr_finder.csv")["loss"][0] < 10  # prices are near 300,000
    flowers(Path("f.csv"))
    words = ("--data", "f.csv", "--target", "kind", "--class-weight", "rose=3", "--batch-norm")
    assert "runs/f-lr-" in done("lr-find", *words).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--optimizer", "lbfgs"], "'--optimizer': must have a learning rate, got lbfgs"),
        (["--lowest", "1", "--highest", "0.1"], "'--highest': must be above --lowest 1"),
        (["--output", "taken"], "taken must be a new or an empty folder"),
        (["--batch-size", "5000"], "must be at most the 1,433 training samples"),
        (["--lr", "0.1"], "No such option '--lr'"),
    ],
)
def test_what_cannot_be_swept_is_refused(words: list[str], message: str) -> None:
    Path("taken").mkdir()
    Path("taken", "file").touch()
    result = run("lr-find", *QUICK, *words)
    assert result.exit_code == 2
    assert message.lower() in result.stderr.lower()
    assert not Path("runs").exists()
