"""Against torchvision's own code, which runs in processes of its own.

A torchvision built for another build of torch does not import, for want of compiled operators that
its data sets never call. Declaring these lets the data sets run; a process of its own keeps that
from the other tests.
"""

import hashlib
import importlib.util
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from image_files import Mirror, small_files, write_files

IMPORT_TORCHVISION = """
import sys
import torch
try:
    import torchvision.datasets
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision.datasets
import numpy as np
from torchvision import transforms
from fastfcn import datasets

def assert_same(pair, other):
    for ours, theirs, dtype in zip(pair, other, (np.uint8, np.int64), strict=True):
        assert type(ours) is np.ndarray and ours.dtype == dtype, (type(ours), ours.dtype)
        np.testing.assert_array_equal(ours, theirs)

"""


def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture
def run_with_torchvision(requires_torch):
    if importlib.util.find_spec("torchvision") is None:
        if os.environ.get("FASTFCN_REQUIRE_TORCH") == "1":
            pytest.fail("torchvision is not installed (FASTFCN_REQUIRE_TORCH=1)")
        pytest.skip("torchvision is not installed")

    def run_after_import(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return run(IMPORT_TORCHVISION + textwrap.dedent(code), *arguments)

    return run_after_import


COMPARE_MNIST = """
root = sys.argv[1]
x_train, y_train, x_test, y_test = datasets.mnist(root, download=False)
for train, ours in ((True, (x_train, y_train)), (False, (x_test, y_test))):
    theirs = torchvision.datasets.MNIST(root, train=train, download=False)
    assert_same(ours, (theirs.data.numpy().reshape(len(theirs), 784), theirs.targets.numpy()))
    assert_same(datasets.from_torchvision(theirs), ours)
"""


def test_torchvision_reads_the_same_mnist(run_with_torchvision, mnist_data):
    root = os.environ.get("FASTFCN_DATA", "")
    if not Path(root, "MNIST", "raw", "train-images-idx3-ubyte").is_file():
        pytest.skip("torchvision reads unpacked files only, and FASTFCN_DATA has none")
    run_with_torchvision(COMPARE_MNIST, root)


def test_torchvision_reads_the_same_small_files(run_with_torchvision, tmp_path):
    write_files(tmp_path / "MNIST" / "raw", small_files())
    run_with_torchvision(COMPARE_MNIST, tmp_path)


def test_transforms_and_subsets_of_mnist_are_taken_as_they_come(run_with_torchvision, tmp_path):
    write_files(tmp_path / "MNIST" / "raw", small_files())
    run_with_torchvision(
        """
        root = sys.argv[1]
        MNIST = torchvision.datasets.MNIST
        x, y, _, _ = datasets.mnist(root, download=False)
        assert_same(datasets.from_torchvision(MNIST(root, transform=transforms.ToTensor())), (x, y))
        assert_same(datasets.from_torchvision(MNIST(root, target_transform=lambda k: 9 - k)),
                    (x, 9 - y))
        assert_same(datasets.from_torchvision(torch.utils.data.Subset(MNIST(root), [4, 2])),
                    (x[[4, 2]], y[[4, 2]]))
        cropped = x.reshape(-1, 28, 28)[:, 4:24, 4:24].reshape(-1, 400)
        assert_same(datasets.from_torchvision(MNIST(root, transform=transforms.CenterCrop(20))),
                    (cropped, y))
        normalised = MNIST(root, transform=transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(0.13, 0.31)]))
        try:
            datasets.from_torchvision(normalised)
        except ValueError as error:
            assert "within [0, 1]" in str(error) and "scale and shift of fit" in str(error), error
        else:
            raise AssertionError("normalised images were taken for bytes")
        """,
        tmp_path,
    )


def test_cifar_is_rows_of_its_images(run_with_torchvision, tmp_path):
    rng = np.random.default_rng(0)
    batch = {"data": rng.integers(0, 256, (6, 3072), dtype=np.uint8), "labels": [3, 1, 4, 1, 5, 9]}
    (tmp_path / "cifar").mkdir()
    digests = []
    for name, content in (("batch", batch), ("meta", {"label_names": list("abcdefghij")})):
        packed = pickle.dumps(content)
        (tmp_path / "cifar" / name).write_bytes(packed)
        digests.append(hashlib.md5(packed).hexdigest())
    run_with_torchvision(
        """
        root, batch_md5, meta_md5 = sys.argv[1:]
        class SmallCIFAR(torchvision.datasets.CIFAR10):
            base_folder = "cifar"
            train_list = [["batch", batch_md5]]
            test_list = []
            meta = {"filename": "meta", "key": "label_names", "md5": meta_md5}
        cifar = SmallCIFAR(root)
        one_by_one = np.stack([np.asarray(image).ravel() for image, _ in cifar])
        assert one_by_one.shape == (6, 3072)
        assert_same(datasets.from_torchvision(cifar), (one_by_one, [3, 1, 4, 1, 5, 9]))
        tensors = np.stack([np.asarray(image).transpose(2, 0, 1).ravel() for image, _ in cifar])
        assert_same(datasets.from_torchvision(SmallCIFAR(root, transform=transforms.ToTensor())),
                    (tensors, cifar.targets))
        """,
        tmp_path,
        *digests,
    )


def test_data_sets_that_only_index_are_read_image_by_image(run_with_torchvision, tmp_path):
    run_with_torchvision(
        """
        import os
        from PIL import Image
        root = sys.argv[1]
        fake = torchvision.datasets.FakeData(5, (3, 6, 4), num_classes=10)
        images = np.stack([np.asarray(image).ravel() for image, _ in fake])
        assert_same(datasets.from_torchvision(fake), (images, [int(label) for _, label in fake]))

        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
        for name, image in zip("ab", pixels):
            os.makedirs(f"{root}/{name}")
            Image.fromarray(image).save(f"{root}/{name}/image.png")
        folder = torchvision.datasets.ImageFolder(root)
        assert_same(datasets.from_torchvision(folder), (pixels.reshape(2, 60), [0, 1]))
        """,
        tmp_path,
    )


DOWNLOAD = """
from pathlib import Path
import platformdirs
from fastfcn.datasets.download import Source
from fastfcn.datasets import images
platformdirs.user_cache_path = lambda name: Path("/nowhere", name)
root, mirrors, files = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
torchvision.datasets.MNIST.mirrors = mirrors
torchvision.datasets.MNIST.resources = [(f"{name}.gz", md5) for name, md5 in files.items()]
images.MNIST = Source("MNIST", tuple(mirrors), files)
"""


def test_torchvision_downloads_where_it_imports(
    run_with_torchvision, mirror: Mirror, empty_machine, tmp_path
):
    mirrors = [f"{mirror.address}/dead/", f"{mirror.address}/b/"]
    code = """
    import torchvision.datasets.mnist
    calls = []
    fetch = torchvision.datasets.mnist.download_and_extract_archive
    torchvision.datasets.mnist.download_and_extract_archive = (
        lambda *args, **kwargs: (calls.append(args), fetch(*args, **kwargs)))
    assert datasets.mnist(root).x_train.shape == (20, 784)
    assert len(calls) == 8
    """
    finished = run_with_torchvision(
        DOWNLOAD + textwrap.dedent(code), tmp_path / "root", mirrors, mirror.md5
    )
    assert (finished.stdout, finished.stderr) == ("", "")
    raw = tmp_path / "root" / "MNIST" / "raw"
    assert sorted(file.name for file in raw.iterdir()) == sorted(mirror.md5)
    assert [path.name for path in (tmp_path / "root").rglob(".*")] == []


def test_a_download_by_torchvision_that_fails_leaves_nothing_behind(
    run_with_torchvision, mirror: Mirror, empty_machine, tmp_path
):
    mirror.alter = lambda name, content: content + b"!" if name.startswith("t10k-l") else content
    code = """
    try:
        datasets.mnist(root)
    except datasets.DatasetUnavailable as error:
        assert "t10k-labels-idx1-ubyte" in str(error), error
    else:
        raise AssertionError("a corrupt file was taken")
    """
    run_with_torchvision(
        DOWNLOAD + textwrap.dedent(code), tmp_path / "root", [f"{mirror.address}/a/"], mirror.md5
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "raised"),
    [
        ("operator torchvision::nms does not exist", "TorchvisionBroken"),
        ("something else", "RuntimeError"),
    ],
)
def test_only_the_missing_operators_are_explained(tmp_path, message, raised):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise RuntimeError({message!r})")
    finished = run(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        from fastfcn.datasets.download import import_torchvision
        try:
            import_torchvision()
        except Exception as error:
            print(type(error).__name__, isinstance(error, ImportError), error, sep="|")
        """,
        tmp_path,
    )
    name, is_import_error, text = finished.stdout.split("|")
    assert name == raised
    assert message in text
    assert is_import_error == str(raised == "TorchvisionBroken")
    if raised == "TorchvisionBroken":
        assert "matching CPU builds of torch and torchvision" in text
        assert "pip uninstall torchvision" in text
