"""Peak memory: what a process needs in all, its data included."""

import numpy as np

from .inputs import SOURCE, fit, load, network


class Memory:
    """Peak resident memory of a process that loads 60,000 images and does one thing with them.

    ``peakmem_data`` is the process without training; what ``peakmem_fit`` shows above it is the
    price of an epoch: no float copy of uint8 images may appear there (188 MB).
    """

    params = ([SOURCE], ["uint8", "float32"])
    param_names = ("data", "input")

    def setup(self, data: str, dtype: str) -> None:
        images, self.y, _, _ = load()
        self.scale = 1 / 255 if dtype == "uint8" else 1.0
        if dtype == "uint8":
            self.x = images
        else:  # divided in place, so that the peak is not this line's
            self.x = images.astype(np.float32)
            self.x /= 255

    def peakmem_data(self, data: str, dtype: str) -> None:
        network()

    def peakmem_fit(self, data: str, dtype: str) -> None:
        fit(network(), self.x, self.y, scale=self.scale)
