"""The command line: ``fastfcn train``, ``fastfcn predict`` and their kin.

A module a command. Nothing but click is imported until one runs, so that --help answers at once.
"""

import click

import fastfcn
from fastfcn.cli import benchmark, evaluate, info, plot, predict, train, warmup


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fastfcn.__version__, prog_name="fastfcn")
def main() -> None:
    """Train fully connected networks on the CPU, at the speed the hardware allows."""


for module in (train, evaluate, predict, plot, info, warmup, benchmark):
    main.add_command(module.command)
