"""`fastfcn train --resume`: a run that stopped goes on to the same bits."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import config_of, done, flowers, run, same_model
from fastfcn import checkpoints, training
from fastfcn.callbacks import TrainingRun
from fastfcn.history import History

QUICK = ("--dataset", "digits", "--layers", "16", "8", "--no-progress")


def rows(folder: str) -> list[list[str]]:
    """The history without its times."""
    with open(Path(folder, "history.csv"), newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [[value for key, value in row.items() if "second" not in key] for row in found]


def same_run(first: str, second: str) -> bool:
    """Whether two runs have the same parameters, optimiser state and history, bit for bit."""
    states = [checkpoints.read(Path(f, "checkpoint.safetensors")) for f in (first, second)]
    nets = [state.model.net.state_dict() for state in states]
    optimizers = [state.optimizer for state in states]
    assert optimizers[0].keys() == optimizers[1].keys()
    return (
        same_model(first, second)
        and all(np.array_equal(nets[0][name], nets[1][name]) for name in nets[0])
        and all(same(optimizers[0][name], optimizers[1][name]) for name in optimizers[0])
        and rows(first) == rows(second)
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def stopping(after: int) -> Callable[..., History]:
    """A fit that Ctrl-C ends some steps into the epoch after this one."""
    fit = training.fit

    class Stop:
        def on_epoch_trained(self, run: TrainingRun) -> None:
            if run.epoch > after:
                run.net[0].weight[...] += 1.0  # type: ignore[index]
                run.optimizer.state[...] = 7.0
                raise KeyboardInterrupt

    def stopped(*arguments: Any, callbacks: Any, **keywords: Any) -> Any:
        return fit(*arguments, callbacks=[*callbacks, Stop()], **keywords)

    return stopped


@pytest.mark.parametrize(
    "words",
    [
        ["--nesterov", "--weight-decay", "1e-3", "--clip-norm", "0.5"],
        ["--dropout", "0.3", "--batch-norm"],
        ["--optimizer", "adam", "--layer-norm", "--dtype", "float64"],
        ["--optimizer", "adamw"],
        ["--optimizer", "rmsprop", "--momentum", "0.5"],
        ["--optimizer", "adagrad", "--validation", "0.2"],
        ["--schedule", "one-cycle", "--lr", "0.1"],
        ["--schedule", "cosine", "--warm-up", "2"],
        ["--schedule", "plateau", "--schedule-epochs", "2", "--lr", "1e-5"],
        ["--ema", "0.9"],
    ],
    ids=lambda words: " ".join(words),
)
@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_goes_on_to_the_bits_of_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, after: int, words: list[str]
) -> None:
    done("train", *QUICK, *words, "--epochs", "5", "--output", "whole")
    fit = training.fit
    monkeypatch.setattr(training, "fit", stopping(after))
    result = run("train", *QUICK, *words, "--epochs", "5", "--output", "parts")
    assert result.exit_code == 130
    assert "fastfcn train --resume parts" in result.stderr
    assert config_of("parts")["result"]["epochs_done"] == after
    monkeypatch.setattr(training, "fit", fit)
    done("train", "--resume", "parts")
    assert same_run("whole", "parts")
    assert config_of("parts")["result"]["epochs_done"] == 5
    assert config_of("parts")["train"] == config_of("whole")["train"]


@pytest.mark.parametrize("after", range(1, 12, 2))
def test_early_stopping_goes_on_with_its_patience_and_the_best_weights(
    monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    flowers(Path("f.csv"))
    words = ("--data", "f.csv", "--target", "kind", "--lr", "0.9", "--momentum", "0.95",
             "--batch-size", "8", "--layers", "4", "--early-stopping", "4", "--epochs", "60",
             "--clip-norm", "1", "--no-progress")  # fmt: skip
    done("train", *words, "--output", "whole")
    total = config_of("whole")["result"]["epochs_done"]
    assert after < total < 60, "the test needs a run that stops early"
    fit = training.fit
    monkeypatch.setattr(training, "fit", stopping(after))
    assert run("train", *words, "--output", "parts").exit_code == 130
    monkeypatch.setattr(training, "fit", fit)
    text = done("train", "--resume", "parts").stdout
    assert "val_loss has not improved for 4 epochs" in text
    assert same_run("whole", "parts")
    again = run("train", "--resume", "parts", "--epochs", "70")
    assert again.exit_code == 2
    assert f"has ended in epoch {total}: val_loss has not improved" in again.stderr


def test_a_run_on_a_file_goes_on_too() -> None:
    flowers(Path("f.csv"))
    words = ("--data", "f.csv", "--target", "kind", "--exclude", "id", "--layers", "8",
             "--batch-size", "7")  # fmt: skip
    done("train", *words, "--epochs", "6", "--output", "whole")
    done("train", *words, "--epochs", "2", "--output", "parts")
    done("train", "--resume", "parts", "--epochs", "6")
    assert same_run("whole", "parts")


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a process that is killed only the first config.toml and a checkpoint are there."""
    monkeypatch.setattr("fastfcn.cli.fitting.CHECKPOINT_SECONDS", 0.0)
    done("train", *QUICK, "--epochs", "4", "--output", "whole")
    done("train", *QUICK, "--epochs", "2", "--output", "killed")
    for name in ("model.safetensors", "history.csv", "curves.png"):
        Path("killed", name).unlink()
    refused = run("evaluate", "killed")
    assert refused.exit_code == 1
    assert "its run did not end; fastfcn train --resume killed goes on" in refused.stderr
    done("train", "--resume", "killed", "--epochs", "4")
    assert same_run("whole", "killed")


