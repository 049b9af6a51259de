"""The network of a saved pipeline of diffusers as a denoiser.

from steindiff.adapters.diffusers.folder import load_folder

model = load_folder("ddpm-cifar10-32")
x = steindiff.noise(model.sample_shape, model.sigma_max, range(4))
"""

from __future__ import annotations

from .loading import denoiser_of, load_folder, open_pipeline, takes_prompt
from .model import FolderModel, PipelineDenoiser

__all__ = [
    "FolderModel",
    "PipelineDenoiser",
    "denoiser_of",
    "load_folder",
    "open_pipeline",
    "takes_prompt",
]
