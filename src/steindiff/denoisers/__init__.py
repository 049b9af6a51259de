"""Denoisers D(x, sigma): the protocol, exact ones, guidance."""

from .analytic import Empirical, Gaussian, GaussianMixture
from .base import Denoiser
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
