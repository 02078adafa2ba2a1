"""``fastfcn evaluate``: how well a trained network does."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastfcn.cli import data as sources
from fastfcn.cli.data import TITLES
from fastfcn.cli.messages import clean_errors
from fastfcn.cli.options import check_threads, threads_option
from fastfcn.cli.tables import aligned

if TYPE_CHECKING:
    from fastfcn.models import Model

MOST_CLASSES = 50
"""A table of more classes than this is for --json."""


@click.command(
    "evaluate", short_help="Measure a trained network.", context_settings={"max_content_width": 100}
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file or a folder of images, as for train; - for CSV on standard input.  "
    "[default: the samples that RUN held out]",
)
@click.option(
    "--target",
    metavar="COLUMN",
    help="The true values in --data. [default: the column that was trained on]",
)
@click.option(
    "--dataset", type=click.Choice(list(TITLES)), help="The test samples of a data set instead."
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to look for the data set in first.  [default: as for train]",
)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(
    run: Path,
    data: Path | None,
    target: str | None,
    dataset: str | None,
    root: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure the network of RUN, a run folder or a model file.

    Classification: accuracy, loss, and for each class precision, recall and F1. Regression: R²,
    loss, and the mean absolute and root mean squared error in the target's units.
    """
    from fastfcn import models
    from fastfcn.cli.scores import by_class, scores

    with clean_errors("nothing is written", "use fewer samples"):
        if data is not None and dataset is not None:
            raise click.UsageError("give --data or --dataset, not both.")
        check_threads(threads)
        with sources.readable():
            model = models.load(run)
            if model.task is None or model.loss is None:
                raise ValueError(
                    f"{run} must say its task and its loss to be evaluated; save it with "
                    "task=... and loss=..."
                )
            title, samples = sources.held_out(model, run, data, target, dataset, root)
            found = scores(model, samples, threads)
        if model.task == "classification":
            labels = model.classes or tuple(range(model.net.plan().stages[-1].out_features))
            number = {label: i for i, label in enumerate(labels)}
            said = [number[label] for label in model.predict(samples.x, threads).tolist()]
            found["classes"] = by_class(samples.y, _array(said), labels)
    if as_json:
        click.echo(json.dumps({"data": title} | found, indent=2))
    else:
        click.echo(_told(title, model, found))


def _array(values: list[int]) -> Any:
    import numpy as np

    return np.array(values, np.int64)


def _told(title: str, model: "Model", found: dict[str, Any]) -> str:
    units = "" if model.target_name is None else f"  ({model.target_name})"
    rows = [("data", f"{title}: {found['samples']:,} samples")]
    if model.task == "classification":
        rows.append(("accuracy", f"{found['accuracy']:.4f}"))
    else:
        rows.append(("R²", f"{found['r2']:.4f}"))
        rows.append(("mean absolute error", f"{found['mean_absolute_error']:.6g}{units}"))
        rows.append(("root mean squared error", f"{found['root_mean_squared_error']:.6g}{units}"))
    rows.append(("loss", f"{found['loss']:.4f}  ({type(model.loss).__name__})"))
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    classes = found.get("classes", [])
    if not 0 < len(classes) <= MOST_CLASSES:
        return text
    measures = ("precision", "recall", "f1")
    lines = [
        [str(c["class"]), f"{c['samples']:,}", *[f"{c[name]:.4f}" for name in measures]]
        for c in classes
    ]
    return text + "\n\n" + aligned(["class", "samples", "precision", "recall", "F1"], lines)
