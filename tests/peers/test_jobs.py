"""How jobs are started and ordered, and what they find, on few synthetic images."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import job, libraries, problem
from benchmarks.peers.libraries import PEERS

QUICK = job.Job("numpy", "train", "synthetic", 512, 1, epochs=1, steps=10, seconds=0.01)


def test_peers_take_turns_and_rounds_begin_with_another() -> None:
    pairs = [("train", "a"), ("train", "b"), ("tiny", "a"), ("train", "c")]
    done: list[tuple[str, str]] = []

    def do(task: str, peer: str) -> dict[str, Any]:
        done.append((task, peer))
        return {"seconds": [1.0]}

    results = job.rounds(pairs, 2, do, lambda *_: None)
    assert [peer for task, peer in done if task == "train"] == list("abcbca")
    assert all(len(found) == 2 for found in results.values())


def test_what_is_absent_is_not_tried_again() -> None:
    results = job.rounds([("train", "a")], 3, lambda *_: {"absent": "no a"}, lambda *_: None)
    assert results == {("train", "a"): [{"absent": "no a"}]}


def test_a_process_gets_the_compared_threads_and_nothing_of_the_shells_choices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for peer, blas in (("numpy", "3"), ("scikit-learn", "3"), ("fastfcn", "1")):
        environment = job.environment(peer, 3)
        assert "OPENBLAS_CORETYPE" not in environment
        assert environment["OPENBLAS_NUM_THREADS"] == blas
        assert environment["OMP_NUM_THREADS"] == environment["NUMBA_NUM_THREADS"] == "3"


def test_a_library_that_is_not_installed_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A module of that name which cannot be found from within, as an installation lacks it.
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError('onnx', name='onnx')")
    (tmp_path / "onnxruntime.py").write_text("")
    environment = job.environment

    def without(peer: str, threads: int) -> dict[str, str]:
        made = environment(peer, threads)
        return made | {"PYTHONPATH": os.pathsep.join([str(tmp_path), made["PYTHONPATH"]])}

    monkeypatch.setattr(job, "environment", without)
    assert "absent" in job.run(dataclasses.replace(QUICK, peer="onnxruntime", task="predict-1"))


def test_a_peer_that_raises_has_failed_with_its_reason() -> None:
    # The tiny problem has no uint8 images.
    result = job.run(dataclasses.replace(QUICK, peer="fastfcn-uint8", task="tiny"))
    assert list(result) == ["failed"]
    assert "Error: " in result["failed"]


def test_a_step_by_hand_descends_along_the_gradient() -> None:
    from benchmarks.peers.libraries.numpy import Network

    tiny = problem.tiny(1)
    net, rows, h = Network(tiny, tiny.batch), np.arange(tiny.batch), 1e-6

    def loss(weights: list[tuple[Any, Any]]) -> float:
        z = problem.scores_of(weights, tiny.x)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[rows, tiny.y]))

    net.step(tiny.x, tiny.y, rows)
    for layer, at in ((0, (3, 5)), (1, (7, 1))):
        moved = [(weight.astype(np.float64), bias) for weight, bias in tiny.weights]
        moved[layer][0][at] += h
        slope = (loss(moved) - loss(tiny.weights)) / h
        assert net.grads[layer][0][at] == pytest.approx(
            problem.LEARNING_RATE * slope, rel=1e-2, abs=1e-7
        )


def test_every_peer_takes_part_in_known_tasks_and_has_a_module() -> None:
    tasks = {task for each in command.WHAT.values() for task in each}
    folder = Path(libraries.__file__).parent
    for peer in PEERS.values():
        assert set(peer.tasks) <= tasks
        assert (folder / f"{peer.module}.py").is_file()


def test_a_missing_mnist_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FASTFCN_DATA", raising=False)
    with pytest.raises(SystemExit):
        command.main(["--data", "mnist"])
    assert "--data synthetic" in capsys.readouterr().err


@pytest.mark.slow
def test_a_quick_run_measures_fastfcn_and_numpy_and_writes_its_files(tmp_path: Path) -> None:
    arguments = ["--quick", "--data", "synthetic", "--samples", "512", "--threads", "1"]
    command.main([*arguments, "--peers", "fastfcn", "numpy", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert set(found["tasks"]) == {"train", "predict-1", "predict-10000", "tiny"}
    for each in found["tasks"].values():
        assert {entry["peer"] for entry in each["peers"] if entry["median"] > 0} == {
            "fastfcn",
            "numpy",
        }
    accuracies = [entry["accuracy"] for entry in found["tasks"]["train"]["peers"]]
    assert abs(accuracies[0] - accuracies[1]) < 0.1
    assert len(found["curves"]["fastfcn"]["loss"]) == 2
    assert found["peak_flops"] > 1e8
    assert {file.name for file in tmp_path.iterdir()} == {
        "peers.md",
        "peers.json",
        "peers.png",
        "loss.png",
        "accuracy.png",
    }
