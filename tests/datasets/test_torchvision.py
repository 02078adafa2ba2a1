"""Against torchvision's own code, which runs in processes of its own.

A torchvision that was built for another build of torch fails to import, for want of operators that
its data sets do not need. Declaring these first lets the data sets run; only a new process can do
so without changing what the other tests see.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fastfcn.datasets.download import TorchvisionBroken, import_torchvision

pytest.importorskip  # noqa: B018

DECLARE_OPERATORS = """
import torch
try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
"""
