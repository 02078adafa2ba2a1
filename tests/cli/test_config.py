"""`fastfcn train --config`: options from a file."""

from pathlib import Path
from typing import Any

import pytest

from command_line import config_of, done, flowers, run, same_model
from fastfcn import cli

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8", "--no-progress")


def parsed(*arguments: str) -> dict[str, Any]:
    return cli.main.commands["train"].make_context("train", list(arguments)).params


def config(text: str, name: str = "run.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_options_come_from_the_file_and_the_command_line_wins() -> None:
    file = config(
        '[train]\nlayers = [32, 16]\nlr = 1\nnesterov = true\nexclude = ["a", "b"]\n'
        'image_size = [8, 9]\nprogress = false\nepochs = 3\n[model]\nanything = "else"\n'
    )
    options = parsed("--config", file, "--epochs", "7", "--progress")
    assert (options["layers"], options["lr"], options["nesterov"]) == ((32, 16), 1.0, True)
    assert (options["exclude"], options["image_size"]) == (("a", "b"), (8, 9))
    assert (options["epochs"], options["progress"]) == (7, True)
    assert options["batch_size"] is None


@pytest.mark.parametrize("order", [0, 1])
def test_the_command_line_wins_wherever_it_is_given(order: int) -> None:
    words = [["--config", config("[train]\nlayers = [32]\n")], ["--layers", "4", "2"]]
    assert parsed(*words[order], *words[1 - order])["layers"] == (4, 2)


@pytest.mark.parametrize("file", [False, True])
def test_the_config_that_a_run_writes_repeats_it_to_the_bit(file: bool) -> None:
    words: tuple[str, ...] = (*QUICK, "--lr", "1e-3", "--nesterov", "--seed", "7")
    if file:
        flowers(Path("f.csv"))
        words = ("--data", "f.csv", "--target", "kind", "--exclude", "id", "--layers", "8",
                 "--epochs", "2", "--batch-size", "8", "--no-standardize")  # fmt: skip
    done("train", *words, "--output", "first")
    done("train", "--config", "first/config.toml", "--output", "second")
    assert same_model("first", "second")
    assert config_of("first")["train"] == config_of("second")["train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlearning_rate = 1\n", "must hold options of train, got 'learning_rate'"),
        ("[train]\nepoch = 1\n", "got 'epoch'; did you mean epochs?"),
        ("[train]\nepochs = 1.5\n", "'1.5' is not a valid integer"),
        ("[train]\nepochs = 0\n", "'--epochs': 0 is not in the range"),
        ("[train]\nlr = true\n", "'--lr'"),
        ("[train]\nlayers = [16, -5]\n", "'-5' is not a whole number above 0"),
        ("[train]\nnesterov = 1\n", "nesterov in run.toml must be true or false, got 1"),
        ('[train]\nconfig = "x"\n', "got 'config'"),
        ("epochs = 3\n", "must have a table [train] with options, such as epochs = 20; got epochs"),
        ("[train\n", "run.toml must be a TOML file"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_option(text: str, message: str) -> None:
    result = run("train", "--dataset", "digits", "--config", config(text))
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ").replace("  ", " ")
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_is_named() -> None:
    result = run("train", "--config", "none.toml")
    assert result.exit_code == 2
    assert "none.toml must be a TOML file" in result.stderr
