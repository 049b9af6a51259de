"""Solvers by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .._errors import check_options, shown, unknown_name
from .adams import IPNDM, GradientEstimation
from .base import Solver
from .deis import DEIS
from .dpmpp import DPMpp2M, DPMpp3M
from .euler import Euler
from .heun import Heun
from .power import PowerMultistep
from .res import Res2S, ResMultistep
from .unipc import UniPC

SOLVERS: dict[str, type[Solver]] = {
    "euler": Euler,
    "heun": Heun,
    "dpmpp_2m": DPMpp2M,
    "dpmpp_3m": DPMpp3M,
    "ipndm": IPNDM,
    "deis": DEIS,
    "unipc": UniPC,
    "res_multistep": ResMultistep,
    "res_2s": Res2S,
    "gradient_estimation": GradientEstimation,
    "power": PowerMultistep,
}
"""The solvers that have a name."""

FITTED: dict[str, type[Solver]] = {}
"""Solvers by name whose scalars were fitted. `calibrated` fills it."""


def resolve_solver(solver: str | Solver, **options: Any) -> Solver:
    """The solver of that name with those options; an object is handed through.

    Raises:
        TypeError: neither a name nor a `Solver` object.
        ValueError: an unknown name, an option that the solver does not have, an option value that
            it refuses, or options beside an object.
    """
    if isinstance(solver, Solver):
        if options:
            raise ValueError(
                f"options {', '.join(sorted(options))} were given beside a {type(solver).__name__} "
                "object; set them where the object is made"
            )
        return solver
    if not isinstance(solver, str):
        raise TypeError(f"solver is {shown(solver)}; a name or a Solver object is needed")
    if solver not in SOLVERS:
        import_module("steindiff.calibrated")  # fills FITTED, if nothing has asked for it yet
    known = SOLVERS | FITTED
    if solver not in known:
        raise unknown_name("solver", solver, known)
    check_options("solver", solver, known[solver], options)
    return known[solver](**options)
