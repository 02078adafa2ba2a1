"""``fastfcn predict``: what a trained network says of new samples."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastfcn.cli import data as sources
from fastfcn.cli.messages import clean_errors
from fastfcn.cli.options import check_threads, threads_option

if TYPE_CHECKING:
    from fastfcn.models import Model


@click.command(
    "predict",
    short_help="Apply a trained network to new samples.",
    context_settings={"max_content_width": 100},
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("input", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--proba", is_flag=True, help="Give the probability of each class as well.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="File to write to, which is replaced; - or nothing: standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json"]),
    help="[default: json if --output ends in .json, else csv]",
)
@threads_option
def command(
    run: Path, input: Path, proba: bool, output: Path | None, form: str | None, threads: int | None
) -> None:
    """Predict what INPUT shows with the network of RUN, a run folder or a model file.

    INPUT is .csv, .tsv or .parquet with the columns that were trained on, in any order and among
    others; - for such columns as CSV on standard input; .npy, or .npz with the samples in x; a
    folder of images, or one image. A line a sample, in INPUT's order.
    """
    from fastfcn import models

    with clean_errors("nothing was written", "predict fewer samples at once"):
        check_threads(threads)
        _check_output(output, [run, input])
        with sources.readable():
            model = models.load(run)
            if proba and model.task != "classification":
                raise ValueError(f"--proba needs a model for classification, and {run} is none")
            rows = sources.for_model(model, input, None, False)
            columns = _columns(model, rows.x, proba, threads)
            if rows.files is not None:
                columns = {"file": [_below(input, file) for file in rows.files]} | columns
        as_json = form == "json" or (
            form is None and output is not None and output.suffix.lower() == ".json"
        )
        text = _json(columns) if as_json else _csv(columns)
        if output is None or str(output) == "-":
            click.echo(text, nl=False)
        else:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text, encoding="utf-8")


def _check_output(output: Path | None, read: list[Path]) -> None:
    """Refuse to replace what is read."""
    for path in read:
        if output is not None and output.exists() and path.exists() and output.samefile(path):
            raise click.BadParameter(
                f"must be another file than {path}, which is read, got {output}.",
                param_hint="'--output'",
            )


def _columns(model: "Model", x: Any, proba: bool, threads: int | None) -> dict[str, Any]:
    """Return the predictions, and the probabilities of the classes by their labels."""
    if model.task == "classification":
        p = model.predict_proba(x, threads)
        found = {"prediction": model.label(p).tolist()}
        if proba:
            labels = model.classes or range(p.shape[1])
            found["probabilities"] = {str(k): _exact(p[:, i]) for i, k in enumerate(labels)}
        return found
    values = model.predict(x, threads)
    if values.ndim == 1:
        return {"prediction": _exact(values)}
    return {f"output_{i}": _exact(values[:, i]) for i in range(values.shape[1])}


def _exact(values: Any) -> list[float]:
    """Return the shortest decimals that read back as these, in their own precision."""
    return [float(text) for text in values.astype(str)]


def _below(folder: Path, file: Path) -> str:
    return file.name if file == folder else file.relative_to(folder).as_posix()


def _json(columns: dict[str, Any]) -> str:
    p = columns.pop("probabilities", None)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if p is not None:
        for row, values in zip(rows, zip(*p.values(), strict=True), strict=True):
            row["probabilities"] = dict(zip(p, values, strict=True))
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def _csv(columns: dict[str, Any]) -> str:
    p = columns.pop("probabilities", {})
    columns |= {f"proba_{label}": values for label, values in p.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
