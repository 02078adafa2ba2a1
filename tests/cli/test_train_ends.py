"""`fastfcn train`: runs that end before their last epoch."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import RUN_FILES, config_of, done, run, same_model
from fastfcn import training
from fastfcn.callbacks import TrainingRun

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8")


def test_a_run_that_diverges_says_so_and_keeps_its_files() -> None:
    result = run("train", *QUICK, "--lr", "1e30", "--output", "out")
    assert result.exit_code == 1
    assert re.search(
        r"diverged in epoch 1: the loss is (nan|inf); try --lr below 1e\+30", result.stderr
    )
    assert {path.name for path in Path("out").iterdir()} == RUN_FILES


def interrupting(after: int) -> Callable[..., Any]:
    """A fit that Ctrl-C ends just after an epoch, some steps into the next one."""
    fit = training.fit

    class Stop:
        def on_epoch_trained(self, run: TrainingRun) -> None:
            if run.epoch > after:
                raise KeyboardInterrupt

        def on_epoch_begin(self, run: TrainingRun) -> None:
            if run.epoch > after:
                run.net[0].weight[...] += 1.0  # type: ignore[index]

    def interrupted(*arguments: Any, callbacks: Any, **keywords: Any) -> Any:
        return fit(*arguments, callbacks=[*callbacks, Stop()], **keywords)

    return interrupted


def test_an_interrupted_run_keeps_its_whole_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = training.fit
    monkeypatch.setattr(training, "fit", interrupting(after=1))
    result = run("train", *QUICK, "--output", "out")
    assert result.exit_code == 130
    assert "Interrupted: out holds the run as it was after epoch 1 of 2." in result.stderr
    assert {path.name for path in Path("out").iterdir()} == RUN_FILES
    assert config_of("out")["result"]["interrupted"] is True
    monkeypatch.setattr(training, "fit", fit)
    done("train", *QUICK, "--epochs", "1", "--output", "whole")
    assert same_model("out", "whole")


def test_a_run_interrupted_in_its_first_epoch_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "fit", interrupting(after=0))
    words = ["--tensorboard"] * (importlib.util.find_spec("tensorboardX") is not None)
    result = run("train", *QUICK, *words, "--output", "out")
    assert result.exit_code == 130
    assert "Interrupted; nothing was written." in result.stderr
    assert not Path("out").exists()


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_a_real_run_with_its_files_and_without_a_traceback() -> None:
    words = ["train", *QUICK, "--epochs", "1000000", "--output", "out"]
    # Tests started in the background of a shell ignore SIGINT, and their children inherit that.
    code = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from fastfcn.cli import main
main({words!r})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any(re.match(r"epoch +2/", line) for line in lines)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Interrupted: out holds the run" in errors
    assert {path.name for path in Path("out").iterdir()} == RUN_FILES
