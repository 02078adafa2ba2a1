import logging
from collections.abc import Callable

import pytest

from fastfcn import datasets
from fastfcn.datasets import Dataset, DatasetUnavailable
from fastfcn.datasets.download import Source, TorchvisionBroken
from image_files import Mirror


def without_torchvision() -> None:
    raise ImportError("No module named 'torchvision'")


@pytest.fixture
def served(mirror, empty_machine, monkeypatch) -> Callable[..., None]:
    """MNIST is to be had from the folders of a mirror, by pooch."""

    def serve(*folders: str) -> None:
        source = Source("MNIST", tuple(f"{mirror.address}/{f}/" for f in folders), mirror.md5)
        monkeypatch.setattr("fastfcn.datasets.images.MNIST", source)

    monkeypatch.setattr("fastfcn.datasets.download.import_torchvision", without_torchvision)
    serve("a")
    return serve


def assert_is_the_mirrors(data: Dataset) -> None:
    assert data.x_train.shape == (20, 784)
    assert data.y_test.tolist() == list(range(10))


def test_pooch_downloads_once_into_the_cache_and_says_nothing(
    mirror: Mirror, served, empty_machine, capfd
):
    level = logging.getLogger("pooch").level
    assert_is_the_mirrors(datasets.mnist())
    raw = empty_machine / "fastfcn" / "datasets" / "MNIST" / "raw"
    assert sorted(f.name for f in raw.iterdir()) == sorted(mirror.files)
    assert len(mirror.requested) == 4
    assert_is_the_mirrors(datasets.mnist())
    assert len(mirror.requested) == 4
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pooch").level == level


def test_downloads_go_to_root_first_and_then_to_the_environments_folder(
    served, tmp_path, empty_machine, monkeypatch
):
    monkeypatch.setenv("FASTFCN_DATA", str(tmp_path / "environment"))
    assert_is_the_mirrors(datasets.mnist(tmp_path / "root"))
    assert (tmp_path / "root" / "MNIST" / "raw").is_dir()
    assert not (tmp_path / "environment").exists()
    assert_is_the_mirrors(datasets.mnist())
    assert (tmp_path / "environment" / "MNIST" / "raw").is_dir()
    assert not empty_machine.exists()


def test_the_next_mirror_serves_when_one_is_dead_and_is_then_asked_first(mirror, served, tmp_path):
    served("dead", "b")
    assert_is_the_mirrors(datasets.mnist(tmp_path / "root"))
    assert sum(path.startswith("/dead/") for path in mirror.requested) == 1
    assert sum(path.startswith("/b/") for path in mirror.requested) == 4


def cut_short(mirror: Mirror) -> None:
    mirror.announce_more = 100


def corrupt_one(mirror: Mirror) -> None:
    mirror.alter = lambda name, content: content + b"!" if name.startswith("t10k-l") else content


def lack_one(mirror: Mirror) -> None:
    mirror.alter = lambda name, content: None if name.startswith("t10k-l") else content


@pytest.mark.parametrize("damage", [cut_short, corrupt_one, lack_one])
def test_a_download_that_fails_leaves_nothing_behind(mirror, served, tmp_path, damage):
    damage(mirror)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetUnavailable, match="no mirror gave the file") as caught:
        datasets.mnist(tmp_path / "root")
    assert mirror.address in str(caught.value)
    assert str(tmp_path / "root") in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_was_there_survives_a_download_that_fails(mirror, served, tmp_path):
    kept = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    lack_one(mirror)
    with pytest.raises(DatasetUnavailable):
        datasets.mnist(tmp_path)
    assert [f.name for f in kept.parent.iterdir()] == [kept.name]
    assert kept.read_bytes() == b"mine"


def test_a_root_that_cannot_be_a_folder_is_unavailable(served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetUnavailable, match="Downloading MNIST to .*file"):
        datasets.mnist(tmp_path / "file")


def test_nothing_is_downloaded_unless_asked_for(mirror, served, tmp_path):
    with pytest.raises(DatasetUnavailable):
        datasets.mnist(tmp_path, download=False)
    assert mirror.requested == []


def test_a_torchvision_that_does_not_import_is_named_and_pooch_takes_over(
    served, tmp_path, monkeypatch
):
    def broken() -> None:
        raise TorchvisionBroken("torchvision does not import beside this build of torch")

    monkeypatch.setattr("fastfcn.datasets.download.import_torchvision", broken)
    with pytest.warns(UserWarning, match="downloading with pooch: torchvision") as caught:
        assert_is_the_mirrors(datasets.mnist(tmp_path))
    assert caught[0].filename == __file__
