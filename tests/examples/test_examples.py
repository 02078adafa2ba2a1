"""The scripts in examples/: each runs by itself, and prints what it says it prints."""

import ast
import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastfcn.datasets import Dataset

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Of each script, a line of its output and the least that its number must be.
RESULTS = {
    "dropout_batchnorm.py": (r"normalised.* test accuracy (\S+)", 0.93),
    "grid_search.py": (r"test accuracy (\S+)", 0.92),
    "learning_rate.py": (r"one cycle +test accuracy (\S+),", 0.94),
    "mnist.py": (r"test accuracy (\S+)", 0.92),
    "regression.py": (r"HuberLoss +R² (\S+)", 0.9),
    "save_and_load.py": (r"(True)", 1),
    "sparse_text.py": (r"epoch 5  test accuracy (\S+)", 0.85),
    "step_by_step.py": (r"test accuracy (\S+)", 0.92),
    "torch_dataloader.py": (r"test accuracy (\S+)", 0.9),
    "using_callbacks.py": (r"the best weights, loaded: .* accuracy (\S+)", 0.95),
}


def output_of(script: str, folder: Path, *options: str) -> str:
    """Run a script in an empty folder, every warning an error; its standard output."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    cache = os.environ.get("FASTFCN_CACHE_DIR")
    if cache:
        environment["FASTFCN_CACHE_DIR"] = os.path.abspath(cache)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script), *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_result(script: str, output: str, least: float | None = None) -> None:
    pattern, usual = RESULTS[script]
    found = re.search(pattern, output)
    assert found, output
    number = 1.0 if found[1] == "True" else float(found[1])
    assert number >= (usual if least is None else least), output


def documented(script: str) -> str:
    """What a script's docstring says it prints."""
    text = ast.get_docstring(ast.parse((EXAMPLES / script).read_text(encoding="utf-8")))
    assert text is not None
    _, found, shown = text.partition("\nOutput::\n\n")
    assert found, f"{script} must say at its end what it prints, under Output::"
    return shown


def without_numbers(text: str) -> str:
    """A text whose numbers all look the same: they differ from machine to machine."""
    return re.sub(r"\d[\d,.]*\d|\d", "N", text) + "\n"


def check_documented(script: str, output: str) -> None:
    expected, got = without_numbers(documented(script)), without_numbers(output)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.OutputChecker().check_output(expected, got, options), f"{expected}\n\n{got}"


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_prints_what_it_says(script: str, tmp_path: Path) -> None:
    options = ["--quick"] if script == "mnist.py" else []
    output = output_of(script, tmp_path, *options)
    if script == "torch_dataloader.py" and importlib.util.find_spec("torch") is None:
        assert output.startswith("skipped: PyTorch is not installed")
        return
    check_result(script, output)
    check_documented(script, output)


def test_mnist_reaches_97_per_cent(mnist_data: Dataset, tmp_path: Path) -> None:
    output = output_of("mnist.py", tmp_path)
    check_result("mnist.py", output, 0.97)
    assert (tmp_path / "runs" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "runs" / "misclassified.png").read_bytes().startswith(b"\x89PNG")


def test_without_pytorch_the_loaders_example_says_so_and_succeeds(tmp_path: Path) -> None:
    (tmp_path / "hidden" / "torch").mkdir(parents=True)
    (tmp_path / "hidden" / "torch" / "__init__.py").write_text("raise ImportError('hidden')\n")
    program = (
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path / 'hidden')!r})\n"
        f"runpy.run_path({str(EXAMPLES / 'torch_dataloader.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "skipped: PyTorch is not installed (pip install torch)\n"
