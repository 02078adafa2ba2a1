"""`fastfcn plot`: which figures it writes, where, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

import fastfcn
from fastfcn import cli, nn

STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "--dataset", "digits", "--epochs", "3", "--layers", "16"]
    done = CliRunner().invoke(cli.main, [*words, "--output", str(folder), "--no-progress"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    made: list[Figure] = []
    savefig = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        made.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return made


def plot(*arguments: object) -> Result:
    result = CliRunner().invoke(cli.main, ["plot", *map(str, arguments)])
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return result


@pytest.mark.parametrize("kind", ["curves", "confusion", "misclassified", "weights"])
def test_a_figure_lies_in_the_runs_folder_and_is_named(kind: str, folder: Path) -> None:
    file = folder / f"{kind}.png"
    file.unlink(missing_ok=True)
    done = plot(kind, folder)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{file}\n"
    assert file.read_bytes().startswith(STARTS[".png"])


@pytest.mark.parametrize("suffix", STARTS)
def test_the_files_name_says_the_format(suffix: str, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / f"figure{suffix}"
    assert plot("curves", folder, "--output", file).exit_code == 0
    assert file.read_bytes().startswith(STARTS[suffix])


def test_title_and_dpi_are_the_figures(folder: Path, tmp_path: Path, figures: list[Figure]) -> None:
    for number, dpi in enumerate((50, 100)):
        words = ("--title", "mine", "--dpi", dpi, "--output", f"{number}.png")
        assert plot("weights", folder, *words).exit_code == 0
    assert [figure.get_suptitle() for figure in figures] == ["mine", "mine"]
    # Width and height stand in a PNG's bytes 16 to 24.
    widths = [
        int.from_bytes((tmp_path / f"{number}.png").read_bytes()[16:20], "big")
        for number in range(2)
    ]
    assert widths == [400, 800]


def test_curves_of_a_run_are_titled_by_its_data_and_sizes(
    folder: Path, figures: list[Figure]
) -> None:
    assert plot("curves", folder).exit_code == 0
    assert figures[0].get_suptitle() == "digits (scikit-learn), 64-16-10"
    assert [len(axes.lines) for axes in figures[0].axes] == [2, 2]


def test_curves_of_several_runs_go_to_the_current_folder(
    folder: Path, tmp_path: Path, figures: list[Figure]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("epoch,loss\n1,0.5\n2,0.4\n", encoding="utf-8")
    done = plot("curves", folder, other, "--log")
    assert done.stdout == "curves.png\n"
    assert (tmp_path / "curves.png").is_file()
    assert [line.get_label() for line in figures[0].axes[0].lines] == [
        "digits, training (while learning)",
        "digits, validation (after the epoch)",
        "other.csv, training (while learning)",
    ]
    assert figures[0].axes[0].get_yscale() == "log"


def test_mistakes_are_those_of_the_test_data(folder: Path, figures: list[Figure]) -> None:
    assert plot("confusion", folder).exit_code == 0
    assert plot("misclassified", folder, "--images", 5).exit_code == 0
    matrix, grid = figures
    counts = [int(text.get_text().split()[0]) for text in matrix.axes[0].texts]
    assert sum(counts) == 364
    assert len(grid.axes[0].images) == 5
    right = int(matrix.get_suptitle().split(": ")[1].split()[0])
    assert f"Misclassified: {364 - right} of 364" in grid.get_suptitle()


def test_weights_are_the_models_in_the_shape_that_is_asked_for(
    folder: Path, figures: list[Figure]
) -> None:
    assert plot("weights", folder, "--images", 7, "--image-shape", 4, 16).exit_code == 0
    images = figures[0].axes[0].images
    assert [image.get_array().shape for image in images] == [(4, 16)] * 7


@pytest.mark.parametrize(("mode", "features"), [("L", 60), ("RGB", 180)])
def test_weights_have_the_shape_of_the_images_that_were_trained_on(
    tmp_path: Path, figures: list[Figure], mode: str, features: int
) -> None:
    net = nn.Sequential(nn.Linear(features, 4))
    fastfcn.save(tmp_path / "model.safetensors", net, image={"size": [6, 10], "mode": mode})
    done = plot("weights", tmp_path)
    if mode == "L":
        assert [image.get_array().shape for image in figures[0].axes[0].images] == [(6, 10)] * 4
    else:
        assert "must be of grey images to have its weights drawn, got colour ones" in done.stderr


def test_activations_need_no_run(tmp_path: Path) -> None:
    assert plot("activations", "--dpi", 40).stdout == "activations.png\n"
    assert (tmp_path / "activations.png").is_file()


@pytest.mark.parametrize("as_folder", [False, True])
def test_the_learning_rate_finder_is_drawn_from_its_file(
    as_folder: bool, tmp_path: Path, figures: list[Figure]
) -> None:
    file = tmp_path / "lr_finder.csv"
    file.write_text("lr,loss,suggestion\n0.01,2.0,0.05\n0.1,1.0,\n", encoding="utf-8")
    done = plot("lr-finder", tmp_path if as_folder else file)
    assert done.stdout == f"{tmp_path / 'lr_finder.png'}\n"
    assert figures[0].axes[0].lines[1].get_label().startswith("suggestion: 0.05, where")


def run_of(folder: Path, history: bytes) -> Path:
    """A run with nothing but a history."""
    folder.mkdir()
    (folder / "history.csv").write_bytes(history)
    return folder


def test_what_cannot_be_drawn_is_said_in_a_line(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.toml").write_text('[train]\ndataset = "other"\n', encoding="utf-8")
    net = nn.Sequential(nn.Linear(64, 10))
    fastfcn.save(strange / "model.safetensors", net, task="classification")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.toml").write_text("[train", encoding="utf-8")
    for words, expected in [
        (("confusion", empty), "must be a folder that fastfcn train wrote"),
        (("confusion", strange), "must name a data set, one of mnist, fashion_mnist, digits"),
        (("confusion", broken), "must be TOML"),
        (("curves", empty), "history.csv must be a table of a run, and there is no such file"),
        (("lr-finder", empty), "lr_finder.csv must be a table of a run, and there is no such file"),
        (("weights", folder, "--image-shape", 3, 5), "must hold the 64 features"),
        (("curves", run_of(tmp_path / "void", b"")), "must have a column epoch, got none"),
        (("curves", run_of(tmp_path / "junk", b"junk")), "must have a column epoch, got ['junk']"),
        (("curves", run_of(tmp_path / "bytes", b"\xff")), "history.csv must be a table of numbers"),
    ]:
        done = plot(*words)
        assert done.exit_code == 1
        assert expected in done.stderr
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--output", "figure.txt"), "must end in .png, .svg or .pdf, got figure.txt"),
        (("--dpi", "0"), "'--dpi'"),
        ((), "Missing argument 'RUN...'"),
        (("no-such-folder",), "does not exist"),
    ],
)
def test_wrong_words_are_usage_errors(words: tuple[str, ...], expected: str) -> None:
    done = plot("curves", *words)
    assert done.exit_code == 2
    assert expected in done.stderr
