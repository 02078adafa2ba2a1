"""The command: ``python -m benchmarks.peers``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import inputs
from benchmarks.peers import figures, machine, report
from benchmarks.peers.job import ROOT, Job, Result, rounds, run
from benchmarks.peers.libraries import BASELINE, PEERS

WHAT = {
    "train": ("train",),
    "predict": ("predict-1", "predict-10000"),
    "tiny": ("tiny",),
    "curves": ("curves",),
}

DESCRIPTION = """\
Measure fastfcn and its peers side by side: the same network (784-256-128-10, ReLU), data, initial
weights, batches of 128, momentum SGD and number of threads.

  train    one epoch of training
  predict  1 row, and 10,000 rows
  tiny     one training step of 16-32-2 on 32 rows
  curves   loss and accuracy over 20 epochs, fastfcn and PyTorch

Each figure comes from a process of its own, whose environment lets its library be at its best;
peers take turns, round by round. Writes peers.md, peers.json and peers.png, and loss.png and
accuracy.png for the curves. A library that is not installed is reported as absent:
pip install -e '.[peers]' installs them all.
"""

EXAMPLES = """\
examples:
  FASTFCN_DATA=path/to/data python -m benchmarks.peers
  python -m benchmarks.peers --what train predict --peers fastfcn pytorch jax --rounds 3
  python -m benchmarks.peers --quick --data synthetic    # does everything run?
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, keys in (("what", list(WHAT)), ("peers", list(PEERS))):
        made.add_argument(
            f"--{name}",
            nargs="+",
            choices=keys,
            default=keys,
            metavar="NAME",
            help=f"any of {', '.join(keys)} (default: all)",
        )
    made.add_argument(
        "--rounds", type=_positive, metavar="N", help="processes of each figure (default: 5)"
    )
    made.add_argument(
        "--epochs", type=_positive, metavar="N", help="timed epochs of a process (default: 3)"
    )
    made.add_argument(
        "--curve-epochs", type=_positive, metavar="N", help="of the curves (default: 20)"
    )
    made.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        default=machine.cores(),
        help="of each library (default: all cores, %(default)s)",
    )
    made.add_argument(
        "--data",
        choices=("mnist", "synthetic"),
        default=inputs.SOURCE,
        help="MNIST from $FASTFCN_DATA, or images of its shapes (default here: %(default)s)",
    )
    made.add_argument(
        "--samples", type=_positive, metavar="N", help="rows of the data to keep (default: all)"
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="little of everything, to see that it runs: no figures to quote",
    )
    made.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=ROOT / "benchmarks" / "peers" / "results",
        help="folder for the results (default: %(default)s)",
    )
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def pairs(what: Sequence[str], peers: Sequence[str]) -> list[tuple[str, str]]:
    """Return every (task, peer) that was asked for and exists, the peak first."""
    tasks = [task for each in WHAT if each in what for task in WHAT[each] if task != "curves"]
    found = [(task, peer) for task in tasks for peer in peers if task in PEERS[peer].tasks]
    return [("peak", BASELINE), *found] if found else []


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write what was found."""
    made = parser()
    chosen = made.parse_args(arguments)
    if chosen.threads > machine.cores():
        made.error(f"--threads must be at most {machine.cores()}, the cores, got {chosen.threads}")
    if chosen.data == "mnist" and inputs.data_root() is None:
        made.error("--data mnist needs FASTFCN_DATA, a folder with MNIST/raw/; or --data synthetic")
    quick = chosen.quick
    count = chosen.rounds or (1 if quick else 5)
    epochs = chosen.epochs or (1 if quick else 3)
    curve_epochs = chosen.curve_epochs or (2 if quick else 20)
    samples = chosen.samples or (2048 if quick else None)

    def do(task: str, peer: str) -> Result:
        return run(
            Job(
                peer,
                task,
                chosen.data,
                samples,
                chosen.threads,
                epochs=curve_epochs if task == "curves" else epochs,
                steps=100 if quick else 2000,
                seconds=0.05 if quick else 1.0,
            )
        )

    results = rounds(pairs(chosen.what, chosen.peers), count, do, _tell)
    if "curves" in chosen.what:
        drawn = [("curves", peer) for peer in chosen.peers if "curves" in PEERS[peer].tasks]
        results |= rounds(drawn, 1, do, _tell)
    settings = {
        "data": chosen.data,
        "samples": samples,
        "threads": chosen.threads,
        "rounds": count,
        "epochs": epochs,
    }
    found = report.document(results, settings, machine.describe())
    _write(found, chosen.output)


def _tell(task: str, peer: str, number: int, result: Result) -> None:
    shown = {key: value for key, value in result.items() if key not in ("versions", "curves")}
    print(f"round {number}: {task}: {peer}: {shown}", file=sys.stderr, flush=True)


def _write(found: report.Document, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = report.markdown(found)
    (folder / "peers.md").write_text(text, encoding="utf-8")
    (folder / "peers.json").write_text(
        json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    figures.bars(found, folder / "peers.png")
    if found["curves"]:
        figures.loss(found["curves"], folder / "loss.png")
        figures.accuracy(found["curves"], folder / "accuracy.png")
    print(text)
    print(f"written to {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
