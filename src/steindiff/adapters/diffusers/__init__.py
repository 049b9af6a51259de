"""SteinDiff in front of any pipeline of Hugging Face diffusers.

from steindiff.adapters.diffusers import relax

relax(pipe)
"""

from __future__ import annotations

from typing import Any

try:
    import diffusers as _diffusers  # noqa: F401
except ImportError as error:
    raise ImportError(
        "steindiff.adapters.diffusers needs diffusers: pip install 'steindiff[diffusers]'"
    ) from error

# Who loads a pipeline looks for the kinds of its parts in the module that a part is named from.
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from .relaxed import generated_class, relax, relaxed_class, unrelax
from .stein_scheduler import SteinScheduler, SteinSchedulerOutput
from .support import REFUSED, SUPPORTED
from .tuning import tune

__all__ = [
    "REFUSED",
    "SUPPORTED",
    "ModelMixin",
    "SchedulerMixin",
    "SteinScheduler",
    "SteinSchedulerOutput",
    "relax",
    "relaxed_class",
    "tune",
    "unrelax",
]


def __getattr__(name: str) -> Any:
    """Generated classes by name: saved pipelines import them from here."""
    return generated_class(name)
