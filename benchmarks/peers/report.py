"""Results as a document, which JSON holds as it is, and as Markdown."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import inputs
from benchmarks.peers.job import Result
from benchmarks.peers.libraries import BASELINE, PEERS
from benchmarks.peers.problem import TINY_BATCH, TINY_SIZES, forward_flops, training_flops

Document = dict[str, Any]

UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6))


def document(
    results: Mapping[tuple[str, str], Sequence[Result]],
    settings: Mapping[str, Any],
    machine: Mapping[str, str],
) -> Document:
    """Return everything that was found, in types that JSON knows.

    Parameters
    ----------
    results : mapping of (task, peer) to results
        One result a round; the pair ("peak", fastfcn) gives the limit.
    settings : mapping
        ``data``, ``samples``, ``threads``, ``rounds``, ``epochs``.
    machine : mapping
        From :func:`~benchmarks.peers.machine.describe`.
    """
    peak = max((r["flops"] for r in results.get(("peak", BASELINE), ()) if "flops" in r), default=0)
    tasks = {}
    for task in dict.fromkeys(task for task, _ in results):
        if task not in ("peak", "curves"):
            own = {peer: found for (other, peer), found in results.items() if other == task}
            tasks[task] = _task(task, own, settings["samples"], peak)
    curves = {
        PEERS[peer].title: found[0]["curves"]
        for (task, peer), found in results.items()
        if task == "curves" and "curves" in found[0]
    }
    versions: dict[str, str] = {}
    for found in results.values():
        for result in found:
            versions |= result.get("versions", {})
    return {
        "machine": dict(machine),
        "settings": dict(settings),
        "versions": dict(sorted(versions.items())),
        "peak_flops": peak or None,
        "tasks": tasks,
        "curves": curves,
        "not_drawn": {
            PEERS[peer].title: _problem(peer, found[0])
            for (task, peer), found in results.items()
            if task == "curves" and "curves" not in found[0]
        },
    }


def _task(
    task: str, results: Mapping[str, Sequence[Result]], samples: int | None, peak: float
) -> Document:
    train, test = samples or 60_000, min(samples or 10_000, 10_000)
    title, rows, flops = {
        "train": ("Training: one epoch", train, training_flops(inputs.SIZES) * train),
        "predict-1": ("Prediction: 1 row, Python to Python", 1, None),
        "predict-10000": (f"Prediction: {test:,} rows", test, forward_flops(inputs.SIZES) * test),
        "tiny": (f"Training: one step of {_network(TINY_SIZES)}, {TINY_BATCH} rows", 32, None),
    }[task]
    limit = flops / peak if flops and peak else None
    entries = [_entry(peer, found) for peer, found in results.items()]
    base = next((e["median"] for e in entries if e["peer"] == BASELINE and "median" in e), None)
    for entry in entries:
        if "median" in entry:
            entry["times_limit"] = entry["median"] / limit if limit else None
            entry["times_fastfcn"] = entry["median"] / base if base else None
    entries.sort(key=lambda entry: entry.get("median", float("inf")))
    return {"title": title, "rows": rows, "flops": flops, "limit": limit, "peers": entries}


def _entry(peer: str, results: Sequence[Result]) -> Document:
    entry: Document = {"peer": peer, "title": PEERS[peer].title}
    wrong = [result for result in results if "seconds" not in result]
    if wrong:
        return entry | {"problem": _problem(peer, wrong[0])}
    seconds = [value for result in results for value in result["seconds"]]
    found = [result["accuracy"] for result in results if "accuracy" in result]
    return entry | {
        "median": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "accuracy": statistics.median(found) if found else None,
        "seconds": seconds,
    }


def _problem(peer: str, result: Result) -> str:
    if "absent" in result:
        return f"absent: pip install {' '.join(PEERS[peer].install)}"
    return f"failed: {result['failed']}"


def _network(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def unit(seconds: Sequence[float]) -> tuple[str, float]:
    """Return the unit in which the smallest of these is at least one, and its number a second."""
    smallest = min(seconds)
    return next((u for u in UNITS if smallest * u[1] >= 1), UNITS[-1])


def number(value: float) -> str:
    """Write a number with three digits, with all of those before the point, with three after 0."""
    return f"{value:.3f}" if value < 1 else f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def threads(count: int) -> str:
    """Write how many threads."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def markdown(found: Document) -> str:
    """Return the tables, and what they must be read with."""
    return "\n".join([*_lines(found), ""])


def _lines(found: Document) -> Iterator[str]:
    settings, machine = found["settings"], found["machine"]
    if settings["data"] == "mnist":
        data = "MNIST" if settings["samples"] is None else f"MNIST, {settings['samples']:,} rows"
    else:
        data = "SYNTHETIC DATA of MNIST's shape, not MNIST"
    yield "# fastfcn and its peers"
    yield ""
    yield (
        f"{_network(inputs.SIZES)} with ReLU, cross-entropy, SGD with lr 0.02 and momentum 0.9, "
        f"batches of {inputs.BATCH}; {data}; {threads(settings['threads'])}."
    )
    for task, each in found["tasks"].items():
        yield ""
        yield from _table(task, each, found)
    for title, reason in found["not_drawn"].items():
        yield ""
        yield f"Learning curves of {title}: {reason}"
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield (
        f"{machine['processor']}, {machine['cores']} cores; {machine['system']}; "
        f"Python {machine['python']}, {versions}; commit {machine['commit']}; {machine['date']}."
    )
    yield ""
    yield (
        f"Rounds: {settings['rounds']}, peers interleaved, every figure in a process of its own; "
        "medians with the range. Compilation and a first epoch are not counted. A training process "
        f"runs {settings['epochs'] + 1} epochs, after which its test accuracy is taken. "
        "Predictions take and give each library's own arrays."
    )
    if found["peak_flops"]:
        yield (
            "LIMIT: the dense operations at the rate that fused multiply-adds reach on this "
            f"machine, {found['peak_flops'] / 1e9:,.0f} GFLOP/s, measured in the same rounds."
        )


def _table(task: str, each: Document, found: Document) -> Iterator[str]:
    trained = task == "train"
    measured = [entry for entry in each["peers"] if "median" in entry]
    name, scale = unit([e["median"] for e in measured] or [each["limit"] or 1.0])

    def time(seconds: float) -> str:
        return f"{number(seconds * scale)} {name}"

    columns = ["median", "min", "max", "rows/s", "× fastfcn"]
    columns += ["× LIMIT"] * (each["limit"] is not None) + ["test accuracy"] * trained
    yield f"## {each['title']}"
    yield ""
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    if each["limit"] is not None:
        cells = [f"{time(each['limit'])}", "", "", f"{each['rows'] / each['limit']:,.0f}", "", "1"]
        yield f"| LIMIT: {each['flops'] / 1e9:,.3g} GFLOP | {' | '.join(cells + [''] * trained)} |"
    for entry in each["peers"]:
        if "problem" in entry:
            reason = entry["problem"].replace("|", r"\|")
            yield f"| {entry['title']} | {reason} |{' |' * (len(columns) - 1)}"
            continue
        cells = [time(entry[key]) for key in ("median", "min", "max")]
        cells.append(f"{each['rows'] / entry['median']:,.0f}")
        cells.append("" if entry["times_fastfcn"] is None else f"{entry['times_fastfcn']:.2f}")
        if each["limit"] is not None:
            cells.append(f"{entry['times_limit']:.2f}")
        if trained:
            cells.append("" if entry["accuracy"] is None else f"{entry['accuracy']:.4f}")
        yield f"| {entry['title']} | {' | '.join(cells)} |"
