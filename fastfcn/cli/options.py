"""Options: values that click has no type for, and checks that need the library."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import click

threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads; results do not depend on it. [default: as many as there are processors]",
)
"""--threads, to be checked by :func:`check_threads`."""


def check_threads(n_threads: int | None) -> None:
    """Refuse threads that this process may not have."""
    from fastfcn import threads

    with _as_bad_parameter("--threads"):
        threads.check_threads(n_threads)


@contextlib.contextmanager
def _as_bad_parameter(option: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=f"'{option}'") from error


class Finite(click.FloatRange):
    """A range of floats, without NaN and infinity, which pass click's comparisons."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Read sizes of hidden layers, separated by spaces or commas."""
    words = [word for word in re.split(r"[,\s]+", value) if word]
    for word in words:
        if not re.fullmatch(r"0*[1-9][0-9]*", word, re.ASCII):
            raise click.BadParameter(f"{word!r} is not a whole number above 0.", ctx, param)
    if not words:
        raise click.BadParameter("give the size of at least one hidden layer.", ctx, param)
    return tuple(int(word) for word in words)


class LayersCommand(click.Command):
    """A command whose --layers takes every value up to the next option.

    click's options take a fixed number of values. The command has no positional arguments, so
    whatever follows --layers and is no option is a size: joined into one value before click parses.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_values(ctx, args, "--layers"))


def _join_values(ctx: click.Context, args: Sequence[str], option: str) -> list[str]:
    joined: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word == "--":
            return joined + rest
        if word == option:
            values = []
            # -5 is a size, if a wrong one: the error should say so.
            while rest and (not rest[0].startswith("-") or re.match(r"-[0-9.]", rest[0])):
                values.append(rest.pop(0))
            if not values and not ctx.resilient_parsing:
                raise click.BadOptionUsage(
                    option, f"Option '{option}' requires at least one size: {option} 256 128", ctx
                )
            joined.append(" ".join(values))
    return joined
