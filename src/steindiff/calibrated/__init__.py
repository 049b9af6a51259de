"""Few-step solvers calibrated to one network: without data, in about a minute."""

from ..solvers import FITTED
from .file import load_calibration, save_calibration
from .prior import Prior, load_prior, save_prior
from .record import About, Calibration
from .run import PRIORS, SEED, calibrate
from .solver import Calibrated, Shared

FITTED["prior"] = Shared

__all__ = [
    "PRIORS",
    "SEED",
    "About",
    "Calibrated",
    "Calibration",
    "Prior",
    "Shared",
    "calibrate",
    "load_calibration",
    "load_prior",
    "save_calibration",
    "save_prior",
]
