"""`fastfcn train`: what it prints, what it writes, and what it refuses."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import fastfcn
from fastfcn import cli, datasets, losses, runs, training
from fastfcn.callbacks import TrainingRun

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8")
FILES = {"model.safetensors", "history.csv", "config.toml", "curves.png"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without MNIST and without a network."""
    for variable in ("FASTFCN_DATA", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing-here"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("fastfcn.datasets.images.download", fail)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli.main, [str(word) for word in arguments])
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return result


def train(*arguments: object) -> Result:
    result = run("train", *arguments)
    assert result.exit_code == 0, result.output
    return result


def parsed(*arguments: str) -> Any:
    """The options that the command line would train with."""
    return cli.main.commands["train"].make_context("train", list(arguments)).params


def config_of(folder: str | Path) -> dict[str, Any]:
    return tomllib.loads((Path(folder) / "config.toml").read_text(encoding="utf-8"))


def same_model(first: str, second: str) -> bool:
    """Whether two run folders hold the same parameters, bit for bit."""
    states = [runs.load_model(folder).net.state_dict() for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    return all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_the_defaults_are_the_references_settings() -> None:
    options = parsed()
    assert options["layers"] == (256, 128)
    assert options["activation"] == "relu"
    assert (options["epochs"], options["batch_size"]) == (20, 128)
    assert (options["lr"], options["momentum"], options["weight_decay"]) == (0.02, 0.9, 0.0)


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


def test_a_run_folder_has_the_four_files_and_nothing_else() -> None:
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
    net, scale, shift = runs.load_model("out")
    _, _, x_test, y_test = datasets.digits()
    criterion = losses.CrossEntropyLoss()
    found = training.evaluate(net, x_test, y_test, loss=criterion, scale=scale, shift=shift)
    recorded = config_of("out")["result"]
    assert (found.loss, found.accuracy) == (recorded["test_loss"], recorded["test_accuracy"])
    assert f"accuracy {found.accuracy:.4f}  loss {found.loss:.4f}" in result.stdout
    assert net.state_dict()["0.weight"].dtype == dtype


@pytest.mark.parametrize("activation", list(runs.ACTIVATIONS))
def test_a_model_reads_back_with_the_same_bits(activation: str, tmp_path: Path) -> None:
    architecture = runs.Architecture((5, 7, 3), activation, "float32")
    net = architecture.build(np.random.default_rng(1))
    runs.save_model(tmp_path / "m.safetensors", net, architecture, scale=0.1, shift=-0.3)
    again, scale, shift = runs.load_model(tmp_path / "m.safetensors")
    x = np.random.default_rng(2).normal(size=(9, 5)).astype(np.float32)
    assert (scale, shift) == (0.1, -0.3)
    assert np.array_equal(training.predict(again, x), training.predict(net, x))
    assert repr(again) == repr(net)


def test_a_model_file_of_someone_else_is_refused_by_name(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors must have the metadata"):
        runs.load_model(tmp_path / "other.safetensors")


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
    assert runs.Architecture((784, 256, 128, 10)).flops_per_sample == 2 * forward + deltas


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


def test_a_run_that_diverges_says_so_and_keeps_its_files() -> None:
    result = run("train", *QUICK, "--lr", "1e30", "--output", "out")
    assert result.exit_code == 1
    assert "training diverged; try a smaller --lr" in result.stderr
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
