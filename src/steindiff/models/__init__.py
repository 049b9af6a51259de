"""The models that come with the package."""

from .loader import MODELS, load_classifier, load_model, save_model

__all__ = ["MODELS", "load_classifier", "load_model", "save_model"]
