"""The command line: ``fastfcn train``, ``plot``, ``warmup``, ``benchmark``.

A module a command. Nothing but click is imported until one runs, so that --help answers at once.
"""

import click

import fastfcn
from fastfcn.cli import benchmark, plot, train, warmup


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fastfcn.__version__, prog_name="fastfcn")
def main() -> None:
    """Train fully connected networks on the CPU, at the speed the hardware allows."""


for command in (train.command, plot.command, warmup.command, benchmark.command):
    main.add_command(command)
