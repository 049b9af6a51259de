"""What all trainings share: the resumable loop, noise levels, the denoising loss, accuracy."""

from .denoising import LABEL_DROPOUT, denoising_loss, noise_levels
from .judging import accuracy
from .loop import Plan, averaged, cosine, curve_of, train

__all__ = [
    "LABEL_DROPOUT",
    "Plan",
    "accuracy",
    "averaged",
    "cosine",
    "curve_of",
    "denoising_loss",
    "noise_levels",
    "train",
]
