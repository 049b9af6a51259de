"""The laboratory: what measures the method, shows it, and proves it. Needs `steindiff[lab]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import comparison  # it brings matplotlib, which most of the laboratory does without

    return getattr(comparison, name)
