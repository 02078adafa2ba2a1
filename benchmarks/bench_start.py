"""The first second: importing fastfcn, and a process's first fit."""

import os
import shutil
import subprocess
import sys
import tempfile

FIRST_FIT = """
import numpy as np
import fastfcn as ff
from fastfcn import losses, nn, optim

rng = np.random.default_rng(0)
net = nn.Sequential(nn.Linear(784, 32, rng=rng), nn.ReLU(), nn.Linear(32, 10, rng=rng))
x, y = rng.integers(0, 256, (256, 784), dtype=np.uint8), rng.integers(0, 10, 256)
ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), scale=1 / 255, seed=0,
       optimizer=optim.SGD(net.parameters(), lr=0.02, momentum=0.9), batch_size=128)
"""


class Import:
    """``import`` in a fresh interpreter, files in the system's cache; NumPy and Numba beside it."""

    timeout = 120

    def timeraw_import_fastfcn(self) -> str:
        return "import fastfcn"

    def timeraw_import_fastfcn_nn(self) -> str:
        return "from fastfcn import nn, losses, optim"

    def timeraw_import_numpy(self) -> str:
        return "import numpy"

    def timeraw_import_numba(self) -> str:
        return "import numba"


class FirstFit:
    """A process that starts, trains 256 rows and ends; kernels compiled, or found on disk."""

    params = (["cold", "warm"],)
    param_names = ("kernels",)
    number = 1
    repeat = 2
    warmup_time = 0
    rounds = 1
    min_run_count = 1
    timeout = 600

    def setup(self, kernels: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="fastfcn-bench-")
        if kernels == "warm":
            self.time_process(kernels)

    def time_process(self, kernels: str) -> None:
        environment = {**os.environ, "FASTFCN_CACHE_DIR": self.folder}
        subprocess.run([sys.executable, "-c", FIRST_FIT], env=environment, check=True)

    def teardown(self, kernels: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
