"""Tuning: the few-step sampler of one's own network, from a few noises, without data."""

from .features import RandomFeatures
from .file import load_tuned, read_recipe, save_tuned, write_recipe
from .judge import Figures, Ratio
from .network import Weights
from .record import Choice, Tried, Tuned, TunedRecipe
from .run import SEED, evaluations, tune

__all__ = [
    "SEED",
    "Choice",
    "Figures",
    "RandomFeatures",
    "Ratio",
    "Tried",
    "Tuned",
    "TunedRecipe",
    "Weights",
    "evaluations",
    "load_tuned",
    "read_recipe",
    "save_tuned",
    "tune",
    "write_recipe",
]
