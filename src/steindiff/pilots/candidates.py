"""What a pilot tries: shapes of levels, bases, coefficients and ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .. import schedules
from ..recipes import COEFFICIENT, END, Recipe, flow_levels, leading_levels, lowest_level
from ..solvers import IPNDM, DPMpp2M, Solver, UniPC
from ..stein import Coefficient
from .motion import Motion, arc_levels, strictly_decreasing

BASES: tuple[Solver, ...] = (IPNDM(order=3), DPMpp2M())
PLAIN: tuple[Solver, ...] = (IPNDM(order=3), IPNDM(order=4), DPMpp2M(), UniPC(order=2), UniPC())
COEFFICIENTS: tuple[Coefficient, ...] = (COEFFICIENT, replace(COEFFICIENT, last=False))
LEADS = (1.0, 1.5, 2.0, 3.0)
LOWS = (0.5, 0.75, 1.0, 1.4)  # in units of the recipe's own
SHIFTS = (1.0, 2.0, 3.0, 5.0)
POWERS = (0.5, 0.7)
LOWEST = 0.002


@dataclass(frozen=True)
class Shape:
    """Levels with the words for where they come from."""

    sigmas: tuple[float, ...]
    words: str


def shapes(found: Motion, steps: int, sigma_max: float) -> list[Shape]:
    """The shapes of `steps` levels that are tried, each different from the others."""
    tried: dict[tuple[float, ...], str] = {}
    for sigmas, words in _shapes(found, steps, sigma_max):
        if len(sigmas) == steps + 1 and strictly_decreasing(sigmas):
            tried.setdefault(sigmas, words)
    return [Shape(sigmas, words) for sigmas, words in tried.items()]


def _shapes(found: Motion, steps: int, sigma_max: float) -> Iterator[tuple[tuple[float, ...], str]]:
    for share, lead in itertools.product(LOWS, LEADS):
        low = share * lowest_level(steps)
        words = f"even in log sigma to {low:g} after a first step {lead:g} times as long"
        yield leading_levels(steps, low, sigma_max, lead), words
    for shift in SHIFTS:
        yield flow_levels(steps, shift, sigma_max), f"flow, shift {shift:g}"
    for power in POWERS:
        yield arc_levels(found, steps, sigma_max, power), f"following D's motion to the {power:g}"


@dataclass(frozen=True)
class Run:
    """One sampling of the pilot.

    Attributes:
        shape: the levels.
        solver: the base.
        coefficient: what relaxes it; None for a plain one.
        end: its step into sigma = 0.
    """

    shape: Shape
    solver: Solver
    coefficient: Coefficient | None
    end: str = END

    @property
    def recipe(self) -> Recipe:
        """The run as what a user samples with."""
        return Recipe(self.shape.sigmas, self.solver, self.coefficient, self.end, self.shape.words)


def runs(found: Motion, steps: int, sigma_max: float) -> list[Run]:
    """Relaxed candidates: every shape with every base and gift."""
    return [
        Run(shape, solver, coefficient)
        for shape in shapes(found, steps, sigma_max)
        for solver in BASES
        for coefficient in COEFFICIENTS
    ]


def plain_runs(steps: int, sigma_max: float) -> list[Run]:
    """Plain solvers on their usual schedules, which a choice has to beat."""
    levels = {
        "Karras": schedules.karras(steps, LOWEST, sigma_max),
        "even in log sigma": schedules.log_snr(steps, LOWEST, sigma_max),
        **{
            f"flow, shift {shift:g}": schedules.flow_shift(steps, LOWEST, sigma_max, shift)
            for shift in SHIFTS
        },
    }
    return [
        Run(Shape(tuple(sigmas.tolist()), f"{words}, to {LOWEST:g}"), solver, None, "none")
        for words, sigmas in levels.items()
        for solver in PLAIN
    ]


def most_runs() -> int:
    """How many samplings `runs` and `plain_runs` are at the most."""
    tried = len(LOWS) * len(LEADS) + len(SHIFTS) + len(POWERS)
    return tried * len(BASES) * len(COEFFICIENTS) + (2 + len(SHIFTS)) * len(PLAIN)
