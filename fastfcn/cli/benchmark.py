"""``fastfcn benchmark``: what this machine can do, and how much of it training gets."""

import json
import platform
import sys
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import fastfcn
from fastfcn.cli.machine import processor
from fastfcn.cli.messages import clean_errors, count, stop
from fastfcn.cli.options import Finite, check_threads, threads_option

if TYPE_CHECKING:
    from fastfcn.datasets import Dataset
    from fastfcn.rates import KernelRate, Setting
    from fastfcn.roofline import Bandwidth, Roof

_QUICK = 4.0
"""Seconds of --quick."""


class _Measured(NamedTuple):
    """Everything that was measured; a key of the dictionaries is a number of threads."""

    data: str
    zeros: float
    """Part of the images that is zero."""
    samples: int
    peaks: dict[int, list[float]]
    """One before, one between and one after the other measurements."""
    bandwidths: dict[int, "Bandwidth"]
    epochs: "dict[Setting, list[float]]"
    kernels: list["KernelRate"]

    @property
    def threads(self) -> list[int]:
        """The numbers of threads, ascending: 1, and all."""
        return list(self.peaks)

    def roof(self, n_threads: int) -> "Roof":
        """Return the best that was seen of either: other processes only take away."""
        from fastfcn.roofline import Roof

        return Roof(max(self.peaks[n_threads]), max(self.bandwidths[n_threads]))


