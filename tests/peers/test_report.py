"""What is made of results, from results made up here."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import figures, report

MACHINE = {
    "processor": "a processor",
    "cores": "2",
    "system": "Linux",
    "python": "3.11",
    "commit": "0123456789",
    "date": "2026-01-02T03:04:05+00:00",
}
SETTINGS = {"data": "mnist", "samples": None, "threads": 2, "rounds": 2, "epochs": 2}
PNG = b"\x89PNG\r\n\x1a\n"


def trained(*seconds: float) -> dict[str, Any]:
    return {"seconds": list(seconds), "accuracy": 0.968, "versions": {"numpy": "2.0"}}


def curve(offset: float) -> dict[str, Any]:
    values = [0.5 + offset, 0.6 + offset]
    return {"curves": {"loss": values, "train_accuracy": values, "test_accuracy": values}}


def found(**more: Any) -> report.Document:
    results = {
        ("peak", "fastfcn"): [{"flops": 4e11}, {"flops": 6.042624e11}],
        ("train", "pytorch"): [trained(0.5, 0.7), trained(0.6, 0.4)],
        ("train", "fastfcn"): [trained(0.2, 0.2), trained(0.3, 0.1)],
        ("train", "jax"): [{"absent": "No module named 'jax'"}],
        ("train", "pytorch-compiled"): [{"failed": "InvalidCxxCompiler: no | compiler"}],
        ("predict-1", "fastfcn"): [{"seconds": [4e-6]}, {"seconds": [6e-6]}],
        ("curves", "fastfcn"): [curve(0.0)],
        ("curves", "pytorch"): [curve(0.1)],
    }
    return report.document(results, SETTINGS | more, MACHINE)


def cells(markdown: str, title: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_median_range_and_multiples_over_all_rounds() -> None:
    # The limit is 60.4 GFLOP at the best peak of the rounds, a tenth of a second.
    assert cells(report.markdown(found()), "PyTorch, eager") == [
        "PyTorch, eager",
        "550 ms",
        "400 ms",
        "700 ms",
        "109,091",
        "2.75",
        "5.50",
        "0.9680",
    ]


def test_rows_come_by_time_and_those_without_one_last() -> None:
    peers = [entry["peer"] for entry in found()["tasks"]["train"]["peers"]]
    assert peers[:2] == ["fastfcn", "pytorch"]
    assert set(peers[2:]) == {"jax", "pytorch-compiled"}


def test_an_absent_peer_says_how_to_install_it() -> None:
    assert cells(report.markdown(found()), "JAX, jitted")[1] == "absent: pip install jax"


def test_a_failed_peer_says_why_without_breaking_the_table() -> None:
    markdown = report.markdown(found())
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    (line,) = (line for line in table if "compiled" in line)
    assert r"failed: InvalidCxxCompiler: no \| compiler" in line
    assert line.replace(r"\|", "").count("|") == table[0].count("|")


def test_tables_have_as_many_cells_in_every_line() -> None:
    tables = report.markdown(found()).split("## ")[1:]
    assert tables
    for table in tables:
        lines = [line.replace(r"\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1


def test_figures_name_machine_versions_commit_and_date() -> None:
    markdown = report.markdown(found())
    for part in (*MACHINE.values(), "numpy 2.0", "2 threads", "604 GFLOP/s"):
        assert part in markdown


def test_synthetic_data_are_not_called_mnist() -> None:
    assert "SYNTHETIC" not in report.markdown(found())
    assert "SYNTHETIC DATA" in report.markdown(found(data="synthetic"))


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(found())) == found()


def test_without_a_peak_or_fastfcn_there_are_times_and_no_multiples() -> None:
    document = report.document({("train", "numpy"): [trained(0.5)]}, SETTINGS, MACHINE)
    assert "LIMIT" not in report.markdown(document)
    assert cells(report.markdown(document), "NumPy with out=")[1] == "500 ms"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.012"), (1.0, "1.00"), (12.34, "12.3"), (123.4, "123"), (1234.0, "1234")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_figures_are_drawn(tmp_path: Path) -> None:
    document = found()
    figures.bars(document, tmp_path / "peers.png")
    figures.loss(document["curves"], tmp_path / "loss.png")
    figures.accuracy(document["curves"], tmp_path / "accuracy.png")
    for name in ("peers", "loss", "accuracy"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
