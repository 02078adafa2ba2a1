"""`fastfcn predict`: what goes in, and what comes out."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastfcn
from command_line import done, flowers, prices, run, write_csv
from fastfcn import datasets, nn

TABLE = ("--layers", "8", "--epochs", "10", "--batch-size", "8", "--no-progress")


@pytest.fixture
def model() -> fastfcn.models.Model:
    """Of a run on flowers: ``out``."""
    flowers(Path("f.csv"))
    done("train", "--data", "f.csv", "--target", "kind", "--exclude", "id", *TABLE,
         "--output", "out")  # fmt: skip
    return fastfcn.load("out")


def columns(text: str) -> dict[str, list[str]]:
    names, *rows = csv.reader(io.StringIO(text))
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def test_every_kind_of_table_gives_the_same_predictions_in_order(model) -> None:
    table = datasets.read_table("f.csv", columns=["length", "width"])
    np.save("f.npy", table.x)
    np.savez("f.npz", x=table.x)
    # Other columns, and another order of them, do not matter.
    rows = datasets.read_table("f.csv", "kind", ["width", "length", "id"])
    other = {"note": rows.y, "width": rows.x[:, 0], "id": rows.x[:, 2], "length": rows.x[:, 1]}
    write_csv(Path("g.csv"), {name: values.tolist() for name, values in other.items()})
    expected = model.predict(table.x).tolist()
    for name in ("f.csv", "f.npy", "f.npz", "g.csv"):
        assert columns(done("predict", "out", name).stdout) == {"prediction": expected}


@pytest.mark.parametrize("words", [(), ("--proba", "--format", "json")])
def test_csv_on_standard_input_gives_what_the_file_gives(model, words: tuple[str, ...]) -> None:
    expected = done("predict", "out", "f.csv", *words).stdout
    text = Path("f.csv").read_bytes()
    assert done("predict", "out", "-", *words, text=text).stdout == expected
    marked = b"\xef\xbb\xbf" + text.replace(b",", b";")  # as spreadsheets write it
    assert done("predict", "out", "-", *words, text=marked).stdout == expected


def test_predict_stands_in_a_pipe(model) -> None:
    code = f"head -n 4 f.csv | {sys.executable} -m fastfcn predict out - | tail -n 3"
    piped = subprocess.run(code, shell=True, capture_output=True, text=True, check=True)
    assert piped.stdout.split() == columns(done("predict", "out", "f.csv").stdout)["prediction"][:3]
    assert piped.stderr == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input must have the names of its columns in the first line, got none"),
        ("length\n1\n", "standard input must have column 'width'; it has 'length'"),
        ("length,width\n1,wide\n", "column 'width' of standard input must be numbers, got 'wide'"),
        ("length,width\n1\n", "row 1 of standard input must have 2 fields"),
        (b"length,width\n\xff,1\n", "standard input must be text in UTF-8"),
    ],
)
def test_standard_input_that_does_not_fit_is_refused_by_column(
    model, text: str | bytes, message: str
) -> None:
    result = run("predict", "out", "-", text=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_standard_input_that_is_closed_is_told_without_a_traceback(model) -> None:
    code = f"{sys.executable} -m fastfcn predict out - <&-"
    told = subprocess.run(code, shell=True, capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "Error: standard input must be open to be read, and is closed\n"


def test_parquet_is_read_too(model) -> None:
    polars = pytest.importorskip("polars")
    polars.read_csv("f.csv").drop("kind").write_parquet("f.parquet")
    csv_file, parquet = (done("predict", "out", f"f.{s}").stdout for s in ("csv", "parquet"))
    assert csv_file == parquet


def test_probabilities_are_those_of_the_model_and_exact(model) -> None:
    x = datasets.read_table("f.csv", columns=["length", "width"]).x
    expected = model.predict_proba(x)
    found = columns(done("predict", "out", "f.csv", "--proba").stdout)
    assert list(found) == ["prediction", "proba_iris", "proba_rose", "proba_tulip"]
    p = np.array([found[f"proba_{name}"] for name in model.classes], np.float32).T
    np.testing.assert_array_equal(p, expected)
    rows = json.loads(done("predict", "out", "f.csv", "--proba", "--format", "json").stdout)
    assert [row["prediction"] for row in rows] == found["prediction"]
    assert list(rows[0]["probabilities"]) == ["iris", "rose", "tulip"]
    assert np.float32(rows[3]["probabilities"]["rose"]) == expected[3, 1]


def test_a_dash_for_the_output_is_standard_output(model) -> None:
    assert (
        done("predict", "out", "f.csv", "--output", "-").stdout
        == done("predict", "out", "f.csv").stdout
    )
    assert not Path("-").exists()


def test_output_goes_to_a_file_in_the_format_of_its_ending(model) -> None:
    assert done("predict", "out", "f.csv", "--output", "p.json").stdout == ""
    done("predict", "out", "f.csv", "--output", "p.csv")
    rows = json.loads(Path("p.json").read_text(encoding="utf-8"))
    assert columns(Path("p.csv").read_text(encoding="utf-8"))["prediction"] == [
        row["prediction"] for row in rows
    ]
    assert len(rows) == 90


def test_a_regression_gives_numbers_that_read_back_exactly() -> None:
    prices(Path("p.csv"))
    done("train", "--data", "p.csv", "--target", "price", *TABLE, "--output", "out")
    x = datasets.read_table("p.csv", columns=["size", "age"]).x
    found = columns(done("predict", "out", "p.csv").stdout)["prediction"]
    np.testing.assert_array_equal(np.float32(found), fastfcn.load("out").predict(x))
    assert max(map(len, found)) <= 14
    result = run("predict", "out", "p.csv", "--proba")
    assert result.exit_code == 1
    assert "--proba needs a model for classification" in result.stderr


def test_images_are_brought_to_the_size_and_colours_that_were_trained_on() -> None:
    image = pytest.importorskip("PIL.Image")
    for name, value in (("dark", 10), ("light", 240)):
        for i in range(8):
            file = Path("pictures", name, f"{i}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(np.full((4, 4), value + i, np.uint8)).save(file)
    done("train", "--data", "pictures", *TABLE, "--batch-size", "2", "--epochs", "40",
         "--output", "out")  # fmt: skip
    Path("new").mkdir()
    image.fromarray(np.full((9, 5, 3), 250, np.uint8)).save("new/a.png")
    image.fromarray(np.full((4, 4), 5, np.uint8)).save("new/b.png")
    found = columns(done("predict", "out", "new").stdout)
    assert found == {"file": ["a.png", "b.png"], "prediction": ["light", "dark"]}
    assert columns(done("predict", "out", "new/b.png").stdout)["prediction"] == ["dark"]
    assert columns(done("predict", "out", "pictures").stdout)["file"][8] == "light/0.png"


def test_a_network_saved_by_hand_gives_its_outputs() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    fastfcn.save("bare.safetensors", net)
    x = np.array([[0.5, 1.0], [2.0, -1.0]])
    np.save("x.npy", x)
    found = columns(done("predict", "bare.safetensors", "x.npy").stdout)
    assert list(found) == ["output_0", "output_1", "output_2"]
    np.testing.assert_array_equal(np.float32(list(found.values())).T, fastfcn.predict(net, x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length\n1\n", "g.csv must have column 'width'; it has 'length'"),
        ("length,width\n1,wide\n", "column 'width' of g.csv must be numbers, got 'wide' in row 1"),
        ("length,width\n1,\n", "column 'width' of g.csv must have no missing values"),
    ],
)
def test_input_that_does_not_fit_is_refused_by_column(model, text: str, message: str) -> None:
    Path("g.csv").write_text(text)
    result = run("predict", "out", "g.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_arrays_of_another_width_are_refused(model) -> None:
    np.save("x.npy", np.zeros((3, 5)))
    result = run("predict", "out", "x.npy")
    assert result.exit_code == 1
    assert "x.npy must have the 2 features of the model, got 5" in result.stderr


def test_a_reader_that_has_enough_ends_it_quietly(model) -> None:
    np.save("x.npy", np.zeros((100_000, 2)))
    code = f"{sys.executable} -m fastfcn predict out x.npy | head -n 1"
    done_ = subprocess.run(code, shell=True, capture_output=True, text=True, check=True)
    assert done_.stdout == "prediction\n"
    assert done_.stderr == ""


def test_what_is_read_is_not_replaced(model) -> None:
    before = Path("f.csv").read_bytes(), Path("out/model.safetensors").read_bytes()
    for given, output in (("out", "./f.csv"), ("out/model.safetensors", "out/model.safetensors")):
        result = run("predict", given, "f.csv", "--output", output)
        assert result.exit_code == 2
        assert "must be another file than" in result.stderr
    assert before == (Path("f.csv").read_bytes(), Path("out/model.safetensors").read_bytes())


def test_a_file_that_is_neither_image_nor_table_is_told_what_tables_are(model) -> None:
    Path("f.xlsx").write_text("length,width\n1,2\n")
    result = run("predict", "out", "f.xlsx")
    assert result.exit_code == 1
    assert "f.xlsx must be a whole image" in result.stderr
    assert "a table's name ends in .csv, .tsv" in result.stderr
