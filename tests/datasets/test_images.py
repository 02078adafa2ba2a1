import gzip
import subprocess
import sys

import numpy as np
import pytest

from fastfcn import datasets
from fastfcn.datasets import DatasetUnavailable, IDXError, images
from image_files import idx_bytes, small_files, write_files

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def test_importing_the_package_loads_none_of_its_helpers():
    code = (
        "import sys, fastfcn.datasets\n"
        "heavy = {'sklearn', 'torch', 'torchvision', 'pooch', 'platformdirs', 'requests', 'PIL'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_mnist_is_whole(mnist_data):
    x_train, y_train, x_test, y_test = mnist_data
    assert x_train.shape == (60_000, 784)
    assert x_test.shape == (10_000, 784)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert y_test[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean and standard deviation that everyone normalises MNIST by.
    assert round(float(x_train.mean()) / 255, 4) == 0.1307
    assert round(float(x_train.std()) / 255, 4) == 0.3081


@pytest.mark.skipif(
    not images._DEBIAN_FASHION_MNIST.exists(), reason="package dataset-fashion-mnist is missing"
)
def test_debians_fashion_mnist_is_found_and_whole(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTFCN_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path)
    x_train, y_train, x_test, y_test = datasets.fashion_mnist(download=False)
    assert x_train.shape == (60_000, 784)
    assert x_test.shape == (10_000, 784)
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10


@pytest.mark.parametrize(
    ("load", "folder"), [(datasets.mnist, "MNIST"), (datasets.fashion_mnist, "FashionMNIST")]
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_files_are_read_from_torchvisions_layout(empty_machine, tmp_path, load, folder, gzipped):
    files = small_files()
    stored = {f"{k}.gz": gzip.compress(v) for k, v in files.items()} if gzipped else files
    write_files(tmp_path / "root" / folder / "raw", stored)
    data = load(tmp_path / "root", download=False)
    assert isinstance(data, datasets.Dataset)
    assert data.x_train.shape == (20, 784)
    assert data.x_train.tobytes() == files[IMAGES][16:]
    assert data.y_test.tolist() == list(range(10))


def test_root_comes_before_the_environment_and_that_before_the_cache(
    empty_machine, tmp_path, monkeypatch
):
    folders = {
        "cache": empty_machine / "fastfcn" / "datasets",
        "environment": tmp_path / "environment",
        "root": tmp_path / "root",
    }
    monkeypatch.setenv("FASTFCN_DATA", str(folders["environment"]))
    for n_train, folder in enumerate(folders.values(), start=1):
        write_files(folder / "MNIST" / "raw", small_files(n_train=n_train))
        assert len(datasets.mnist(tmp_path / "root", download=False).x_train) == n_train


def test_a_folder_that_lacks_a_file_is_passed_over(empty_machine, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTFCN_DATA", str(tmp_path / "whole"))
    partly = write_files(tmp_path / "partly" / "MNIST" / "raw", small_files(n_train=1))
    (partly / LABELS).unlink()
    write_files(tmp_path / "whole" / "MNIST" / "raw", small_files(n_train=2))
    assert len(datasets.mnist(tmp_path / "partly", download=False).x_train) == 2


def test_debians_folder_serves_fashion_mnist_last(empty_machine, tmp_path):
    packed = {f"{k}.gz": gzip.compress(v) for k, v in small_files(n_train=3).items()}
    write_files(tmp_path / "usr" / "fashion-mnist", packed)
    assert len(datasets.fashion_mnist(download=False).x_train) == 3
    with pytest.raises(DatasetUnavailable):
        datasets.mnist(download=False)


def test_what_is_missing_says_where_it_was_sought_and_how_to_get_it(
    empty_machine, tmp_path, monkeypatch
):
    monkeypatch.setenv("FASTFCN_DATA", str(tmp_path / "environment"))
    partly = write_files(tmp_path / "root" / "FashionMNIST" / "raw", small_files())
    (partly / LABELS).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.fashion_mnist(tmp_path / "root", download=False)
    message = str(caught.value)
    for part in (
        f"{partly} (there without {LABELS})\n",
        str(tmp_path / "environment" / "FashionMNIST" / "raw"),
        str(empty_machine),
        str(tmp_path / "usr" / "fashion-mnist"),
        "FASTFCN_DATA=",
        "download=True",
        "dataset-fashion-mnist",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({IMAGES: idx_bytes(np.zeros((19, 28, 28)))}, "as many images as labels, got 19 and 20"),
        ({IMAGES: idx_bytes(np.zeros((20, 28, 27)))}, "784 pixels, got 756"),
        ({LABELS: idx_bytes(np.full(20, 10))}, "labels from 0 to 9, got 10"),
        ({LABELS: idx_bytes(np.zeros((20, 1, 1)))}, "must hold labels"),
        ({LABELS: b""}, "is empty"),
        (
            {IMAGES: idx_bytes(np.zeros((0, 28, 28))), LABELS: idx_bytes(np.zeros(0))},
            "at least one image",
        ),
    ],
)
def test_damaged_files_are_an_error_and_never_passed_over(
    empty_machine, tmp_path, monkeypatch, changed, message
):
    monkeypatch.setenv("FASTFCN_DATA", str(tmp_path / "whole"))
    write_files(tmp_path / "whole" / "MNIST" / "raw", small_files())
    raw = write_files(tmp_path / "bad" / "MNIST" / "raw", small_files() | changed)
    with pytest.raises(IDXError, match=message) as caught:
        datasets.mnist(tmp_path / "bad")
    assert str(raw) in str(caught.value)


def test_mnist_refuses_to_read_more_than_mnist_holds(empty_machine, tmp_path):
    huge = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (60_001, 28, 28))
    write_files(tmp_path / "MNIST" / "raw", small_files() | {IMAGES: huge})
    with pytest.raises(IDXError, match="is too large"):
        datasets.mnist(tmp_path)


def test_digits_are_whole_scaled_and_split_by_class():
    x_train, y_train, x_test, y_test = datasets.digits()
    assert x_train.shape == (1433, 64)
    assert x_test.shape == (364, 64)
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert float(min(x_train.min(), x_test.min())) == 0.0
    assert float(max(x_train.max(), x_test.max())) == 1.0
    shares = np.bincount(y_test) / np.bincount(np.concatenate([y_train, y_test]))
    assert np.all(np.abs(shares - 0.2) < 0.005)


def test_digits_come_in_the_same_split_every_time():
    for first, second in zip(datasets.digits(), datasets.digits(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_digit_is_in_both_splits():
    x_train, _, x_test, _ = datasets.digits()
    assert not {row.tobytes() for row in x_train} & {row.tobytes() for row in x_test}
