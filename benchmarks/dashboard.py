"""Measure with asv and show every result, commit by commit, on a page that opens offline.

    python -m benchmarks.dashboard                    measure what is installed, at this commit
    python -m benchmarks.dashboard --quick            every benchmark once: rough figures in minutes
    python -m benchmarks.dashboard --commits v0.1..   and every commit since, each in an environment
    python -m benchmarks.dashboard --no-run --open    show what has been measured so far

The page is one folder, by default .asv/html. Open its index.html in a browser, straight from the
disk, or serve it: python -m http.server -d .asv/html. It needs no network. Its scripts come from
the npm registry the first time ($npm_config_registry, else what npm is set to), and from
.asv/vendor afterwards.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import webbrowser
from pathlib import Path

from .in_turn import HOLDS_NUMPY_BACK
from .inputs import ROOT
from .offline import Unavailable, make_offline

UNAVAILABLE = 69
"""Exit status where the page's scripts cannot be had (sysexits.h); what was measured is kept."""


def asv(config: Path, *arguments: str) -> int:
    """Run asv with this interpreter, and return its exit status."""
    environment = {k: v for k, v in os.environ.items() if k not in HOLDS_NUMPY_BACK}
    command = [sys.executable, "-m", "asv", arguments[0], "--config", str(config), *arguments[1:]]
    return subprocess.run(command, cwd=config.parent, env=environment, check=False).returncode


def git(*arguments: str) -> str:
    """Return what git prints about the checkout."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(config: Path, options: argparse.Namespace) -> int:
    """Measure what is installed, then the commits asked for; return asv's worst exit status."""
    if not (Path.home() / ".asv-machine.json").exists():
        asv(config, "machine", "--yes")
    if git("status", "--porcelain", "--untracked-files=no"):
        print("note: what is measured has changes that the checked-out commit has not")
    chosen = [argument for regex in options.bench for argument in ("--bench", regex)]
    if options.quick:
        chosen.append("--quick")
    here = ["-E", "existing:same", "--set-commit-hash", git("rev-parse", "HEAD")]
    status = asv(config, "run", *here, *chosen)
    if options.commits:
        status = max(status, asv(config, "run", "--skip-existing", *chosen, options.commits))
    return status


def publish(config: Path, page: Path) -> int:
    """Write the page, and make it independent of the network."""
    status = asv(config, "publish", "--html-dir", str(page))
    if status == 0:
        make_offline(page, cache=ROOT / ".asv" / "vendor")
    return status


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--quick",
        action="store_true",
        help="run each benchmark once; rough figures, which replace the commit's earlier ones",
    )
    what.add_argument(
        "--bench",
        metavar="REGEX",
        action="append",
        default=[],
        help="only benchmarks whose name matches, as asv's own --bench; may be repeated",
    )
    what.add_argument(
        "--commits",
        metavar="RANGE",
        help="also measure a git range (main~5..main), each commit installed into an environment "
        "of asv's; commits that have results are skipped",
    )
    what.add_argument(
        "--no-run", action="store_true", help="measure nothing, show what there is already"
    )
    page = parser.add_argument_group("the page")
    page.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        help="where the page goes; what an earlier dashboard left there is replaced "
        "(default: html_dir of the configuration)",
    )
    page.add_argument("--open", action="store_true", help="open the page in the web browser")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=ROOT / "asv.conf.json",
        help="asv's configuration (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    config = options.config.resolve()
    output = options.output
    if output is None:
        output = config.parent / json.loads(config.read_text(encoding="utf-8"))["html_dir"]
    output = output.resolve()
    if importlib.util.find_spec("asv") is None:
        parser.error("asv must be installed: pip install -e '.[bench]'")
    if output.exists() and any(output.iterdir()) and not (output / "graphdisplay.js").exists():
        # asv empties the folder first.
        parser.error(
            f"--output must be a new or empty folder or an earlier dashboard, got {output}; "
            "name another one"
        )

    failed = 0 if options.no_run else measure(config, options)
    try:
        # What was measured is shown even where a benchmark failed.
        status = publish(config, output)
    except Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return UNAVAILABLE
    if status:
        return status
    print(f"dashboard: {(output / 'index.html').as_uri()}")
    if options.open:
        webbrowser.open((output / "index.html").as_uri())
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
