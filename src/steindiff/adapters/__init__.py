"""SteinDiff inside other libraries, each imported only with its own adapter."""

from importlib import import_module
from typing import Any

_ON_DEMAND = ("callable", "diffusers", "edm", "k_diffusion")


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(_ON_DEMAND)
