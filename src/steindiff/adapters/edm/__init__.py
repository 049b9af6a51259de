"""Networks of EDM and EDM2: as denoisers of SteinDiff, and their files without the danger.

from steindiff.adapters.edm import from_edm, load_edm_pickle

denoiser = from_edm(load_edm_pickle("edm-cifar10-32x32-cond-vp.pkl", trust=True))
"""

from __future__ import annotations

from .files import from_safetensors, load_edm_pickle, load_tensors, to_safetensors
from .guard import UnsafePickleError
from .network import EDMDenoiser, from_edm

__all__ = [
    "EDMDenoiser",
    "UnsafePickleError",
    "from_edm",
    "from_safetensors",
    "load_edm_pickle",
    "load_tensors",
    "to_safetensors",
]
