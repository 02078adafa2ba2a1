"""The command line, called in this process, and what its runs left."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

import fastfcn
from fastfcn import cli


def run(*arguments: object) -> Result:
    """Call ``fastfcn`` with arguments; anything but an exit is a failure."""
    result = CliRunner().invoke(cli.main, [str(word) for word in arguments])
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return result


def done(*arguments: object) -> Result:
    """Call ``fastfcn``, which must succeed."""
    result = run(*arguments)
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
