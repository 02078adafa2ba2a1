"""Messages: how commands end, and how they count."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import click

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it: 128 + SIGINT."""


@contextlib.contextmanager
def clean_errors(kept: str, less_memory: str) -> Iterator[None]:
    """Turn what users can cause into a line on standard error.

    Parameters
    ----------
    kept : str
        What Ctrl-C leaves behind.
    less_memory : str
        How to do with less memory.
    """
    try:
        yield
    except KeyboardInterrupt:
        stop(f"Interrupted; {kept}.", INTERRUPTED)
    except MemoryError as error:
        stop(f"Error: not enough memory; {less_memory}. {error}".rstrip(), 1)
    except BrokenPipeError:  # of a reader such as head, which has what it wants; click ends quietly
        raise
    except OSError as error:
        stop(f"Error: {error}", 1)


def stop(message: str, code: int) -> NoReturn:
    """End the command with a line on standard error."""
    click.echo(message, err=True)
    raise click.exceptions.Exit(code)


def count(number: int, noun: str) -> str:
    """Return "1 epoch" or "2 epochs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
