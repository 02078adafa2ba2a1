"""Data sets: MNIST, Fashion-MNIST and scikit-learn's digits; tables and images from files.

Importing this package loads NumPy alone; scikit-learn, torchvision, pooch and platformdirs are
imported by the call that needs them.
"""

from fastfcn.datasets.bundled import digits
from fastfcn.datasets.dataset import Dataset, DatasetUnavailable
from fastfcn.datasets.idx import IDXError, read_images, read_labels
from fastfcn.datasets.image_folder import Images, image_folder
from fastfcn.datasets.images import fashion_mnist, mnist
from fastfcn.datasets.indexable import from_torchvision
from fastfcn.datasets.tables import Table, TableError, read_table

__all__ = [
    "Dataset",
    "DatasetUnavailable",
    "IDXError",
    "Images",
    "Table",
    "TableError",
    "digits",
    "fashion_mnist",
    "from_torchvision",
    "image_folder",
    "mnist",
    "read_images",
    "read_labels",
    "read_table",
]
