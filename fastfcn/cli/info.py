"""``fastfcn info``: what a run's network is, or what this installation and machine are."""

import importlib.metadata
import json
import os
import platform
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fastfcn
from fastfcn.cli import data as sources
from fastfcn.cli.machine import processor
from fastfcn.cli.messages import clean_errors

if TYPE_CHECKING:
    from fastfcn.models import Model

_PACKAGES = (
    "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "safetensors", "matplotlib", "polars",
    "pillow", "torch",
)  # fmt: skip


@click.command(
    "info",
    short_help="Describe a trained network, or this machine.",
    context_settings={"max_content_width": 100},
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(run: Path | None, as_json: bool) -> None:
    """Describe the network of RUN, a run folder or a model file; without RUN this machine.

    Without RUN: the versions, the processor and its vector units, the threads, and the folder of
    the compiled kernels: what a report of a bug should have in it.
    """
    from fastfcn import models

    table = ""
    with clean_errors("nothing is written", "close other programs"), sources.readable():
        if run is None:
            found = _machine()
        else:
            model = models.load(run)
            found = {"run": str(run)} | _of_model(model) | _of_run(run)
            table = f"\n\n{model.net.summary()}"
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else _told(found) + table)


def _told(found: dict[str, Any]) -> str:
    width = max(map(len, found))
    lines = []
    for name, value in found.items():
        text = value
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
        elif isinstance(value, int):
            text = f"{value:,}"
        lines.append(f"{name.replace('_', ' '):<{width}}  {text}")
    return "\n".join(lines)


# ---- this machine ----------------------------------------------------------------------------


def _machine() -> dict[str, Any]:
    import numba
    from llvmlite.binding import get_host_cpu_name

    from fastfcn import precompile
    from fastfcn_kernels import simd

    return {
        "fastfcn": fastfcn.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "packages": _versions(),
        "system": platform.platform(),
        "processor": processor(),
        "compiled_for": numba.config.CPU_NAME or get_host_cpu_name(),
        "vectors": f"{8 * simd.VECTOR_BYTES} bits",
        "processors": os.cpu_count() or 1,
        "threads": numba.config.NUMBA_NUM_THREADS,
        "threading_layer": numba.config.THREADING_LAYER,
        "kernels": str(precompile.cache_folder()),
        "kernels_compiled": f"{precompile.cache_size() / 1e6:.1f} MB",
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


# ---- a run -----------------------------------------------------------------------------------


def _of_run(run: Path) -> dict[str, Any]:
    """Return what a run folder tells beside its model; nothing of a model file."""
    config = run / "config.toml"
    if not config.is_file():
        return {}
    tables = tomllib.loads(config.read_text(encoding="utf-8"))
    train, result = tables.get("train", {}), tables.get("result", {})
    found: dict[str, Any] = {
        "trained_on": train.get("data") or train.get("dataset") or "unknown",
        "epochs": f"{result.get('epochs_done', 0)} of {train.get('epochs')}",
    }
    for name, value in result.items():
        if isinstance(value, float) and name.startswith(("train_", "validation_", "test_")):
            found[name] = round(value, 6)
    made = tables.get("made_with", {})
    return found | {"made_with": {k: v for k, v in made.items() if k in ("fastfcn", "numba")}}


def _of_model(model: "Model") -> dict[str, Any]:
    from fastfcn.cli.network import sizes

    net, whole = model.net, model.net.summary()
    found: dict[str, Any] = {
        "sizes": "-".join(map(str, sizes(net))),
        "layers": [row.layer for row in whole.layers],
        "parameters": whole.parameters,
        "flops": whole.flops,
        "dtype": str(model.dtype),
        "task": model.task or "not said",
        "loss": "not said" if model.loss is None else type(model.loss).__name__,
    }
    if model.classes is not None:
        found["classes"] = list(model.classes)
    if model.target_name is not None:
        found["target"] = model.target_name
    if model.feature_names is not None:
        found["features"] = list(model.feature_names)
    if model.image is not None:
        height, width = model.image["size"]
        colours = "grey" if model.image["mode"] == "L" else "colour"
        found["images"] = f"{height} x {width} pixels, {colours}"
    own = [not isinstance(value, float) for value in (model.scale, model.shift)]
    found["input"] = (
        "each feature standardised" if any(own) else f"x * {model.scale:g} + {model.shift:g}"
    )
    return found
