"""Few-step sampling from diffusion and flow models, relaxed by a closed-form Stein coefficient.

import steindiff as sd

net = sd.load_model("fashion-mnist")
x = sd.noise((1, 28, 28), sigma=80.0, seeds=range(16))
labels = torch.arange(16) % 10
result = sd.sample(net, x, sd.schedules.karras(5, 0.01, 80.0), solver="ipndm",
                   coefficient="energy", conditioning={"class_labels": labels})
result.x, result.nfe
"""

from importlib.metadata import version

from . import calibration, denoisers, levels, metrics, schedules, solvers, stein
from .calibration import calibrate, load_calibration, save_calibration
from .errors import NonFiniteError
from .models import load_classifier, load_model
from .sampling import Progress, SampleResult, noise, sample
from .stein import Record

__version__ = version("steindiff")

__all__ = [
    "NonFiniteError",
    "Progress",
    "Record",
    "SampleResult",
    "__version__",
    "calibrate",
    "calibration",
    "denoisers",
    "levels",
    "load_calibration",
    "load_classifier",
    "load_model",
    "metrics",
    "noise",
    "sample",
    "save_calibration",
    "schedules",
    "solvers",
    "stein",
]
