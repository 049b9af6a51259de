"""Denoisers D(x, sigma): the protocol, exact ones, guidance, and the shipped network."""

from .analytic import Empirical, Gaussian, GaussianMixture
from .base import Denoiser
from .guidance import ClassifierFreeGuidance
from .network import NetworkConfig, UNetDenoiser
from .perturbed import Perturbed

__all__ = [
    "ClassifierFreeGuidance",
    "Denoiser",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "NetworkConfig",
    "Perturbed",
    "UNetDenoiser",
]
