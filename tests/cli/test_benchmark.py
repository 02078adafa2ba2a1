"""`fastfcn benchmark`: what it prints of what it measures."""

import json

import pytest
from click.testing import CliRunner, Result

from fastfcn import cli, datasets
from fastfcn.cli import benchmark
from fastfcn.rates import KernelRate, Setting
from fastfcn.roofline import Bandwidth

MEASURED = benchmark._Measured(
    data="MNIST",
    zeros=0.81,
    samples=60_000,
    peaks={1: [250e9, 248e9, 249e9], 2: [490e9, 500e9, 495e9]},
    bandwidths={1: Bandwidth(20e9, 18e9), 2: Bandwidth(30e9, 40e9)},
    epochs={
        Setting(1, False): [0.4, 0.3, 9.0],
        Setting(2, False): [0.2, 5.0, 0.15],
        Setting(1, True): [0.3, 0.2, 9.0],
        Setting(2, True): [0.1, 5.0, 0.05],
    },
    kernels=[
        KernelRate("forward", "4096 wide", 0.01, 4e9, 7e7),
        KernelRate("update", "16.8 M params", 0.01, 1e8, 3.2e8),
    ],
)


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli.main, ["benchmark", *words])
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return result


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], float]]:
    """Figures that are known, and what was asked for."""
    asked: list[tuple[list[int], float]] = []

    def measure(thread_counts: list[int], seconds: float) -> benchmark._Measured:
        asked.append((thread_counts, seconds))
        return MEASURED

    monkeypatch.setattr(benchmark, "_measure", measure)
    return asked


def line(text: str, name: str) -> str:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return found


def test_tables_fit_80_columns(measured: object) -> None:
    assert max(map(len, run().output.splitlines())) <= 80


def test_shares_are_of_the_best_peak_and_the_median_epoch(measured: object) -> None:
    text = run().output
    assert line(text, "PEAK,").split()[-3:] == ["250.0", "500.0", "GFLOP/s"]
    assert line(text, "LIMIT  ").split()[1:3] == ["0.242", "0.121"]
    assert "60.4 GFLOP / PEAK" in text
    assert line(text, "every product").split()[2:4] == ["0.400", "0.200"]
    assert line(text, "zeros left out").split()[3:5] == ["0.300", "0.100"]
    multiples = [line.split()[:4] for line in text.splitlines() if line.endswith("the LIMIT")]
    assert multiples == [["1.65", "x", "1.65", "x"], ["1.24", "x", "0.83", "x"]]


def test_each_kernel_is_held_against_the_roof_that_bounds_it(measured: object) -> None:
    text = run().output
    assert line(text, "forward").split()[-5:] == ["400.0", "GFLOP/s", "57.1", "compute", "80%"]
    assert line(text, "update").split()[-5:] == ["32.0", "GB/s", "0.3", "memory", "80%"]


def test_json_says_the_same(measured: object) -> None:
    given = json.loads(run("--json").stdout)
    assert [limit["peak_flops"] for limit in given["limits"]] == [250e9, 500e9]
    for epoch in given["epochs"]:
        expected = epoch["median_seconds"] / epoch["limit_seconds"]
        assert epoch["multiple_of_limit"] == pytest.approx(expected)
    assert [epoch["skip_zeros"] for epoch in given["epochs"]] == [False, False, True, True]
    assert [kernel["bound"] for kernel in given["kernels"]] == ["compute", "memory"]
    assert given["data"]["name"] == "MNIST"


def test_it_measures_one_thread_and_as_many_as_asked_for(
    measured: list[tuple[list[int], float]],
) -> None:
    run("--threads", "1", "--seconds", "7")
    run("--quick", "--threads", "1")
    assert measured == [([1], 7.0), ([1], benchmark._QUICK)]


def test_more_threads_than_there_are_are_refused(measured: list[object]) -> None:
    result = run("--threads", "100000")
    assert result.exit_code == 2
    assert "--threads" in result.stderr
    assert not measured


def test_a_busy_machine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = MEASURED._replace(peaks={1: [250e9] * 3, 2: [500e9, 300e9, 500e9]})
    monkeypatch.setattr(benchmark, "_measure", lambda *_: busy)
    assert "PEAK varied by 40%" in run().output
    monkeypatch.setattr(benchmark, "_measure", lambda *_: MEASURED)
    assert "varied" not in run().output


@pytest.mark.slow
def test_without_mnist_it_measures_on_synthetic_images_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(download: bool) -> None:
        assert not download
        raise datasets.DatasetUnavailable("nowhere")

    monkeypatch.setattr(datasets, "mnist", missing)
    result = run("--threads", "1", "--seconds", "0.5")
    assert result.exit_code == 0
    assert "60,000 synthetic images (81% of the pixels zero); MNIST was not found" in result.output
    for name in ("PEAK,", "memory, read  ", "zeros left out", "loss", "update"):
        assert line(result.output, name)
