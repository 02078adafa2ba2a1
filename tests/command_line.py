"""The command line, called in this process, and what its runs left."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

import fastfcn
from fastfcn import cli

RUN_FILES = {
    "model.safetensors",
    "checkpoint.safetensors",
    "history.csv",
    "config.toml",
    "curves.png",
}
"""What a run leaves in its folder."""


def run(*arguments: object, text: str | bytes | None = None) -> Result:
    """Call ``fastfcn`` with arguments, `text` on standard input; fail unless it exits."""
    result = CliRunner().invoke(cli.main, [str(word) for word in arguments], input=text)
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return result


def done(*arguments: object, text: str | bytes | None = None) -> Result:
    """Call ``fastfcn``, which must succeed."""
    result = run(*arguments, text=text)
    assert result.exit_code == 0, result.output
    return result


def config_of(folder: str | Path) -> dict[str, Any]:
    """Read a run's config.toml."""
    return tomllib.loads((Path(folder) / "config.toml").read_text(encoding="utf-8"))


def same_model(first: str | Path, second: str | Path) -> bool:
    """Tell whether two run folders hold the same parameters, bit for bit."""
    states = [fastfcn.load(folder).net.state_dict() for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    return all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def write_csv(path: Path, columns: dict[str, Any]) -> Path:
    """Write columns of one length as CSV."""
    import csv

    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def flowers(path: Path, n: int = 90) -> Path:
    """Write three kinds that two of three columns tell apart, far from 0 and of unlike sizes."""
    rng = np.random.default_rng(0)
    kind = rng.permutation(n) % 3
    columns = {
        "id": np.arange(n),
        "length": (1000 + 50 * (kind == 0) + rng.normal(size=n)).tolist(),
        "width": (0.01 * (kind == 1) + 0.001 * rng.normal(size=n)).tolist(),
        "kind": [("iris", "rose", "tulip")[k] for k in kind],
    }
    return write_csv(path, columns)


def prices(path: Path, n: int = 120) -> Path:
    """Write a price that a line through two columns gives, but for some noise."""
    rng = np.random.default_rng(1)
    size, age = rng.uniform(20, 200, n), rng.uniform(0, 80, n)
    price = 3000 * size - 500 * age + 1000 * rng.normal(size=n)
    return write_csv(path, {"size": size.tolist(), "age": age.tolist(), "price": price.tolist()})
