"""What a number of steps asks for: levels, solver, coefficient and end, chosen together.

One place for the choice, so that `sample(steps=5)`, the command line and every adapter make the
same one. How it was chosen, and on what it was judged: docs/evidence/recipe.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import schedules
from .solvers import IPNDM, Solver
from .stein import Coefficient, Energy

COEFFICIENT = Energy(two_levels=False)
"""The coefficient where none is named: the energy law of one level, gift included."""

END = "mean"
"""The step into sigma = 0 where none is named and the steps are relaxed."""

SIGMA_END = 0.25
"""The last level above 0: coarse, which the second-order end makes good."""


@dataclass(frozen=True)
class Recipe:
    """What a sampling of so many steps does by itself.

    Attributes:
        sigmas: the levels, decreasing; the last is 0.
        solver: the base.
        coefficient: what relaxes it.
        end: how the last step goes into sigma = 0 (`steindiff.stein.ENDS`).
        why: the choice in a sentence.
    """

    sigmas: tuple[float, ...]
    solver: Solver
    coefficient: Coefficient | None
    end: str
    why: str


def even_levels(steps: int, low: float, high: float) -> tuple[float, ...]:
    """`steps` levels even in log sigma from `high` to `low`, then 0."""
    return tuple(schedules.log_snr(steps, low, high, final="zero").tolist())


def flow_levels(steps: int, shift: float, high: float) -> tuple[float, ...]:
    """The levels of a flow model's pipeline: t uniform from 1 to 0, shifted; sigma = t/(1 - t).

    t = 1 has no level: `high` stands for it, and for any that is above it.
    """
    times = (1 - k / steps for k in range(1, steps))
    return (high, *(min(high, shift * u / (1 - u)) for u in times), 0.0)


def recipe(steps: int, guidance: float = 1.0, sigma_max: float = 80.0) -> Recipe:
    """The levels, solver, coefficient and end for `steps` model calls.

    Args:
        steps: model calls, >= 1.
        guidance: classifier-free guidance scale of the denoiser; 1 is none.
        sigma_max: level of the start, in units of the data.

    Raises:
        TypeError: `steps` is not an int.
        ValueError: steps < 1, a guidance that is not finite, or a sigma_max not above the last
            level.
    """
    if not math.isfinite(guidance):
        raise ValueError(f"guidance is {guidance}; a finite number is needed")
    if not (math.isfinite(sigma_max) and sigma_max > SIGMA_END):
        raise ValueError(f"sigma_max is {sigma_max}; a finite level above {SIGMA_END} is needed")
    why = f"{steps} levels even in log sigma from {sigma_max:g} to {SIGMA_END:g}, then 0"
    return Recipe(even_levels(steps, SIGMA_END, sigma_max), IPNDM(order=3), COEFFICIENT, END, why)
