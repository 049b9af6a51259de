"""What `steindiff info` says of the installation, without importing PyTorch."""

from __future__ import annotations

import importlib.util
import platform
import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..._provenance import own_version

ADAPTERS = {"diffusers": "diffusers", "k-diffusion": "k_diffusion"}
"""The adapters that need another package: its distribution, and the module to import."""


def installed() -> list[list[str]]:
    """Rows of a name and what is there."""
    return [
        ["steindiff", own_version()],
        ["python", platform.python_version()],
        ["torch", _version("torch") or "missing: pip install torch"],
        ["device", device()],
        *([f"adapter {name}", _adapter(name, module)] for name, module in ADAPTERS.items()),
        ["adapter edm, callable", "need nothing more"],
        ["adapter ComfyUI", "a folder for its custom_nodes (comfyui/ of the repository)"],
    ]


def device() -> str:
    """What torch was built for and whether its driver is there; torch itself is not asked."""
    build = _torch_build()
    if build is None:
        return "none: torch is missing"
    if build.get("cuda"):
        kind = f"CUDA {build['cuda']}"
        found = "a driver is" if _nvidia_driver() else "no NVIDIA driver is"
        return f"torch for {kind}; {found} there (steindiff info device asks torch)"
    for kind in ("hip", "xpu"):
        if build.get(kind):
            return f"torch for {kind} {build[kind]} (steindiff info device asks torch)"
    if sys.platform == "darwin":
        return "cpu; commands do not use Apple's GPU"
    return "cpu: this torch is built without CUDA"


def _torch_build() -> dict[str, Any] | None:
    """The names in torch/version.py, a file of assignments; None without torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "version.py"
    return runpy.run_path(str(path)) if path.is_file() else {}


def _nvidia_driver() -> bool:
    """Whether the kernel or the system has NVIDIA's driver."""
    from ctypes.util import find_library

    name = "nvcuda" if sys.platform == "win32" else "cuda"
    return Path("/proc/driver/nvidia/version").exists() or find_library(name) is not None


def _adapter(name: str, module: str) -> str:
    if importlib.util.find_spec(module) is None:
        return f"{name} is missing: pip install {name}"
    return f"{name} {_version(name) or 'of unknown version'}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
