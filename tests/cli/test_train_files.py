"""`fastfcn train --data`: tables and folders of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfcn
from command_line import config_of, done, flowers, prices, run, write_csv
from fastfcn.cli import data as sources
from fastfcn.cli.data import Samples

QUICK = ("--layers", "8", "--epochs", "20", "--batch-size", "8", "--no-progress")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_a_table_with_text_labels_is_classified(suffix: str) -> None:
    flowers(Path("f.csv"))
    table = fastfcn.datasets.read_table("f.csv", "kind", ["length", "width"])
    if suffix == "parquet":
        polars = pytest.importorskip("polars")
        polars.read_csv("f.csv").write_parquet("f.parquet")
    if suffix == "npz":
        np.savez("f.npz", x=table.x, kind=table.y)
    exclude = () if suffix == "npz" else ("--exclude", "id")
    result = done(
        "train", "--data", f"f.{suffix}", "--target", "kind", *exclude, *QUICK, "--output", "out"
    )
    assert "72 training and 18 validation samples" in result.stdout
    assert "classification of kind, 3 classes: iris, rose, tulip" in result.stdout
    assert config_of("out")["result"]["validation_accuracy"] > 0.9
    model = fastfcn.load("out")
    assert np.mean(model.predict(table.x) == table.y) > 0.9
    assert model.feature_names == (None if suffix == "npz" else ("length", "width"))


def test_a_column_of_many_numbers_is_a_regression() -> None:
    prices(Path("p.csv"))
    result = done("train", "--data", "p.csv", "--target", "price", *QUICK, "--output", "out")
    assert "regression of price" in result.stdout
    assert config_of("out")["result"]["validation_r2"] > 0.9
    model, table = fastfcn.load("out"), fastfcn.datasets.read_table("p.csv", "price")
    error = model.predict(table.x) - table.y
    assert np.sqrt(np.mean(error**2)) < 0.3 * table.y.std()


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([0, 1] * 20, "classification"),
        ([0.5, 1.0] * 20, "regression"),
        (list(range(1000, 1040)), "classification"),
        (list(range(200)), "regression"),
    ],
)
def test_the_task_is_told_from_the_target(y: list[Any], task: str) -> None:
    write_csv(Path("t.csv"), {"x": list(range(len(y))), "y": y})
    data = sources.file(Path("t.csv"), "y", (), None, None, None, 0.0, 0)
    assert data.about["task"] == task
    forced = sources.file(Path("t.csv"), "y", (), None, "classification", None, 0.0, 0)
    assert len(forced.about["classes"]) == len(set(y))


def test_columns_are_standardised_by_the_training_samples_alone() -> None:
    flowers(Path("f.csv"))
    data = sources.file(Path("f.csv"), "kind", ("id",), None, None, None, 0.3, 0)
    prepared = data.train.x * data.about["scale"] + data.about["shift"]
    np.testing.assert_allclose(prepared.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(prepared.std(axis=0), 1, rtol=1e-9)
    plain = sources.file(Path("f.csv"), "kind", ("id",), None, None, False, 0.3, 0)
    assert "scale" not in plain.about
    np.testing.assert_array_equal(plain.train.x, data.train.x)


def test_a_column_that_never_varies_becomes_zero() -> None:
    write_csv(Path("t.csv"), {"x": [0.1] * 7, "z": [1, 2, 3, 4, 5, 6, 7], "y": list("abababa")})
    data = sources.file(Path("t.csv"), "y", (), None, None, None, 0.0, 0)
    x = data.train.x * data.about["scale"] + data.about["shift"]
    np.testing.assert_allclose(x[:, 0], 0, atol=1e-12)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_is_a_share_of_every_class_and_the_same_each_time(
    fraction: float, seed: int
) -> None:
    y = np.repeat([0, 1, 2], [50, 30, 7])
    samples = Samples(np.arange(87)[:, None], y)
    kept, held = sources.parted(samples, fraction, seed, True, "t")
    both = np.concatenate([kept.x, held.x])[:, 0]
    assert sorted(both.tolist()) == list(range(87))
    assert np.all(abs(np.bincount(held.y, minlength=3) - np.bincount(y) * fraction) <= 1)
    again = sources.parted(samples, fraction, seed, True, "t")[1]
    other = sources.parted(samples, fraction, seed + 1, True, "t")[1]
    assert np.array_equal(held.x, again.x)
    assert not np.array_equal(held.x, other.x)


def test_rows_of_a_regression_are_held_out_at_random() -> None:
    samples = Samples(np.arange(1000)[:, None], np.arange(1000.0))
    kept, held = sources.parted(samples, 0.2, 0, False, "t")
    assert (len(kept.y), len(held.y)) in ((800, 200), (799, 201), (801, 199))
    assert abs(held.y.mean() - 500) < 60


def test_a_data_set_gives_up_a_part_of_its_training_samples_only() -> None:
    done("train", "--dataset", "digits", "--validation", "0.1", *QUICK[:2], "--epochs", "1",
         "--output", "out")  # fmt: skip
    result = config_of("out")["result"]
    assert {"train_accuracy", "validation_accuracy", "test_accuracy"} <= set(result)


def test_folders_of_images_are_classes() -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        for i in range(20):
            file = Path("pictures", name, f"{i}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(rng.integers(low, low + 128, (6, 5), np.uint8)).save(file)
    done("train", "--data", "pictures", "--image-size", "3", "4", *QUICK, "--output", "out")
    model = fastfcn.load("out")
    assert model.image == {"size": [3, 4], "mode": "L"}
    assert model.scale == 1 / 255
    assert model.classes == ("dark", "light")
    assert config_of("out")["result"]["validation_accuracy"] == 1.0
    assert config_of("out")["train"]["image_size"] == [3, 4]


def test_balanced_classes_count_alike() -> None:
    y = ["a"] * 30 + ["b"] * 10
    write_csv(Path("t.csv"), {"x": list(range(40)), "y": y})
    words = ("--data", "t.csv", "--target", "y", "--validation", "0", *QUICK)
    done("train", *words, "--class-weight", "balanced", "--output", "out")
    loss = fastfcn.load("out").loss
    assert isinstance(loss, fastfcn.losses.CrossEntropyLoss)
    np.testing.assert_allclose(loss.weight, [40 / 60, 40 / 20])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--target", "kind"], 1, "column 'text' of f.csv must be numbers, got 'word' in row 1"),
        (["--target", "price"], 1, "f.csv must have column 'price'; it has 'text', 'x', 'kind'"),
        ([], 2, "training on f.csv needs --target COLUMN"),
        (["--target", "text", "--exclude", "kind"], 1, "at least two classes"),
        (["--target", "kind", "--exclude", "text", "--task", "regression"], 1, "got text ('a')"),
        (["--target", "x", "--exclude", "text", "--exclude", "kind"], 1, "must have a column"),
        (["--target", "kind", "--exclude", "text", "--loss", "mse"], 2, "for classification"),
        (["--target", "kind", "--exclude", "text", "--validation", "0.01"], 1, "on both sides"),
        (["--target", "kind", "--exclude", "text", "--dataset", "digits"], 2, "not both"),
        (
            ["--target", "x", "--exclude", "text", "--exclude", "kind2", "--task", "regression",
             "--label-smoothing", "0.1"], 1, "column 'kind2'",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_trained_on_is_refused_and_nothing_is_written(
    words: list[str], code: int, message: str
) -> None:
    write_csv(Path("f.csv"), {"text": ["word"] * 4, "x": [1, 2, 3, 4], "kind": list("abab")})
    result = run("train", "--data", "f.csv", *words, *QUICK[:4], "--batch-size", "2")
    assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
    assert message in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("words", [["--target", "y"], ["--task", "regression"], ["--exclude", "a"]])
def test_options_for_files_are_refused_without_one(words: list[str]) -> None:
    result = run("train", "--dataset", "digits", *words)
    assert result.exit_code == 2
    assert "is for --data FILE only" in result.stderr


def test_options_of_images_are_refused_for_a_table() -> None:
    flowers(Path("f.csv"))
    result = run("train", "--data", "f.csv", "--target", "kind", "--exclude", "id", *QUICK,
                 "--image-size", 3, 3, "--output", "out")  # fmt: skip
    assert result.exit_code == 2
    assert "'--image-size': is for images, got f.csv" in result.stderr
    assert not Path("out").exists()


def test_counts_are_predicted_as_counts() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = rng.poisson(np.exp(1.0 + x))
    write_csv(Path("c.csv"), {"x": x.tolist(), "y": y.tolist()})
    words = ("--data", "c.csv", "--target", "y", "--task", "regression", "--loss", "poisson")
    done("train", *words, *QUICK, "--epochs", "60", "--output", "out")
    said = fastfcn.load("out").predict(np.array([[-1.0], [0.0], [1.0]]))
    np.testing.assert_allclose(said, np.exp([0.0, 1.0, 2.0]), rtol=0.25)
    assert config_of("out")["result"]["validation_r2"] > 0.5


def test_a_target_the_loss_cannot_take_is_refused_and_nothing_is_written() -> None:
    write_csv(Path("c.csv"), {"x": list(range(40)), "y": [-0.5, 1.5] * 20})
    words = ("--data", "c.csv", "--target", "y", "--loss", "poisson")
    result = run("train", *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "target" in result.stderr
    assert not list(Path("runs").iterdir())


def test_class_options_are_refused_for_a_regression() -> None:
    prices(Path("p.csv"))
    for words in (["--label-smoothing", "0.1"], ["--class-weight", "balanced"]):
        result = run("train", "--data", "p.csv", "--target", "price", *words)
        assert result.exit_code == 2
        assert "needs classes, and the task is regression" in result.stderr
