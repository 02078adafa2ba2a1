import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastfcn.datasets import from_torchvision

BLACK = np.zeros((2, 3), dtype=np.uint8)


def test_neither_torch_nor_torchvision_is_needed(monkeypatch):
    for name in ("torch", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    images, labels = from_torchvision([(BLACK, 3), (BLACK + 1, np.int8(4))])
    assert images.tolist() == [[0] * 6, [1] * 6]
    assert labels.tolist() == [3, 4]
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("container", [np.asarray, np.ndarray.tolist])
def test_stored_arrays_are_copied_whole(container):
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    images, labels = from_torchvision(
        SimpleNamespace(data=data, targets=container(np.array([5, 6])))
    )
    assert not np.shares_memory(images, data)
    np.testing.assert_array_equal(images, data.reshape(2, 12))
    assert labels.tolist() == [5, 6]
    assert labels.dtype == np.int64


def test_tensors_are_taken(requires_torch):
    torch: Any = requires_torch
    data = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
    images, labels = from_torchvision(SimpleNamespace(data=data, targets=torch.tensor([1, 0])))
    np.testing.assert_array_equal(images, np.arange(12).reshape(2, 6))
    pairs = [(image.float().div(255).requires_grad_(), torch.tensor(1)) for image in data]
    np.testing.assert_array_equal(from_torchvision(pairs)[0], images)
    assert labels.tolist() == [1, 0]


def test_every_byte_survives_the_way_through_a_float():
    levels = np.arange(256, dtype=np.uint8)
    for dtype in (np.float32, np.float64):
        images, _ = from_torchvision([(levels.astype(dtype) / dtype(255), 0)])
        np.testing.assert_array_equal(images[0], levels)


@pytest.mark.parametrize(
    ("image", "expected"),
    [(np.array([[True, False]]), [255, 0]), (np.array([[0, 255]], dtype=np.int32), [0, 255])],
)
def test_other_types_become_bytes_without_loss(image, expected):
    assert from_torchvision([(image, 0)])[0].tolist() == [expected]


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        ([], ValueError, "at least one image"),
        ([(BLACK, 0), (BLACK.T, 0)], ValueError, r"dataset\[1\] has \(3, 2\)"),
        ([(BLACK - 0.5, 0)], ValueError, r"within \[0, 1\], got -0.5"),
        ([(BLACK + np.nan, 0)], ValueError, r"within \[0, 1\], got nan"),
        ([(BLACK.astype(int) + 256, 0)], ValueError, "from 0 to 255, got 256"),
        ([(BLACK.astype(complex), 0)], TypeError, "dtype complex128"),
        ([(BLACK, 0.5)], TypeError, "must be one integer, got 0.5"),
        ([(BLACK, [1, 2])], TypeError, "must be one integer"),
        ([BLACK], TypeError, r"dataset\[0\] must be a pair"),
        (iter([(BLACK, 0)]), TypeError, "pass list"),
        (SimpleNamespace(data=np.stack([BLACK]), targets=[1, 2]), ValueError, "got 1 and 2"),
        (SimpleNamespace(data=np.stack([BLACK]), targets=[0.5]), TypeError, "got float64"),
        (SimpleNamespace(data=BLACK[:0], targets=[]), ValueError, "at least one image"),
    ],
)
def test_what_is_not_images_with_labels_is_refused(dataset, error, message):
    with pytest.raises(error, match=message):
        from_torchvision(dataset)
