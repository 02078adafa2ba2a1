"""Turn a torchvision data set, or anything indexed like one, into a pair of arrays.

Works on the object it is given: neither torch nor torchvision is imported.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def from_torchvision(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Convert an image data set of torchvision to arrays that ``fit`` takes.

    Parameters
    ----------
    dataset : torchvision data set, or any sequence of (image, label)
        Images may be PIL images, tensors or arrays, all of one shape. Values must be bytes, or
        floats within [0, 1] as ``ToTensor`` makes them, which are brought back to bytes. Labels
        must be integers. What the data set's transforms give is what is taken: normalise with the
        ``scale`` and ``shift`` of ``fit``, not with a transform.

    Returns
    -------
    images : (n, features) uint8 ndarray
        Each image flattened in its own order (PIL images: rows, columns, channels; ``ToTensor``:
        channels first).
    labels : (n,) int64 ndarray

    Notes
    -----
    MNIST, CIFAR and their kin keep all images in one array. Without transforms it is copied as
    it is; every other data set is read image by image.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import datasets
    >>> pairs = [(np.zeros((2, 2), dtype=np.uint8), 3), (np.full((2, 2), 255, dtype=np.uint8), 1)]
    >>> images, labels = datasets.from_torchvision(pairs)
    >>> images
    array([[  0,   0,   0,   0],
           [255, 255, 255, 255]], dtype=uint8)
    >>> labels
    array([3, 1])
    """
    stored = _stored_arrays(dataset)
    if stored is not None:
        return stored
    try:
        n = len(dataset)
    except TypeError as error:
        raise TypeError(
            "dataset must have a length and be indexed by position, as torchvision's data sets "
            f"are, got {type(dataset).__name__}; pass list(dataset) for an iterable"
        ) from error
    if n == 0:
        raise ValueError("dataset must hold at least one image, got none")

    images = np.empty((0, 0), dtype=np.uint8)
    labels = np.empty(n, dtype=np.int64)
    first_shape: tuple[int, ...] = ()
    for index in range(n):
        item = dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(
                f"dataset[{index}] must be a pair (image, label), got {type(item).__name__}"
            )
        image = _bytes(_array(item[0]), f"the image of dataset[{index}]")
        if index == 0:
            first_shape = image.shape
            images = np.empty((n, image.size), dtype=np.uint8)
        elif image.shape != first_shape:
            raise ValueError(
                f"images must all have one shape: dataset[0] has {first_shape}, dataset[{index}] "
                f"has {image.shape}; give the data set a transform that resizes them"
            )
        images[index] = image.reshape(-1)
        labels[index] = _label(item[1], index)
    return images, labels


def _stored_arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    """Copy ``dataset.data`` and ``dataset.targets`` where they are what indexing would give."""
    data, targets = getattr(dataset, "data", None), getattr(dataset, "targets", None)
    transforms = ("transform", "target_transform", "transforms")
    if data is None or targets is None or any(getattr(dataset, t, None) for t in transforms):
        return None
    images, labels = _array(data), _array(targets)
    if images.dtype != np.uint8 or images.ndim < 2 or labels.ndim != 1:
        return None
    if len(images) != len(labels):
        raise ValueError(
            "dataset.data and dataset.targets must be of one length, "
            f"got {len(images)} and {len(labels)}"
        )
    if len(labels) == 0:
        raise ValueError("dataset must hold at least one image, got none")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"dataset.targets must be integers, got {labels.dtype}")
    # Both are copied: training must not see later writes to the data set's own arrays.
    return images.reshape(len(images), -1).copy(), labels.astype(np.int64)


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, which may sit on a device or require a gradient
        values = values.detach().cpu()
    elif getattr(values, "mode", None) == "P":  # a PIL image whose pixels index a palette
        values = values.convert("RGB")
    return np.asarray(values)


def _bytes(values: NDArray[Any], what: str) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind in "iu":
        if values.size and (values.min() < 0 or values.max() > 255):
            raise ValueError(
                f"{what} must have values from 0 to 255, got {values.min()} to {values.max()}"
            )
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        # NaN fails the comparison, too.
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(
                f"{what} must have floats within [0, 1], got {values.min()} to {values.max()}; "
                "leave normalising to the scale and shift of fit"
            )
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    raise TypeError(f"{what} must hold bytes or floats within [0, 1], got dtype {values.dtype}")


def _label(label: Any, index: int) -> int:
    value = _array(label)
    if value.ndim != 0 or value.dtype.kind not in "iu":
        raise TypeError(f"the label of dataset[{index}] must be one integer, got {label!r}")
    return int(value)
