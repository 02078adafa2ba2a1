"""Where and when figures were taken."""

import datetime
import os
import platform
import subprocess

from benchmarks.peers.job import ROOT
from fastfcn.cli.machine import processor


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit() -> str:
    """Name the checkout's commit, and say whether files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = ", with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short=10", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe() -> dict[str, str]:
    """Return what a figure must be read with."""
    return {
        "processor": processor(),
        "cores": str(cores()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
