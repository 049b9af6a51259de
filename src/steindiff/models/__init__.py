"""The models that come with the package: their network, weights and cards."""

from .classifier import Classifier
from .loader import MODELS, load_classifier, load_model, save_model
from .network import NetworkConfig, UNetDenoiser

__all__ = [
    "MODELS",
    "Classifier",
    "NetworkConfig",
    "UNetDenoiser",
    "load_classifier",
    "load_model",
    "save_model",
]
