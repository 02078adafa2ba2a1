"""`fastfcn evaluate`: the figures are those of the samples, and of training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfcn
from command_line import config_of, done, flowers, prices, run, write_csv
from fastfcn import datasets, nn
from fastfcn.cli.scores import by_class

TABLE = ("--layers", "8", "--epochs", "20", "--batch-size", "8", "--no-progress")


def figures(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done("evaluate", *arguments, "--json").stdout)
    return found


def test_a_data_sets_test_samples_score_as_they_did_after_training() -> None:
    done("train", "--dataset", "digits", "--layers", "16", "--epochs", "2", "--output", "out")
    found, told = figures("out"), config_of("out")["result"]
    assert (found["loss"], found["accuracy"]) == (told["test_loss"], told["test_accuracy"])
    assert found["samples"] == 364
    assert figures("out/model.safetensors", "--dataset", "digits") == found


@pytest.mark.parametrize("write", [flowers, prices])
def test_a_files_held_out_samples_score_as_they_did_after_training(write: Any) -> None:
    target = "kind" if write is flowers else "price"
    write(Path("t.csv"))
    done("train", "--data", "t.csv", "--target", target, "--seed", "3", *TABLE, "--output", "out")
    found, told = figures("out"), config_of("out")["result"]
    names = ["loss", "accuracy" if write is flowers else "r2"]
    assert [found[name] for name in names] == [told[f"validation_{name}"] for name in names]


def test_a_regressions_errors_are_in_the_targets_units() -> None:
    prices(Path("p.csv"))
    done("train", "--data", "p.csv", "--target", "price", *TABLE, "--output", "out")
    table = datasets.read_table("p.csv", "price")
    error = fastfcn.load("out").predict(table.x) - table.y
    found = figures("out", "--data", "p.csv")
    np.testing.assert_allclose(found["mean_absolute_error"], abs(error).mean(), rtol=1e-4)
    np.testing.assert_allclose(
        found["root_mean_squared_error"], np.sqrt((error**2).mean()), rtol=1e-4
    )
    np.testing.assert_allclose(found["r2"], 1 - (error**2).mean() / table.y.var(), rtol=1e-4)
    assert "(price)" in done("evaluate", "out", "--data", "p.csv").stdout


def test_columns_are_found_by_name_and_labels_by_value() -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", "--exclude", "id", *TABLE,
         "--output", "out")  # fmt: skip
    table = datasets.read_table("f.csv", "kind", ["width", "length"])
    two = table.y != "rose"
    x, y = table.x[two], table.y[two]
    write_csv(Path("g.csv"), {"truth": y, "width": x[:, 0], "note": y, "length": x[:, 1]})
    found = figures("out", "--data", "g.csv", "--target", "truth")
    said = fastfcn.load("out").predict(x[:, ::-1])
    assert found["accuracy"] == np.mean(said == y)
    assert [c["samples"] for c in found["classes"]] == [30, 0, 30]


def test_standard_input_scores_as_the_file_does() -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", *TABLE, "--output", "out")
    expected = figures("out", "--data", "f.csv")
    text = Path("f.csv").read_text()
    found = json.loads(done("evaluate", "out", "--data", "-", "--json", text=text).stdout)
    assert found == expected | {"data": "standard input"}


def test_a_class_the_model_does_not_know_is_named() -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", *TABLE, "--output", "out")
    text = Path("f.csv").read_text().replace("rose", "daisy")
    Path("g.csv").write_text(text)
    result = run("evaluate", "out", "--data", "g.csv")
    assert result.exit_code == 1
    assert "must be one of the model's classes, iris, rose, tulip, got daisy" in result.stderr


def test_precision_recall_and_f1_are_scikit_learns() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    found = by_class(true, said, list("abcd"))
    expected = precision_recall_fscore_support(true, said, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "samples"), expected, strict=True):
        np.testing.assert_allclose([c[name] for c in found], values)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "nowhere must be a safetensors file, and there is none"),
        (["moved"], 1, "must be a folder that fastfcn train wrote, to know its data"),
        (["bare.safetensors"], 1, "must say its task"),
        (["out", "--data", "none.csv"], 1, "none.csv must be a file, and there is none"),
        (["out", "--data", "f.csv", "--dataset", "digits"], 2, "not both"),
        (["out", "--dataset", "digits"], 1, "must have"),
        (["bare.safetensors", "--dataset", "digits"], 1, "must say its task and its loss"),
        (["out", "--data", "f.csv", "--target", "sort"], 1, "must have column 'sort'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(
    words: list[str], code: int, message: str
) -> None:
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", *TABLE, "--output", "out")
    Path("moved").mkdir()
    shutil.copy("out/model.safetensors", "moved")
    fastfcn.save("bare.safetensors", nn.Sequential(nn.Linear(64, 10)))
    result = run("evaluate", *words)
    assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
    assert message in result.stderr
