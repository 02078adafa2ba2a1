"""Options from a file: ``--config run.toml``, and those of a run to go on with.

They become click's defaults, so that the command line wins.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

TABLE = "train"
"""The table of the file that holds the options, named as the command is."""

MAY_CHANGE = {"resume", "epochs", "threads", "progress", "root", "tensorboard"}
"""Options that a run may be gone on with differently, without other weights at its epochs."""


def from_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Take the options of a file's table ``[train]`` as defaults."""
    if value is not None:
        _as_defaults(ctx, value, _table(value))


def from_run(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Take the options of a run folder as defaults."""
    if value is None:
        return None
    file = value / "config.toml"
    if not file.is_file():
        raise click.BadParameter(
            f"{value} must be the folder of a run, with config.toml and checkpoint.safetensors in "
            "it.",
            ctx,
            param,
        )
    _as_defaults(ctx, file, {k: v for k, v in _table(file).items() if k != "output"})
    return value


def refuse_changes(ctx: click.Context) -> None:
    """Refuse options that would give a resumed run other weights than it would have had."""
    from click.core import ParameterSource

    for param in ctx.command.params:
        given = ctx.get_parameter_source(param.name or "") == ParameterSource.COMMANDLINE
        if given and param.name not in MAY_CHANGE:
            raise click.UsageError(
                f"'{param.opts[0]}' cannot change while a run goes on; leave it out, or start "
                "another run with --config RUN/config.toml.",
                ctx,
            )


def _table(file: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: also bytes that are no text
        raise click.UsageError(f"{file} must be a TOML file: {error}.") from error
    table = content.get(TABLE)
    if not isinstance(table, dict):
        raise click.UsageError(
            f"{file} must have a table [{TABLE}] with options, such as epochs = 20; got "
            f"{', '.join(content) or 'nothing'}."
        )
    return table


def _as_defaults(ctx: click.Context, file: Path, table: Mapping[str, Any]) -> None:
    known = {param.name: param for param in ctx.command.params if param.name not in _FROM_FILES}
    defaults: dict[str, Any] = {}
    for key, value in table.items():
        param = known.get(key)
        if param is None:
            near = difflib.get_close_matches(key, [name for name in known if name], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{file} must hold options of train, got {key!r}{hint}", ctx)
        defaults[key] = _as_given(file, param, value)
    ctx.default_map = defaults


_FROM_FILES = {"config", "resume"}


def _as_given(file: Path, param: click.Parameter, value: Any) -> Any:
    """Return a value as the command line would have given it, so that its type is checked alike."""
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise click.UsageError(f"{param.name} in {file} must be true or false, got {value!r}")
        return value
    several = param.multiple or param.nargs != 1
    if isinstance(value, list):
        words = [str(item) for item in value]
        return words if several else " ".join(words)
    return [str(value)] if several else str(value)
