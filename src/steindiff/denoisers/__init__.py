"""Denoisers D(x, sigma): the protocol, exact ones, guidance."""

from .base import Denoiser
from .exact import Empirical, Gaussian, GaussianMixture
from .guidance import ClassifierFreeGuidance
from .perturbed import Perturbed

__all__ = [
    "ClassifierFreeGuidance",
    "Denoiser",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Perturbed",
]
