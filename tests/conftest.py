"""What the tests need from outside the package, and whether they may do without it.

``FASTFCN_REQUIRE_TORCH=1``, ``FASTFCN_REQUIRE_MNIST=1`` and ``FASTFCN_REQUIRE_DASHBOARD=1`` make a
test fail instead of being skipped that lacks PyTorch, the MNIST files, or one of asv, Chromium and
the npm registry.
"""

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest

from fastfcn.datasets import Dataset, DatasetUnavailable, mnist


def skip_or_fail(reason: str, variable: str) -> NoReturn:
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def requires_torch() -> ModuleType:
    """The module torch."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        skip_or_fail(f"PyTorch is not installed: {error}", "FASTFCN_REQUIRE_TORCH")


@pytest.fixture(scope="session")
def mnist_data() -> Dataset:
    """MNIST from FASTFCN_DATA or the user's cache; never downloaded by the tests."""
    try:
        return mnist(download=False)
    except DatasetUnavailable as error:
        skip_or_fail(str(error), "FASTFCN_REQUIRE_MNIST")
