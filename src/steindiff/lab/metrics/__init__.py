"""How far samples are from where they should be."""

from .bootstrap import Interval, Paired, bootstrap, paired_bootstrap
from .error import Rmse, rmse
from .features import ClassifierFeatures, Features, Inception, Pixels, resolve_features, to_unit
from .frechet import Extrapolation, fd_infinity, frechet_distance, frechet_from_statistics
from .kernel import KernelDistance, kernel_distance
from .modes import ModeCoverage, mode_coverage, nearest_mode
from .moments import Moments
from .prdc import PRDC, prdc
from .statistics import Statistics, load_statistics, save_statistics
from .unlearned import RandomConvolutions, RandomProjections, unlearned_features
from .wasserstein import sliced_wasserstein

__all__ = [
    "PRDC",
    "ClassifierFeatures",
    "Extrapolation",
    "Features",
    "Inception",
    "Interval",
    "KernelDistance",
    "ModeCoverage",
    "Moments",
    "Paired",
    "Pixels",
    "RandomConvolutions",
    "RandomProjections",
    "Rmse",
    "Statistics",
    "bootstrap",
    "fd_infinity",
    "frechet_distance",
    "frechet_from_statistics",
    "kernel_distance",
    "load_statistics",
    "mode_coverage",
    "nearest_mode",
    "paired_bootstrap",
    "prdc",
    "resolve_features",
    "rmse",
    "save_statistics",
    "sliced_wasserstein",
    "to_unit",
    "unlearned_features",
]
