"""Folders of images: order, sizes, colours, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from fastfcn.datasets.image_folder import image_folder

PIL = pytest.importorskip("PIL.Image")


def saved(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.fromarray(pixels).save(path)


def grey(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def test_each_subfolder_is_a_class_and_pixels_are_those_of_the_files(tmp_path):
    pictures = {
        "cat/1.png": grey(2, 3),
        "cat/deep/2.png": grey(2, 3, 1),
        "dog/0.png": grey(2, 3, 2),
    }
    for name, pixels in pictures.items():
        saved(tmp_path / name, pixels)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    images = image_folder(tmp_path)
    assert images.y.tolist() == ["cat", "cat", "dog"]
    assert [str(file.relative_to(tmp_path)) for file in images.files] == list(pictures)
    assert (images.size, images.mode, images.x.dtype) == ((2, 3), "L", np.uint8)
    np.testing.assert_array_equal(images.x, [p.reshape(-1) for p in pictures.values()])


def test_a_folder_of_images_and_one_image_have_no_classes(tmp_path):
    saved(tmp_path / "b.png", grey(2, 2))
    saved(tmp_path / "a.png", grey(2, 2, 1))
    images = image_folder(tmp_path)
    assert (images.y, [file.name for file in images.files]) == (None, ["a.png", "b.png"])
    assert image_folder(tmp_path / "a.png").x.shape == (1, 4)


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    saved(tmp_path / "a.png", grey(2, 2))
    saved(tmp_path / "b.png", np.dstack([grey(2, 2, i) for i in range(3)]))
    images = image_folder(tmp_path)
    assert (images.mode, images.x.shape) == ("RGB", (2, 12))
    np.testing.assert_array_equal(images.x[0], np.repeat(grey(2, 2).reshape(-1), 3))
    assert image_folder(tmp_path, mode="L").x.shape == (2, 4)


def test_images_of_different_sizes_need_one_to_be_resized_to(tmp_path):
    saved(tmp_path / "a.png", grey(2, 2))
    saved(tmp_path / "b.png", np.full((6, 4), 7, np.uint8))
    with pytest.raises(ValueError, match=r"a\.png has 2 x 2, .*b\.png has 6 x 4; choose a size"):
        image_folder(tmp_path)
    images = image_folder(tmp_path, size=(3, 2))
    assert images.size == (3, 2)
    np.testing.assert_array_equal(images.x[1], np.full(6, 7))


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none must be a folder of images"):
        image_folder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="in a subfolder a class to train on, got none"):
        image_folder(tmp_path)
    saved(tmp_path / "a" / "1.png", grey(2, 2))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"2\.png must be a whole image"):
        image_folder(tmp_path)
    (tmp_path / "a" / "2.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"2\.png must be a whole image"):
        image_folder(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    saved(tmp_path / "stray.png", grey(2, 2))
    with pytest.raises(ValueError, match=r"got both: stray\.png and a"):
        image_folder(tmp_path)


def test_images_of_sixteen_bits_are_refused(tmp_path):
    PIL.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="must have 8 bits a channel, got mode I;16"):
        image_folder(tmp_path)
