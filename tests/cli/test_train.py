"""`fastfcn train`: what it prints, what it writes, and what it refuses."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import fastfcn
from command_line import config_of, done, flowers, run, same_model
from fastfcn import cli, datasets, losses, runs, training
from fastfcn.callbacks import TrainingRun
from fastfcn.cli import network
from fastfcn.cli.record import Options
from fastfcn.rates import flops_per_sample

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8")
FILES = {
    "model.safetensors",
    "checkpoint.safetensors",
    "history.csv",
    "config.toml",
    "curves.png",
}


@pytest.fixture
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without MNIST and without a network."""
    for variable in ("FASTFCN_DATA", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing-here"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("fastfcn.datasets.images.download", fail)


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
    assert {path.name for path in Path("out").iterdir()} == FILES


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
    found = training.evaluate(net, x_test, y_test, loss=criterion, scale=scale, shift=shift)
    recorded = config_of("out")["result"]
    assert (found.loss, found.accuracy) == (recorded["test_loss"], recorded["test_accuracy"])
    assert f"accuracy {found.accuracy:.4f}  loss {found.loss:.4f}" in result.stdout
    assert net.state_dict()["0.weight"].dtype == dtype


@pytest.mark.parametrize("activation", list(network.ACTIVATIONS))
def test_every_activation_trains_and_reads_back(activation: str) -> None:
    train(*QUICK, "--activation", activation, "--output", "out")
    kind = type(fastfcn.load("out").net[1]).__name__
    assert kind == network.ACTIVATIONS[activation]


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


@pytest.mark.usefixtures("no_mnist")
def test_without_mnist_the_default_says_so_in_one_line_and_trains_on_digits() -> None:
    result = train("--epochs", "1", "--layers", "8", "--output", "out")
    lines = [line for line in result.stderr.splitlines() if "bundled digits" in line]
    assert len(lines) == 1
    assert "FASTFCN_DATA=FOLDER" in lines[0]
    assert "could not be downloaded" in lines[0]
    assert config_of("out")["train"]["dataset"] == "digits"


@pytest.mark.usefixtures("no_mnist")
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_data_set_asked_for_by_name_is_never_replaced(
    dataset: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fastfcn.datasets.images._DEBIAN_FASHION_MNIST", tmp_path / "none")
    result = run("train", "--dataset", dataset, "--epochs", "1")
    assert result.exit_code == 1
    assert "was not found. Looked in:" in result.stderr
    assert "digits" not in result.stderr
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_mnist")
def test_a_damaged_mnist_is_an_error_and_no_reason_to_fall_back() -> None:
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{split}-{kind}-ubyte").write_bytes(b"not an IDX file")
    result = run("train", "--root", "data", "--epochs", "1")
    assert result.exit_code == 1
    assert re.match(r"Error: .*idx", result.stderr)
    assert not Path("runs").exists()


def test_mnist_is_the_default_where_it_is_found(mnist_data: datasets.Dataset) -> None:
    train("--epochs", "1", "--layers", "16", "--output", "out")
    config = config_of("out")
    assert config["train"]["dataset"] == "mnist"
    assert config["result"]["test_accuracy"] > 0.85


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers"], "requires at least one size"),
        (["--layers", "--epochs", "1"], "requires at least one size"),
        (["--layers", "0"], "'0' is not a whole number above 0"),
        (["--layers", "16", "-5"], "'-5' is not a whole number above 0"),
        (["--layers", "16", "wide"], "'wide' is not a whole number above 0"),
        (["--layers", "1.5"], "'1.5' is not a whole number above 0"),
        (["--layers", ","], "at least one hidden layer"),
        (["--epochs", "0"], "'--epochs'"),
        (["--lr", "0"], "'--lr'"),
        (["--lr", "nan"], "nan is not a finite number"),
        (["--lr", "inf"], "inf is not a finite number"),
        (["--momentum", "1"], "'--momentum'"),
        (["--weight-decay", "-0.1"], "'--weight-decay'"),
        (["--batch-size", "0"], "'--batch-size'"),
        (["--batch-size", "1434"], "at most the 1,433 training samples of digits"),
        (["--nesterov", "--momentum", "0"], "needs --momentum above 0"),
        (["--nesterov", "--optimizer", "adam"], "is for --optimizer sgd, got adam"),
        (["--momentum", "0.5", "--optimizer", "adam"], "is for --optimizer sgd or rmsprop"),
        (["--batch-norm", "--layer-norm"], "give --batch-norm or --layer-norm, not both"),
        (["--dropout", "1"], "'--dropout'"),
        (["--clip-norm", "0"], "'--clip-norm'"),
        (["--early-stopping", "3"], "test samples must not choose the epoch"),
        (["--early-stopping", "3", "--validation", "0"], "needs --validation above 0"),
        (["--schedule", "cosine", "--schedule-epochs", "3"], "is for --schedule step or plateau"),
        (["--schedule-factor", "0.5"], "or plateau, got constant"),
        (["--schedule", "plateau", "--schedule-factor", "1"], "must be below 1"),
        (["--loss", "mse"], "must be one of cross_entropy for classification, got mse"),
        (["--threads", "100000"], "n_threads must be between 1 and"),
        (["--dtype", "float16"], "'--dtype'"),
        (["--activation", "softmax"], "'--activation'"),
        (["--dataset", "cifar"], "'--dataset'"),
        (["--seed", "-1"], "'--seed'"),
        (["--unknown"], "No such option"),
        (["stray"], "unexpected extra argument"),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_written(words: list[str], message: str) -> None:
    known = [] if "--dataset" in words else ["--dataset", "digits"]
    result = run("train", *known, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", list(network.OPTIMIZERS))
def test_every_optimiser_learns_with_its_defaults_which_are_written_down(name: str) -> None:
    train("--dataset", "digits", "--layers", "32", "--epochs", "25", "--batch-size", "32",
          "--optimizer", name, "--output", "out")  # fmt: skip
    config = config_of("out")
    assert config["result"]["test_accuracy"] > 0.9
    kind = network.OPTIMIZERS[name]
    assert (config["train"]["lr"], config["train"]["weight_decay"]) == (kind.lr, kind.weight_decay)
    assert config["train"].get("momentum") == kind.momentum


def test_layers_come_in_the_order_of_the_field() -> None:
    train(*QUICK[:4], "--layers", "8", "6", "--batch-norm", "--dropout", "0.25", "--output", "out")
    kinds = [type(layer).__name__ for layer in fastfcn.load("out").net]
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert kinds == [*hidden, *hidden, "Linear"]
    train(*QUICK[:4], "--layers", "8", "--layer-norm", "--output", "other")
    kinds = [type(layer).__name__ for layer in fastfcn.load("other").net]
    assert kinds == ["Linear", "LayerNorm", "ReLU", "Linear"]


@pytest.mark.parametrize("schedule", network.SCHEDULES)
@pytest.mark.parametrize("warm_up", [None, 2])
def test_every_schedule_trains_and_changes_the_run(schedule: str, warm_up: int | None) -> None:
    words = (*QUICK[:2], "--layers", "8", "--epochs", "6")
    extra = () if warm_up is None else ("--warm-up", warm_up)
    # Such small steps improve the loss by less than counts: patience runs out at once.
    more = ("--schedule-epochs", 1, "--lr", 1e-5) if schedule == "plateau" else ()
    train(*words, *more[2:], "--output", "plain")
    train(*words, *more, *extra, "--schedule", schedule, "--output", "out")
    same = schedule == "constant" and warm_up is None
    assert same_model("plain", "out") == same


def test_early_stopping_keeps_the_best_epoch() -> None:
    train(*QUICK[:2], "--layers", "16", "--lr", "1.5", "--epochs", "200", "--validation", "0.3",
          "--early-stopping", "3", "--output", "out")  # fmt: skip
    with open("out/history.csv", newline="", encoding="utf-8") as file:
        losses_ = [float(row["val_loss"]) for row in csv.DictReader(file)]
    best = losses_.index(min(losses_))
    assert len(losses_) == best + 1 + 3 < 200
    assert config_of("out")["result"]["validation_loss"] == min(losses_)


def test_a_run_that_diverges_says_so_and_keeps_its_files() -> None:
    result = run("train", *QUICK, "--lr", "1e30", "--output", "out")
    assert result.exit_code == 1
    assert re.search(
        r"diverged in epoch 1: the loss is (nan|inf); try --lr below 1e\+30", result.stderr
    )
    assert {path.name for path in Path("out").iterdir()} == FILES


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
    assert {path.name for path in Path("out").iterdir()} == FILES
    assert config_of("out")["result"]["interrupted"] is True
    monkeypatch.setattr(training, "fit", fit)
    train(*QUICK, "--epochs", "1", "--output", "whole")
    assert same_model("out", "whole")


def test_a_run_interrupted_in_its_first_epoch_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "fit", interrupting(after=0))
    result = run("train", *QUICK, "--output", "out")
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
    assert {path.name for path in Path("out").iterdir()} == FILES


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
