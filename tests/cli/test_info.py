"""`fastfcn info`: of a run, and of the machine."""

import json
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfcn
from command_line import done, flowers, run
from fastfcn import nn
from fastfcn_kernels.simd import VECTOR_BYTES


def test_without_a_run_it_tells_versions_vectors_threads_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFCN_CACHE_DIR", str(tmp_path / "kernels"))
    found = json.loads(done("info", "--json").stdout)
    assert found["fastfcn"] == fastfcn.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["numba"] == numba.__version__
    assert found["vectors"] == f"{8 * VECTOR_BYTES} bits"
    assert found["threads"] == numba.config.NUMBA_NUM_THREADS
    assert Path(found["kernels"]).is_relative_to(tmp_path)
    assert found["kernels_compiled"] == "0.0 MB"
    assert not (tmp_path / "kernels").exists()
    text = done("info").stdout
    assert all(name.replace("_", " ") in text for name in found)


def test_of_a_run_it_tells_layers_data_and_results() -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", "--layers", "8", "--epochs", "2",
         "--batch-size", "8", "--activation", "tanh", "--output", "out")  # fmt: skip
    found = json.loads(done("info", "out", "--json").stdout)
    assert found["sizes"] == "3-8-3"
    assert found["parameters"] == 4 * 8 + 9 * 3
    assert found["classes"] == ["iris", "rose", "tulip"]
    assert found["features"] == ["id", "length", "width"]
    assert found["epochs"] == "2 of 2"
    assert found["trained_on"].endswith("f.csv")
    assert 0 <= found["validation_accuracy"] <= 1
    text = done("info", "out").stdout
    assert "Tanh()" in text
    assert "each feature standardised" in text


def test_a_model_file_alone_is_described() -> None:
    fastfcn.save("m.safetensors", nn.Sequential(nn.Linear(4, 2)), scale=0.5)
    text = done("info", "m.safetensors").stdout
    assert "x * 0.5 + 0" in text
    assert "not said" in text


def test_what_is_no_run_is_refused() -> None:
    result = run("info", "nowhere")
    assert result.exit_code == 1
    assert "nowhere must be a safetensors file, and there is none" in result.stderr
