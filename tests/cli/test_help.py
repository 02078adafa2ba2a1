"""`fastfcn --help` and its kin: quick, and complete."""

import subprocess
import sys
import time

import pytest

import fastfcn
from command_line import run
from fastfcn import cli


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["--version"], *([name, "--help"] for name in cli.main.commands)],
)
def test_help_and_version_import_none_of_the_heavy_packages(words: list[str]) -> None:
    code = f"""
import sys
from fastfcn.cli import main
try:
    main({words!r})
except SystemExit as done:
    assert not done.code
print(sorted({{"numpy", "numba", "sklearn", "matplotlib", "safetensors"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_m_fastfcn_is_the_command() -> None:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fastfcn", "--version"], capture_output=True, text=True, check=True
    )
    # It takes 0.1 s; the bound only catches an import of Numba or scikit-learn on a busy machine.
    assert time.perf_counter() - started < 5.0
    assert done.stdout.strip() == f"fastfcn, version {fastfcn.__version__}"


def test_help_names_every_option() -> None:
    text = run("train", "--help").output
    for option in cli.main.commands["train"].params:
        assert option.opts[-1] in text
