"""`fastfcn train`: what it prints, what it writes, and what it leaves alone."""

import csv
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import fastfcn
from command_line import RUN_FILES, config_of, done, flowers, run, same_model
from fastfcn import cli, datasets, losses, runs
from fastfcn.cli import network
from fastfcn.cli.record import Options
from fastfcn.rates import flops_per_sample

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8")


def train(*arguments: object) -> Result:
    return done("train", *arguments)


def parsed(*arguments: str) -> Any:
    """The options that the command line would train with."""
    return cli.main.commands["train"].make_context("train", list(arguments)).params


def test_the_defaults_are_the_references_settings() -> None:
    options = parsed()
    assert options["layers"] == (256, 128)
    assert options["activation"] == "relu"
    assert options["epochs"] == 20
    filled = network.with_defaults(Options(**options))
    assert (filled.optimizer, filled.lr, filled.momentum, filled.weight_decay) == (
        "sgd", 0.02, 0.9, 0.0
    )  # fmt: skip


def test_a_batch_has_128_samples_or_all_there_are() -> None:
    train(*QUICK, "--output", "out")
    assert config_of("out")["train"]["batch_size"] == 128
    flowers(Path("f.csv"))
    train("--data", "f.csv", "--target", "kind", "--epochs", "1", "--output", "small")
    assert config_of("small")["train"]["batch_size"] == 72


def test_the_command_line_of_the_readme_is_parsed_as_written() -> None:
    text = "--dataset mnist --layers 256 128 --epochs 3 --lr 0.02 --momentum 0.9 --batch-size 128"
    options = parsed(*text.split())
    assert options["layers"] == (256, 128)
    assert (options["dataset"], options["epochs"], options["batch_size"]) == ("mnist", 3, 128)


@pytest.mark.parametrize(
    "words",
    [
        ["--layers", "32", "16", "8"],
        ["--layers", "32,16,8"],
        ["--layers=32,16,8"],
        ["--layers", "32 16 8"],
        ["--layers", "7", "--layers", "32", "16", "8"],
        ["--layers", "32", "16", "8", "--seed", "1"],
    ],
)
def test_layers_takes_its_sizes_separated_by_spaces_or_commas(words: list[str]) -> None:
    assert parsed(*words)["layers"] == (32, 16, 8)


def test_a_run_folder_has_its_five_files_and_nothing_else() -> None:
    train(*QUICK, "--output", "out")
    assert {path.name for path in Path("out").iterdir()} == RUN_FILES


def test_tensorboard_gets_its_file_in_the_run_folder_and_the_run_stays_the_same() -> None:
    pytest.importorskip("tensorboardX")
    train(*QUICK, "--output", "plain")
    train(*QUICK, "--tensorboard", "--output", "out")
    (events,) = Path("out").glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert all(tag in content for tag in (b"loss/train", b"accuracy/validation", b"learning_rate"))
    assert {path.name for path in Path("out").iterdir()} == RUN_FILES | {events.name}
    assert same_model("plain", "out")
    train("--resume", "out", "--epochs", "3")
    assert len(list(Path("out").glob("events.out.tfevents.*"))) == 2


def test_without_its_package_tensorboard_says_what_to_install_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = run("train", *QUICK, "--tensorboard", "--output", "out")
    assert result.exit_code == 1
    assert "pip install 'fastfcn[tensorboard]'" in result.stderr
    assert not Path("out").exists()


