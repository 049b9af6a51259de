"""Where a result comes from: the command, the versions, the machine."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["steindiff", *sys.argv[1:]])


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of these packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def machine(device: torch.device) -> dict[str, Any]:
    """The processor, the threads used, and the accelerator if `device` is one."""
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
