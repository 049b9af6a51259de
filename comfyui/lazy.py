"""Imports that wait until a node runs."""

from __future__ import annotations

import importlib
from typing import Any


def comfy(name: str) -> Any:
    """The module comfy.`name` of the ComfyUI that runs this package."""
    return importlib.import_module(f"comfy.{name}")


def ours(name: str) -> Any:
    """A module of this package that needs SteinDiff.

    Raises:
        ImportError: SteinDiff is not installed.
    """
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "steindiff":
            raise
        raise ImportError(
            "the Stein nodes need the package steindiff in ComfyUI's own Python: "
            "run `python -m pip install steindiff` with that Python, then restart ComfyUI"
        ) from error
