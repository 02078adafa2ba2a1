"""`fastfcn train --dataset`: which data it takes, and what it says where they are not there."""

import re
from pathlib import Path

import pytest

from command_line import config_of, done, run
from fastfcn import datasets


@pytest.fixture
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without MNIST and without a network."""
    for variable in ("FASTFCN_DATA", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing-here"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("fastfcn.datasets.images.download", fail)


@pytest.mark.usefixtures("no_mnist")
def test_without_mnist_the_default_says_so_in_one_line_and_trains_on_digits() -> None:
    result = done("train", "--epochs", "1", "--layers", "8", "--output", "out")
    lines = [line for line in result.stderr.splitlines() if "bundled digits" in line]
    assert len(lines) == 1
    assert "FASTFCN_DATA=FOLDER" in lines[0]
    assert "could not be downloaded" in lines[0]
    assert config_of("out")["train"]["dataset"] == "digits"


@pytest.mark.usefixtures("no_mnist")
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_data_set_asked_for_by_name_is_never_replaced(
    dataset: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fastfcn.datasets.images._DEBIAN_FASHION_MNIST", tmp_path / "none")
    result = run("train", "--dataset", dataset, "--epochs", "1")
    assert result.exit_code == 1
    assert "was not found. Looked in:" in result.stderr
    assert "digits" not in result.stderr
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_mnist")
def test_a_damaged_mnist_is_an_error_and_no_reason_to_fall_back() -> None:
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{split}-{kind}-ubyte").write_bytes(b"not an IDX file")
    result = run("train", "--root", "data", "--epochs", "1")
    assert result.exit_code == 1
    assert re.match(r"Error: .*idx", result.stderr)
    assert not Path("runs").exists()


def test_mnist_is_the_default_where_it_is_found(mnist_data: datasets.Dataset) -> None:
    done("train", "--epochs", "1", "--layers", "16", "--output", "out")
    config = config_of("out")
    assert config["train"]["dataset"] == "mnist"
    assert config["result"]["test_accuracy"] > 0.85