def test_the_default_folder_is_named_after_the_data_and_the_time() -> None:
    result = train(*QUICK)
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"digits-\d{8}-\d{6}", folder.name)
    assert str(folder) in result.stdout


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [runs.claim_new_folder(tmp_path / "runs" / "digits-1") for _ in range(3)]
    assert [folder.name for folder in folders] == ["digits-1", "digits-1-2", "digits-1-3"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_saved_model_predicts_what_the_summary_and_the_config_say(
    dtype: str, activation: str
) -> None:
    result = train(*QUICK, "--output", "out", "--dtype", dtype, "--activation", activation)
    model = fastfcn.load("out")
    net, scale, shift = model.net, model.scale, model.shift
    _, _, x_test, y_test = datasets.digits()
    criterion = losses.CrossEntropyLoss()
    found = fastfcn.evaluate(net, x_test, y_test, loss=criterion, scale=scale, shift=shift)
    recorded = config_of("out")["result"]
    assert (found.loss, found.accuracy) == (recorded["test_loss"], recorded["test_accuracy"])
    assert f"accuracy {found.accuracy:.4f}  loss {found.loss:.4f}" in result.stdout
    assert net.state_dict()["0.weight"].dtype == dtype


def test_history_has_one_row_an_epoch_that_reads_back_exactly() -> None:
    train(*QUICK, "--output", "out")
    with open("out/history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(rows[0])
    recorded = config_of("out")["result"]
    assert float(rows[-1]["val_accuracy"]) == recorded["test_accuracy"]


def test_the_config_gives_the_options_that_repeat_the_run() -> None:
    train(*QUICK, "--output", "first", "--lr", "1e-3", "--nesterov", "--seed", "7")
    options = config_of("first")["train"]
    assert (options["lr"], options["nesterov"], options["seed"]) == (1e-3, True, 7)
    words: list[object] = ["--output", "second"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if name == "output":
            continue
        if isinstance(value, bool):
            words += [option] * value
        else:
            words += [option, *(value if isinstance(value, list) else [value])]
    train(*words)
    assert same_model("first", "second")


def test_another_seed_gives_another_model() -> None:
    for seed in (0, 1):
        train(*QUICK, "--seed", seed, "--output", f"seed-{seed}")
    assert not same_model("seed-0", "seed-1")


def test_the_summary_has_what_the_readme_promises() -> None:
    text = train(*QUICK, "--output", "out").stdout
    for pattern in [
        r"^layers +64-16-8-10, relu, float32$",
        r"^parameters +1,266$",
        r"^training +2 epochs in [\d.]+ s",
        r"^compiling +[\d.]+ s",
        r"^speed +[\d,]+ samples/s$",
        r"[\d,.]+ GFLOP/s .*FLOP a sample",
        r"^train +accuracy [01]\.\d{4}  loss \d",
        r"^test +accuracy [01]\.\d{4}  loss \d",
        r"^written +out$",
    ]:
        assert re.search(pattern, text, re.MULTILINE), pattern


def test_flops_are_those_of_the_dense_products_without_the_first_layers_delta() -> None:
    forward = 2 * (784 * 256 + 256 * 128 + 128 * 10)
    deltas = 2 * (256 * 128 + 128 * 10)
    assert flops_per_sample((784, 256, 128, 10)) == 2 * forward + deltas


def test_progress_is_a_line_an_epoch_and_can_be_turned_off() -> None:
    assert len(re.findall(r"epoch \d/2", train(*QUICK, "--output", "a").stderr)) == 2
    assert train(*QUICK, "--output", "b", "--no-progress").stderr == ""


def test_digits_are_learned_with_the_defaults() -> None:
    train("--dataset", "digits", "--output", "out")
    assert config_of("out")["result"]["test_accuracy"] > 0.94


@pytest.mark.parametrize("content", ["file", "folder"])
def test_a_folder_with_anything_in_it_is_never_written_to(content: str) -> None:
    out = Path("out")
    if content == "file":
        out.write_text("mine", encoding="utf-8")
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine", encoding="utf-8")
    result = run("train", *QUICK, "--output", "out")
    assert result.exit_code == 2
    assert "never overwrite" in result.stderr
    kept = out if content == "file" else out / "notes.txt"
    assert kept.read_text(encoding="utf-8") == "mine"
    assert content == "file" or len(list(out.iterdir())) == 1


def test_an_empty_folder_may_be_written_to() -> None:
    Path("out").mkdir()
    train(*QUICK, "--output", "out")
