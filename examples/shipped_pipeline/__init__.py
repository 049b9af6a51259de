"""The shipped network as a pipeline of diffusers, for examples, tests and comparisons."""

# Who loads a pipeline looks for the kinds of its parts in the module that a part is named from.
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from .conventions import Convention, convention_of
from .denoiser import FashionMNISTDenoiser
from .pipeline import FashionMNISTPipeline

__all__ = [
    "Convention",
    "FashionMNISTDenoiser",
    "FashionMNISTPipeline",
    "ModelMixin",
    "SchedulerMixin",
    "convention_of",
]
