"""ODE solvers of the sampling loop, by name or as objects."""

from .adams import IPNDM, GradientEstimation
from .base import BoundDenoiser, History, HistoryKind, Solver, Step
from .deis import DEIS
from .dpmpp import DPMpp2M, DPMpp3M
from .euler import Euler
from .heun import Heun
from .names import FITTED, SOLVERS, resolve_solver
from .power import PowerMultistep
from .res import Res2S, ResMultistep
from .unipc import UniPC

__all__ = [
    "DEIS",
    "FITTED",
    "IPNDM",
    "SOLVERS",
    "BoundDenoiser",
    "DPMpp2M",
    "DPMpp3M",
    "Euler",
    "GradientEstimation",
    "Heun",
    "History",
    "HistoryKind",
    "PowerMultistep",
    "Res2S",
    "ResMultistep",
    "Solver",
    "Step",
    "UniPC",
    "resolve_solver",
]
