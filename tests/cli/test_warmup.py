"""`fastfcn warmup` and `ff.warmup`: everything compiled ahead, and kept."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

import fastfcn as ff
from fastfcn import cli, precompile
from fastfcn_kernels import compilation

USES = """
import itertools
import numpy as np
import fastfcn as ff
from fastfcn import losses, nn, optim

rng = np.random.default_rng(0)


def read_only(array):
    array.flags.writeable = False
    return array


labels = np.arange(12) % 3
inputs = [
    rng.integers(0, 256, (12, 4), np.uint8),
    rng.random((12, 4), np.float32),
    rng.random((12, 4)),
    rng.integers(-3, 3, (12, 4)),
    read_only(rng.random((12, 4), np.float32)),
    np.asfortranarray(rng.random((12, 4))),
    rng.random((24, 8), np.float32)[::2, ::2],
]
classes = [labels, labels.astype(np.uint8), read_only(labels.copy()), np.repeat(labels, 2)[::2]]
reals = [
    rng.random((12, 3), np.float32),
    rng.random((12, 3)),
    read_only(rng.random((12, 3), np.float32)),
    read_only(rng.random((12, 3))),
    np.asfortranarray(rng.random((12, 3))),
]
wholes = [
    losses.CrossEntropyLoss(weight=[1, 2, 3], label_smoothing=0.1),
    losses.CrossEntropyLoss(ignore_index=1, reduction="sum"),
]
parts = [losses.MSELoss(), losses.BCEWithLogitsLoss(reduction="sum")]

for dtype in (np.float32, np.float64):
    net = nn.Sequential(nn.Linear(4, 5, dtype=dtype), nn.GELU(), nn.Linear(5, 3, dtype=dtype))
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    pairs = [*itertools.product(wholes, classes), *itertools.product(parts, reals)]
    for x, (loss, y), count in itertools.product(inputs, pairs, (None, 1, 2)):
        ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=5, n_threads=count,
               validation_data=(x, y), scale=1e-3, shift=0.5, seed=0)
    for x in inputs:
        ff.predict(net, x)
        ff.predict_proba(net, x, n_threads=2)
        ff.evaluate(net, x, labels, loss=wholes[0])
        for loss, y in pairs:
            out = net(x)
            loss(read_only(out.copy()), y)
            net.backward(loss.grad(out, y), input_gradient=False)
            net.backward(loss.grad(out, y))
            sgd.step()
            sgd.zero_grad()
    for make in (optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.LBFGS):
        for options in ({}, {"amsgrad": True} if make is optim.Adam else {}):
            other = make(net.parameters(), **options)
            ff.fit(net, inputs[2], labels, loss=wholes[0], optimizer=other, batch_size=5)
    for layer in (nn.Linear(4, 2, bias=False, dtype=dtype), nn.Softmax(), nn.ELU()):
        out = layer(inputs[2].astype(dtype))
        layer.backward(np.ones_like(out))
"""


class Warm(NamedTuple):
    """A folder that `fastfcn warmup` filled, and what it said."""

    folder: Path
    output: str


def process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"FASTFCN_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, with its size and when it was written."""
    found = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    folder = tmp_path_factory.mktemp("kernels")
    return Warm(folder, process(folder, "-m", "fastfcn", "warmup").stdout)


@pytest.mark.slow
def test_after_a_warmup_whatever_users_do_compiles_nothing(warm: Warm) -> None:
    before = state(warm.folder)
    assert before
    process(warm.folder, "-c", USES)
    assert state(warm.folder) == before


@pytest.mark.slow
def test_it_says_what_it_compiles_how_long_and_where_that_is_kept(warm: Warm) -> None:
    lines = warm.output.splitlines()
    (folder,) = warm.folder.iterdir()
    assert str(folder) in lines[0]
    steps = precompile.steps()
    assert len(lines) == len(steps) + 2
    for line, step in zip(lines[1:-1], steps, strict=True):
        assert line.startswith(f"  {step.dtype}  {step.name}")
        assert line.endswith(" s  compiled")
    assert "Later processes load them from there." in lines[-1]


@pytest.mark.slow
def test_a_second_warmup_loads_everything(warm: Warm) -> None:
    before = state(warm.folder)
    again = process(warm.folder, "-m", "fastfcn", "warmup").stdout
    assert " compiled\n" not in again
    assert "Nothing to compile" in again
    assert state(warm.folder) == before


def test_a_warmup_leaves_out_no_entry_kernel() -> None:
    code = """
import fastfcn as ff
from fastfcn_kernels.compilation import compiled, natives
ff.warmup("float32")
functions = [kernel.py_func for kernel in compiled if not kernel.signatures]
left = [f.__name__ for f in functions if f.__module__ != "fastfcn_kernels.roofline"]
print(left + [kernel.name for kernel in natives if not kernel.precisions])
"""
    # In a process of its own, where nothing else has compiled anything.
    assert process(compilation.cache_root(), "-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("folder", ["/proc/no-such-folder", os.devnull])
def test_where_nothing_can_be_kept_it_fails_and_tells_the_way_out(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFCN_CACHE_DIR", folder)
    result = CliRunner().invoke(cli.main, ["warmup"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert folder in result.stderr
    assert "set FASTFCN_CACHE_DIR to a folder that can be written" in result.stderr
    with pytest.raises(OSError, match="FASTFCN_CACHE_DIR"):
        ff.warmup()


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        ff.warmup("float16")
    assert CliRunner().invoke(cli.main, ["warmup", "--dtype", "float16"]).exit_code == 2
