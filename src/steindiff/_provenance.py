"""Where a result comes from: the command, the versions, the machine."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def own_version() -> str:
    """Version of this package; "unknown" where it is only on the path (a checkout, an archive)."""
    try:
        return version("steindiff")
    except PackageNotFoundError:
        return "unknown"


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["steindiff", *sys.argv[1:]])


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of these packages."""
    found = {name: own_version() if name == "steindiff" else version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def machine(device: torch.device) -> dict[str, Any]:
    """The processor, the threads used, and the accelerator if `device` is one."""
    import torch  # not above: the version is asked for without it

    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")  # platform.processor() knows the architecture only, on Linux
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
