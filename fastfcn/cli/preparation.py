"""What comes before training: options completed and checked, data loaded, a folder made."""

from pathlib import Path

import click

from fastfcn import runs
from fastfcn.cli import data as sources
from fastfcn.cli import network
from fastfcn.cli.data import Data
from fastfcn.cli.options import check_threads
from fastfcn.cli.record import Options


def prepared(options: Options) -> tuple[Options, Data]:
    """Fill in what was left open, refuse what does not go together, and load the data."""
    options = network.with_defaults(options)
    _check(options)
    data = _load(options)
    return _batched(options, data), data


def claimed_folder(options: Options, name: str) -> Path:
    """Make the folder that ``--output`` names, or one of this name for runs."""
    if options.output is not None:
        return runs.claim_folder(options.output)
    return runs.claim_new_folder(Path("runs") / name)


def _check(options: Options) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    if options.nesterov and not options.momentum:
        raise click.BadParameter("needs --momentum above 0.", param_hint="'--nesterov'")
    if options.early_stopping and not (options.data or options.validation):
        raise click.BadParameter(
            "needs --validation above 0: test samples must not choose the epoch.",
            param_hint="'--early-stopping'",
        )
    if options.early_stopping and options.validation == 0.0:
        raise click.BadParameter("needs --validation above 0.", param_hint="'--early-stopping'")
    if options.batch_norm and options.layer_norm:
        raise click.UsageError("give --batch-norm or --layer-norm, not both.")
    if options.data is not None and options.dataset is not None:
        raise click.UsageError("give --data or --dataset, not both.")
    if options.data is None:
        for name in ("target", "exclude", "image_size", "task", "standardize"):
            if getattr(options, name) not in (None, ()):
                option = f"--{name.replace('_', '-')}"
                raise click.BadParameter("is for --data FILE only.", param_hint=f"'{option}'")
    if options.output is not None and options.resume is None and _is_taken(options.output):
        raise click.BadParameter(
            f"{options.output} must be a new or an empty folder: runs never overwrite; choose "
            "another.",
            param_hint="'--output'",
        )
    if options.threads is not None:
        check_threads(options.threads)


def _is_taken(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _load(options: Options) -> Data:
    if options.data is None:
        return sources.dataset(
            options.dataset, options.root, options.validation or 0.0, options.seed
        )
    with sources.readable():
        return sources.file(
            options.data,
            options.target,
            options.exclude,
            options.image_size,
            options.task,
            options.standardize,
            sources.VALIDATION if options.validation is None else options.validation,
            options.seed,
            counts=options.loss == "poisson",
        )


def _batched(options: Options, data: Data) -> Options:
    """Fill in the size of a batch, of what has any; refuse one that is larger than the data."""
    samples = len(data.train.y)
    if options.batch_size is None and options.optimizer != "lbfgs":
        return options._replace(batch_size=min(128, samples))
    if options.batch_size is not None and options.batch_size > samples:
        raise click.BadParameter(
            f"must be at most the {samples:,} training samples of {data.name}, got "
            f"{options.batch_size}.",
            param_hint="'--batch-size'",
        )
    return options
