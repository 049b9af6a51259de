"""Few-step sampling from diffusion and flow models, relaxed by a closed-form Stein coefficient.

import torch
import steindiff as sd

net = sd.load_model("fashion-mnist")
x = sd.noise((1, 28, 28), sigma=80.0, seeds=range(16))
labels = torch.arange(16) % 10
result = sd.sample(net, x, sd.schedules.karras(5, 0.002, 80.0), solver="ipndm",
                   coefficient="energy", conditioning={"class_labels": labels})
result.x, result.nfe
"""

from importlib import import_module
from typing import Any

from . import calibrated, denoisers, levels, models, schedules, solvers, stein
from ._errors import NonFiniteError
from ._provenance import own_version
from .calibrated import Calibrated, calibrate, load_calibration, save_calibration
from .denoisers import ClassifierFreeGuidance
from .models import load_classifier, load_model
from .pilots import Pilot, load_pilot, pilot, save_pilot
from .recipes import Recipe, recipe
from .sampling import Progress, SampleResult, noise, sample
from .solvers import DEIS, IPNDM, DPMpp2M, DPMpp3M, Euler, Heun, Solver, UniPC
from .stein import Coefficient, Constant, Coupled, Energy, Published, Record, Relaxed, relax

__version__ = own_version()

__all__ = [
    "DEIS",
    "IPNDM",
    "Calibrated",
    "ClassifierFreeGuidance",
    "Coefficient",
    "Constant",
    "Coupled",
    "DPMpp2M",
    "DPMpp3M",
    "Energy",
    "Euler",
    "Heun",
    "NonFiniteError",
    "Pilot",
    "Progress",
    "Published",
    "Recipe",
    "Record",
    "Relaxed",
    "SampleResult",
    "Solver",
    "UniPC",
    "__version__",
    "calibrate",
    "calibrated",
    "denoisers",
    "levels",
    "load_calibration",
    "load_classifier",
    "load_model",
    "load_pilot",
    "models",
    "noise",
    "pilot",
    "recipe",
    "relax",
    "sample",
    "save_calibration",
    "save_pilot",
    "schedules",
    "solvers",
    "stein",
]

_ON_DEMAND = ("adapters", "lab")  # they reach other people's libraries


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_ON_DEMAND]
