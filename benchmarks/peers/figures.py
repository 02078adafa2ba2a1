"""The results drawn: bars with the limit, and the references' learning curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.report import Document, number, threads, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers tell apart.
OURS, OTHERS, LIMIT = "#0072B2", "#999999", "#D55E00"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def bars(found: Document, path: Path) -> None:
    """Draw each task's medians as bars, with the range and, where there is one, the limit."""
    from matplotlib.figure import Figure

    tasks = [each for each in found["tasks"].values() if any("median" in e for e in each["peers"])]
    if not tasks:
        return
    counts = [sum("median" in e for e in each["peers"]) for each in tasks]
    figure = Figure(figsize=(9, 0.34 * sum(counts) + 1.25 * len(tasks)), layout="constrained")
    panels = figure.subplots(
        len(tasks), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 1.5 for n in counts]}
    )
    for axes, each in zip(panels[:, 0], tasks, strict=True):
        _panel(axes, each)
    machine, settings = found["machine"], found["settings"]
    figure.supxlabel(
        f"median and range; (×): multiple of fastfcn's\n{machine['processor']}, "
        f"{threads(settings['threads'])}; data: {settings['data']}; {machine['date'][:10]}, "
        f"commit {machine['commit']}",
        fontsize=8,
    )
    figure.savefig(path, dpi=150)


def _panel(axes: "Axes", each: Document) -> None:
    entries = [entry for entry in each["peers"] if "median" in entry][::-1]
    medians = [entry["median"] for entry in entries]
    name, scale = unit(medians)
    low = [scale * (entry["median"] - entry["min"]) for entry in entries]
    high = [scale * (entry["max"] - entry["median"]) for entry in entries]
    axes.barh(
        [entry["title"] for entry in entries],
        [scale * value for value in medians],
        xerr=[low, high],
        color=[OURS if entry["peer"].startswith("fastfcn") else OTHERS for entry in entries],
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
    )
    ends = [scale * entry["max"] for entry in entries]
    for place, (end, entry) in enumerate(zip(ends, entries, strict=True)):
        text = f"{number(scale * entry['median'])} {name}"
        if entry["times_fastfcn"] is not None:
            text += f"  ({entry['times_fastfcn']:.2f}×)"
        axes.annotate(
            text,
            (end, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            # Over the line of the limit, which may run through it.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
    title = each["title"]
    if each["limit"] is not None:
        axes.axvline(scale * each["limit"], color=LIMIT, linestyle="--", linewidth=1.5)
        title += f"  (dashed: LIMIT {number(scale * each['limit'])} {name})"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(name, fontsize=8)
    axes.set_xlim(0, 1.25 * max(ends))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def loss(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw the training loss over the epochs, as the first reference does in its figure 3."""
    _curves(curves, {"loss": ("-", "")}, "training loss", path, log=True)


def accuracy(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw both accuracies over the epochs, as the first reference does in its figure 2."""
    columns = {"train_accuracy": ("-", ", train"), "test_accuracy": ("--", ", test")}
    _curves(curves, columns, "accuracy", path)


def _curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    columns: Mapping[str, tuple[str, str]],
    label: str,
    path: Path,
    log: bool = False,
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Any = figure.subplots()
    for color, (title, found) in zip(LINES, curves.items(), strict=False):
        for column, (line, suffix) in columns.items():
            epochs = range(1, len(found[column]) + 1)
            axes.plot(epochs, found[column], line, color=color, marker=".", label=title + suffix)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