@click.command(
    "benchmark",
    short_help="Measure this machine, and how near training comes to its limits.",
    context_settings={"max_content_width": 100},
)
@threads_option
@click.option(
    "--seconds",
    type=Finite(min=0.0, min_open=True),
    default=20.0,
    show_default=True,
    help="About how long to measure; compiling and loading come on top.",
)
@click.option("--quick", is_flag=True, help=f"The same as --seconds {_QUICK:g}: a first look.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(threads: int | None, seconds: float, quick: bool, as_json: bool) -> None:
    """Measure this machine's limits, and how near training comes to them.

    The arithmetic (PEAK) and the memory bandwidth; an epoch of 784-256-128-10 on MNIST, or on
    synthetic images of its shape where it is not on this machine; and the kernels of a training
    step, each against the limit that bounds it. Nothing is downloaded or written.
    """
    with clean_errors("the measurement is not complete", "close other programs"):
        import numba

        check_threads(threads)
        most = numba.get_num_threads() if threads is None else threads
        measured = _measure(sorted({1, most}), _QUICK if quick else seconds)
        if as_json:
            click.echo(json.dumps(_as_json(measured), indent=2))
        else:
            click.echo("\n\n".join([_title(most), _roofs(measured), _epochs(measured),
                                    _kernels(measured), _notes(measured)]))  # fmt: skip


def _measure(thread_counts: list[int], seconds: float) -> _Measured:
    from fastfcn import precompile, rates, roofline

    peaks: dict[int, list[float]] = {n: [] for n in thread_counts}

    def measure_peaks() -> None:
        for n, values in peaks.items():
            values.append(roofline.peak_flops(n, seconds / 40))

    with _Status() as status:
        status.say("loading the data")
        name, arrays = _data()
        status.say("compiling the kernels, or loading them from disk")
        for step in precompile.steps("float32"):
            step.run()
        status.say("PEAK and memory")
        measure_peaks()
        bandwidths = {n: roofline.bandwidth(n, seconds / 20) for n in thread_counts}
        status.say("epochs")
        x, y = arrays.x_train, arrays.y_train
        epochs = rates.epochs(x, y, 1 / 255, thread_counts, seconds * 0.45)
        measure_peaks()
        kernels = []
        for kernel in rates.kernel_rates(thread_counts[-1], seconds * 0.3):
            kernels.append(kernel)
            status.say(f"kernels: {kernel.name}, {kernel.size}")
        measure_peaks()
    zeros = float((x == 0).mean())
    return _Measured(name, zeros, len(x), peaks, bandwidths, epochs, kernels)


def _data() -> tuple[str, "Dataset"]:
    """Return MNIST, or what stands in for it, and its name."""
    from fastfcn import datasets
    from fastfcn.datasets.synthetic import synthetic_mnist

    try:
        return "MNIST", datasets.mnist(download=False)
    except datasets.DatasetUnavailable:
        return "synthetic images", synthetic_mnist(n_test=0)
    except datasets.IDXError as error:
        stop(f"Error: {error}", 1)


class _Status:
    """One line on standard error about what is going on, where that is a terminal."""

    def __enter__(self) -> "_Status":
        return self

    def __exit__(self, *exception: object) -> None:
        self._show("")

    def say(self, text: str) -> None:
        """Replace the line."""
        self._show(f"measuring: {text} ...")

    def _show(self, text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _title(most: int) -> str:
    from fastfcn_kernels.simd import VECTOR_BYTES

    return (
        f"fastfcn {fastfcn.__version__} on {processor()}: {count(most, 'thread')}, "
        f"{8 * VECTOR_BYTES}-bit vectors"
    )


def _roofs(measured: _Measured) -> str:
    peaks = {n: measured.roof(n).peak for n in measured.threads}
    reads = {n: measured.bandwidths[n].read for n in measured.threads}
    updates = {n: measured.bandwidths[n].update for n in measured.threads}
    return "\n".join(
        [
            _row("Limits of the machine", map(_threads, measured.threads)),
            _row("  PEAK, float32 multiply-adds", _numbers(peaks, 1e9, 1), "GFLOP/s"),
            _row("  memory, read", _numbers(reads, 1e9, 1), "GB/s"),
            _row("  memory, read and write", _numbers(updates, 1e9, 1), "GB/s"),
        ]
    )


def _epochs(measured: _Measured) -> str:
    from fastfcn.rates import BATCH, SIZES, Setting

    work = _work(measured)
    limits = {n: work / measured.roof(n).peak for n in measured.threads}
    sizes = "-".join(map(str, SIZES))
    number = len(next(iter(measured.epochs.values())))
    lines = [
        f"One epoch of {sizes} in batches of {BATCH}, median of {number}",
        f"on {measured.samples:,} {_images(measured)}",
        _row("", map(_threads, measured.threads)),
        _row("  LIMIT", _numbers(limits, 1, 3), f"s, {work / 1e9:.1f} GFLOP / PEAK"),
    ]
    for skips, name in ((False, "every product"), (True, "zeros left out")):
        medians = {n: median(measured.epochs[Setting(n, skips)]) for n in measured.threads}
        multiples = [f"{medians[n] / limits[n]:.2f} x" for n in measured.threads]
        images = {n: measured.samples / seconds for n, seconds in medians.items()}
        lines += [
            _row(f"  {name}", _numbers(medians, 1, 3), "s"),
            _row("", multiples, "the LIMIT"),
            _row("", _numbers(images, 1, 0), "images a second"),
        ]
    return "\n".join(lines)


def _kernels(measured: _Measured) -> str:
    from fastfcn.rates import BATCH

    most = measured.threads[-1]
    roof = measured.roof(most)
    lines = [
        f"Kernels on {count(most, 'thread')}, in batches of {BATCH}",
        f"  {'':29}{'time':>10}{'rate':>16}{'FLOP/B':>8}  {'bound':<8}{'share':>5}",
    ]
    for kernel in measured.kernels:
        bound = roof.bound(kernel.intensity)
        if bound == "compute":
            rate = f"{kernel.flops / kernel.seconds / 1e9:.1f} GFLOP/s"
        else:
            rate = f"{kernel.bytes / kernel.seconds / 1e9:.1f} GB/s   "
        share = kernel.share(roof)
        lines.append(
            f"  {kernel.name:<15} {kernel.size:>13}{_time(kernel.seconds):>10}{rate:>16}"
            f"{kernel.intensity:>8.1f}  {bound:<8}{f'{share:.0%}' if share >= 0.01 else '<1%':>5}"
        )
    return "\n".join(lines)


def _notes(measured: _Measured) -> str:
    notes = (
        "Times are medians; limits are the best seen. LIMIT is the time of all products:\n"
        "leaving those with zeros out can take less. share: of the limit that bounds\n"
        "the kernel, PEAK or the memory's bandwidth, by its FLOP a byte."
    )
    spread = max(1 - min(values) / max(values) for values in measured.peaks.values())
    if spread > 0.1:
        notes += (
            f"\nPEAK varied by {spread:.0%} between measurements: another program is running, or\n"
            "the clock changes. Measure again on an idle machine."
        )
    return notes


def _as_json(measured: _Measured) -> dict[str, Any]:
    """Return everything in seconds, FLOP, bytes; lists hold a number a measurement."""
    import numba
    import numpy as np

    roofs = {n: measured.roof(n) for n in measured.threads}
    most = measured.threads[-1]
    work = _work(measured)
    return {
        "machine": {"processor": processor(), "platform": platform.platform()},
        "versions": {
            "fastfcn": fastfcn.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
        "data": {"name": measured.data, "samples": measured.samples, "zeros": measured.zeros},
        "limits": [
            {
                "threads": n,
                "peak_flops": roof.peak,
                "peak_flops_measured": measured.peaks[n],
                "bandwidth": measured.bandwidths[n]._asdict(),
            }
            for n, roof in roofs.items()
        ],
        "epochs": [
            {
                **setting._asdict(),
                "seconds": times,
                "median_seconds": median(times),
                "flops": work,
                "limit_seconds": work / roofs[setting.threads].peak,
                "multiple_of_limit": median(times) * roofs[setting.threads].peak / work,
            }
            for setting, times in measured.epochs.items()
        ],
        "kernels": [
            {
                **kernel._asdict(),
                "threads": most,
                "intensity": kernel.intensity,
                "bound": roofs[most].bound(kernel.intensity),
                "share": kernel.share(roofs[most]),
            }
            for kernel in measured.kernels
        ],
    }


def _work(measured: _Measured) -> float:
    """Return the FLOP of an epoch: its dense matrix products."""
    from fastfcn.rates import SIZES, flops_per_sample

    return float(flops_per_sample(SIZES) * measured.samples)


def _images(measured: _Measured) -> str:
    zeros = f"{measured.zeros:.0%} of the pixels zero"
    if measured.data == "MNIST":
        return f"images of MNIST ({zeros})"
    return f"synthetic images ({zeros}); MNIST was not found"


def _row(name: str, values: Any, unit: str = "") -> str:
    return f"{name:<29}{''.join(f'{value:>12}' for value in values)}  {unit}".rstrip()


def _numbers(values: dict[int, float], divisor: float, digits: int) -> list[str]:
    return [f"{value / divisor:,.{digits}f}" for value in values.values()]


def _threads(number: int) -> str:
    return count(number, "thread")


def _time(seconds: float) -> str:
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds:.2f} s"
