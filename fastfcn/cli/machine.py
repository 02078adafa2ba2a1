"""The machine that a figure or a run is from."""

import platform
from pathlib import Path


def processor() -> str:
    """Name the processor, as well as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
