"""How far samples are from where they should be."""

from .frechet import Interval, frechet_distance, paired_bootstrap

__all__ = ["Interval", "frechet_distance", "paired_bootstrap"]
