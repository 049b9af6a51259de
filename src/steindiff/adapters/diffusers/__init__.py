"""SteinDiff in front of any pipeline of Hugging Face diffusers.

from steindiff.adapters.diffusers import stabilize

pipe.scheduler = stabilize(pipe.scheduler)
"""

from __future__ import annotations

from typing import Any

try:
    import diffusers as _diffusers  # noqa: F401
except ImportError as error:
    raise ImportError(
        "steindiff.adapters.diffusers needs diffusers: pip install 'steindiff[diffusers]'"
    ) from error

from .stabilized import generated_class, stabilize, stabilized_class, unstabilize
from .support import REFUSED, SUPPORTED

__all__ = [
    "REFUSED",
    "SUPPORTED",
    "stabilize",
    "stabilized_class",
    "unstabilize",
]


def __getattr__(name: str) -> Any:
    """Generated classes by name: saved pipelines import them from here."""
    return generated_class(name)
