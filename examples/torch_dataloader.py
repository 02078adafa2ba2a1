"""Train from a PyTorch DataLoader, with its own transformations and sampling.

    python examples/torch_dataloader.py      # pip install torch

Whatever yields batches will do: ``fit(net, loader, ...)`` without ``y``. Arrays that fit into
memory train faster than a loader over them, so use one for what arrays cannot do, as the noise
that is drawn anew here.

Output::

    training samples per second: 53,459
    test accuracy 0.956
"""

import sys

import numpy as np

import fastfcn as ff
from fastfcn import datasets, losses, nn, optim


def main() -> None:
    """Train from a loader."""
    try:
        import torch
        from torch.utils.data import DataLoader, Dataset
    except ImportError:
        print("skipped: PyTorch is not installed (pip install torch)")
        sys.exit()

    class NoisyDigits(Dataset):
        """The digits, with noise that differs each time."""

        def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
            self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> tuple:
            image = self.images[index].reshape(1, 8, 8)
            return image + 0.2 * torch.randn_like(image), self.labels[index]

    torch.manual_seed(0)
    x, y, x_test, y_test = datasets.digits()
    loader = DataLoader(NoisyDigits(x, y), batch_size=64, shuffle=True)

    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Flatten(),  # (n, 1, 8, 8) to (n, 64)
        nn.Linear(64, 128, rng=rng),
        nn.ReLU(),
        nn.Linear(128, 10, rng=rng),
    )
    history = ff.fit(
        net,
        loader,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.Adam(net.parameters(), lr=0.003),
        epochs=10,
        validation_data=(x_test.reshape(-1, 1, 8, 8), y_test),
    )
    print(f"training samples per second: {history.samples_per_second[-1]:,.0f}")
    print(f"test accuracy {history.val_accuracy[-1]:.3f}")


if __name__ == "__main__":
    main()
