"""`fastfcn train`: what the options do, and which are refused."""

import csv
from pathlib import Path

import pytest
from click.testing import Result

import fastfcn
from command_line import config_of, done, flowers, prices, run, same_model
from fastfcn import losses, runs
from fastfcn.cli import network

QUICK = ("--dataset", "digits", "--epochs", "2", "--layers", "16", "8")


def train(*arguments: object) -> Result:
    return done("train", *arguments)


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
        (["--lr", "0.1", "--optimizer", "lbfgs"], "is for --optimizer sgd or adam or adamw or"),
        (["--history-size", "5"], "is for --optimizer lbfgs, got sgd"),
        (["--optimizer", "lbfgs", "--batch-size", "32"], "'--batch-size': is not for --optimizer"),
        (["--optimizer", "lbfgs", "--schedule", "cosine"], "'--schedule': is not for --optimizer"),
        (["--optimizer", "lbfgs", "--dropout", "0.5"], "'--dropout': is not for --optimizer lbfgs"),
        (["--ema", "1"], "'--ema'"),
        (["--class-weight", "10=2"], "CLASS=WEIGHT with a class of digits"),
        (["--class-weight", "balanced", "--class-weight", "1=2"], "must be balanced alone"),
        (["--class-weight", "1=0"], "must have a number above 0 behind the =, got 1=0"),
        (["--class-weight", "1=many"], "must have a number above 0 behind the ="),
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


@pytest.mark.parametrize("activation", list(network.ACTIVATIONS))
def test_every_activation_trains_and_reads_back(activation: str) -> None:
    train(*QUICK, "--activation", activation, "--output", "out")
    kind = type(fastfcn.load("out").net[1]).__name__
    assert kind == network.ACTIVATIONS[activation]


@pytest.mark.parametrize("name", list(network.OPTIMIZERS))
def test_every_optimiser_learns_with_its_defaults_which_are_written_down(name: str) -> None:
    batch = () if name == "lbfgs" else ("--batch-size", "32")
    train("--dataset", "digits", "--layers", "32", "--epochs", "25", *batch,
          "--optimizer", name, "--output", "out")  # fmt: skip
    config = config_of("out")
    assert config["result"]["test_accuracy"] > 0.9
    kind = network.OPTIMIZERS[name]
    expected = {"weight_decay": kind.weight_decay, **kind.defaults}
    assert {key: config["train"][key] for key in expected} == expected
    others = {key for of in network.OPTIMIZERS.values() for key in of.defaults} - {"nesterov"}
    assert not (others - expected.keys()) & config["train"].keys()


def test_lbfgs_ends_where_it_has_converged_and_repeats_from_its_configuration() -> None:
    prices(Path("p.csv"))
    words = ("--data", "p.csv", "--target", "price", "--layers", "3", "--dtype", "float64")
    text = train(*words, "--optimizer", "lbfgs", "--history-size", "20", "--tolerance-grad", "1e-3",
                 "--epochs", "500", "--output", "out").stdout  # fmt: skip
    assert "LBFGS, all samples, seed 0" in text
    assert "stopped     converged:" in text
    assert config_of("out")["result"]["epochs_done"] < 500
    assert config_of("out")["result"]["validation_r2"] > 0.99
    again = run("train", "--resume", "out")
    assert "has ended in epoch" in again.stderr and "converged" in again.stderr
    train("--config", "out/config.toml", "--output", "again")
    assert same_model("out", "again")


def test_the_average_of_the_weights_is_evaluated_and_kept() -> None:
    train(*QUICK, "--output", "plain")
    train(*QUICK, "--ema", "0", "--output", "last")
    assert same_model("plain", "last")
    text = train(*QUICK, "--ema", "0.9", "--output", "average").stdout
    assert "average of the weights 0.9" in text
    assert not same_model("plain", "average")
    histories = [runs.read_history(folder) for folder in ("plain", "average")]
    assert histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["val_loss"] != histories[1]["val_loss"]
    found = config_of("average")["result"]["test_loss"]
    assert histories[1]["val_loss"][-1] == pytest.approx(found)


def test_classes_count_as_often_as_is_said() -> None:
    flowers(Path("f.csv"))
    words = ("--data", "f.csv", "--target", "kind", "--epochs", "2", "--layers", "4")
    train(*words, "--class-weight", "rose=3", "--class-weight", "iris=0.5", "--output", "out")
    loss = fastfcn.load("out").loss
    assert isinstance(loss, losses.CrossEntropyLoss)
    assert loss.weight is not None
    assert loss.weight.tolist() == [0.5, 3.0, 1.0]
    assert config_of("out")["train"]["class_weight"] == ["rose=3", "iris=0.5"]
    train("--config", "out/config.toml", "--output", "again")
    assert same_model("out", "again")


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
