"""Few-step sampling from diffusion and flow models, relaxed by a closed-form Stein coefficient.

import torch
import steindiff as sd

net = sd.load_model("fashion-mnist")
x = sd.noise((1, 28, 28), sigma=80.0, seeds=range(16))
labels = torch.arange(16) % 10
result = sd.sample(net, x, steps=5, conditioning={"class_labels": labels})
result.x, result.nfe
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import calibrated, denoisers, levels, models, schedules, solvers, stein
    from ._errors import NonFiniteError
    from .calibrated import Calibrated, calibrate, load_calibration, save_calibration
    from .denoisers import ClassifierFreeGuidance
    from .models import load_classifier, load_model
    from .recipes import Recipe, recipe
    from .sampling import Progress, SampleResult, noise, sample
    from .solvers import (
        DEIS,
        IPNDM,
        DPMpp2M,
        DPMpp3M,
        Euler,
        GradientEstimation,
        Heun,
        PowerMultistep,
        Res2S,
        ResMultistep,
        Solver,
        UniPC,
    )
    from .stein import Coefficient, Constant, Coupled, Energy, Published, Record, Relaxed, relax
    from .tuning import Tuned, load_tuned, save_tuned, tune

    __version__: str

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
    "GradientEstimation",
    "Heun",
    "NonFiniteError",
    "PowerMultistep",
    "Progress",
    "Published",
    "Recipe",
    "Record",
    "Relaxed",
    "Res2S",
    "ResMultistep",
    "SampleResult",
    "Solver",
    "Tuned",
    "UniPC",
    "__version__",
    "calibrate",
    "calibrated",
    "denoisers",
    "levels",
    "load_calibration",
    "load_classifier",
    "load_model",
    "load_tuned",
    "models",
    "noise",
    "recipe",
    "relax",
    "sample",
    "save_calibration",
    "save_tuned",
    "schedules",
    "solvers",
    "stein",
    "tune",
]

# Where each name is from. A part is imported when a name of it is first asked for, so that whoever
# wants none of PyTorch (`steindiff --help`) does not wait for it.
_HOMES = {
    "_errors": ("NonFiniteError",),
    "calibrated": ("Calibrated", "calibrate", "load_calibration", "save_calibration"),
    "denoisers": ("ClassifierFreeGuidance",),
    "models": ("load_classifier", "load_model"),
    "recipes": ("Recipe", "recipe"),
    "sampling": ("Progress", "SampleResult", "noise", "sample"),
    "solvers": (
        "DEIS", "IPNDM", "DPMpp2M", "DPMpp3M", "Euler", "GradientEstimation", "Heun",
        "PowerMultistep", "Res2S", "ResMultistep", "Solver", "UniPC",
    ),
    "stein": (
        "Coefficient", "Constant", "Coupled", "Energy", "Published", "Record", "Relaxed", "relax",
    ),
    "tuning": ("Tuned", "load_tuned", "save_tuned", "tune"),
}  # fmt: skip
_PARTS = ("calibrated", "denoisers", "levels", "models", "schedules", "solvers", "stein")
_OTHERS = ("adapters", "lab")  # they reach other people's libraries


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ._provenance import own_version

        return own_version()
    if name in _PARTS or name in _OTHERS:
        return import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_OTHERS]
