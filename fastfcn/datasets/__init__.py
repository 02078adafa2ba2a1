"""Data sets to try a network on: MNIST, Fashion-MNIST and scikit-learn's digits.

Importing this package loads NumPy alone; scikit-learn, torchvision, pooch and platformdirs are
imported by the call that needs them.
"""

from fastfcn.datasets.bundled import digits
from fastfcn.datasets.dataset import Dataset, DatasetUnavailable
from fastfcn.datasets.idx import IDXError, read_images, read_labels
from fastfcn.datasets.images import fashion_mnist, mnist
from fastfcn.datasets.indexable import from_torchvision

__all__ = [
    "Dataset",
    "DatasetUnavailable",
    "IDXError",
    "digits",
    "fashion_mnist",
    "from_torchvision",
    "mnist",
    "read_images",
    "read_labels",
]