def test_checkpoints_are_written_while_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastfcn.cli.fitting.CHECKPOINT_SECONDS", 0.0)
    seen: list[int] = []
    write = checkpoints.write

    def written(path: Any, checkpoint: Any) -> None:
        write(path, checkpoint)
        seen.append(len(checkpoints.read(path).history))

    monkeypatch.setattr(checkpoints, "write", written)
    done("train", *QUICK, "--epochs", "3", "--output", "out")
    assert seen == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "whole"], "whole has all of its 2 epochs; pass more with --epochs"),
        (["--resume", "whole", "--epochs", "2"], "all of its 2 epochs"),
        (["--resume", "whole", "--lr", "0.5"], "'--lr' cannot change while a run goes on"),
        (["--lr", "0.5", "--resume", "whole"], "'--lr' cannot change while a run goes on"),
        (["--resume", "whole", "--output", "x"], "'--output' cannot change"),
        (["--resume", "nowhere"], "nowhere must be the folder of a run"),
        (["--resume", "whole", "--config", "whole/config.toml"], "'--config' cannot change"),
        (["--config", "whole/config.toml", "--resume", "whole"], "'--config' cannot change"),
    ],
)
def test_what_cannot_go_on_is_refused_and_left_as_it_was(words: list[str], message: str) -> None:
    done("train", *QUICK, "--epochs", "2", "--output", "whole")
    before = {path: path.read_bytes() for path in Path("whole").iterdir()}
    result = run("train", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert before == {path: path.read_bytes() for path in Path("whole").iterdir()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("layers = [16, 8]", "layers = [16, 9]"), "layers = [16, 8], got layers = [16, 9]"),
        (('activation = "relu"', 'activation = "tanh"'), "'relu', got activation = 'tanh'"),
        (("lr = 0.02", "lr = 0.5"), "lr = 0.02, got lr = 0.5"),
        (("lr = 0.02", "lr = 0.02\nema = 0.9"), "no ema, got ema = 0.9"),
        (("seed = 0", "seed = 1"), "seed = 0, got seed = 1"),
        (("batch_norm = false", "batch_norm = true"), "batch_norm = False, got batch_norm = True"),
        (('optimizer = "sgd"\n', 'optimizer = "rmsprop"\n'), "optimizer = 'sgd', got optimizer = "),
    ],
)
def test_options_changed_in_the_runs_own_configuration_are_refused(
    change: tuple[str, str], message: str
) -> None:
    done("train", *QUICK, "--epochs", "1", "--output", "out")
    file = Path("out", "config.toml")
    text = file.read_text()
    assert text.count(change[0]) == 1
    file.write_text(text.replace(*change))
    result = run("train", "--resume", "out", "--epochs", "2")
    assert result.exit_code == 2, result.output
    said = " ".join(result.stderr.split())
    assert "out/config.toml must have the options that the run began with" in said
    assert message in said
    assert "take that back, or start another run with --config out/config.toml" in said


def test_what_may_change_may_change_in_the_configuration_too_and_the_data_may_move() -> None:
    flowers(Path("f.csv"))
    words = ("--data", "f.csv", "--target", "kind", "--batch-size", "8", "--layers", "4")
    done("train", *words, "--epochs", "3", "--output", "whole")
    done("train", *words, "--epochs", "1", "--output", "parts")
    Path("f.csv").rename("g.csv")
    file = Path("parts", "config.toml")
    text = file.read_text().replace("epochs = 1", "epochs = 3", 1).replace("f.csv", "g.csv", 1)
    file.write_text(text.replace("[train]", "[train]\nthreads = 1", 1))
    done("train", "--resume", "parts")
    assert same_run("whole", "parts")


def test_other_data_under_the_same_name_are_refused() -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", "--epochs", "1", "--batch-size", "8",
         "--output", "out")  # fmt: skip
    flowers(Path("f.csv"), 93)
    result = run("train", "--resume", "out", "--epochs", "2")
    assert result.exit_code == 2
    assert "f.csv has changed; start another run" in result.stderr


def test_a_run_without_a_checkpoint_says_so() -> None:
    done("train", *QUICK, "--epochs", "1", "--output", "out")
    shutil.move("out/checkpoint.safetensors", "elsewhere")
    result = run("train", "--resume", "out", "--epochs", "2")
    assert result.exit_code == 1
    assert "checkpoint.safetensors must be a safetensors file, and there is none" in result.stderr


def test_lbfgs_goes_on_with_another_memory_and_says_so() -> None:
    words = (*QUICK, "--optimizer", "lbfgs")
    done("train", *words, "--epochs", "4", "--output", "parts")
    result = done("train", "--resume", "parts", "--epochs", "8")
    assert "lbfgs begins to learn the curvature anew" in result.stderr
    with open("parts/history.csv", newline="", encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 8
    assert losses == sorted(losses, reverse=True)
