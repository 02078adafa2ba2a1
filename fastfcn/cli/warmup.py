"""``fastfcn warmup``: compile every kernel before it is needed."""

import click

from fastfcn.cli.messages import clean_errors


@click.command(
    "warmup", short_help="Compile the kernels ahead.", context_settings={"max_content_width": 100}
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    help="Precision to compile for. [default: both]",
)
def command(dtype: str | None) -> None:
    """Compile every kernel now; training and predicting then start at once.

    Compiled kernels are kept in the user's cache folder, or in $FASTFCN_CACHE_DIR, and later
    processes load them from there. What is there already is loaded, not compiled again.
    """
    with clean_errors("what is compiled stays", "close other programs"):
        _warmup(dtype)


def _warmup(dtype: str | None) -> None:
    from fastfcn import precompile

    precompile.check_folder()
    steps = precompile.steps(dtype)
    click.echo(f"Compiling the kernels to {precompile.cache_folder()}")
    seconds, compiled = 0.0, 0
    for step in steps:
        # The name before the wait.
        click.echo(f"  {step.dtype}  {step.name:<26}", nl=False)
        try:
            outcome = step.run()
        except BaseException:
            click.echo()
            raise
        click.echo(f"{outcome.seconds:6.2f} s  {'compiled' if outcome.compiled else 'loaded'}")
        seconds, compiled = seconds + outcome.seconds, compiled + outcome.compiled
    size = precompile.cache_size() / 1e6
    if compiled:
        click.echo(f"Done in {seconds:.1f} s; {size:.1f} MB. Later processes load them from there.")
    else:
        click.echo(f"Nothing to compile: all of it was there ({size:.1f} MB).")
