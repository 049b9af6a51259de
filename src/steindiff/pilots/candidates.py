"""What a pilot tries: shapes of levels, bases, coefficients and ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import schedules
from ..recipes import Recipe, even_levels, flow_levels
from ..solvers import IPNDM, DPMpp2M, Solver, UniPC
from ..stein import Coefficient, Energy
from .motion import Motion, arc_levels, strictly_decreasing

BASES: tuple[Solver, ...] = (IPNDM(order=3), DPMpp2M())
PLAIN: tuple[Solver, ...] = (IPNDM(order=3), IPNDM(order=4), DPMpp2M(), UniPC(order=2), UniPC())
COEFFICIENTS: tuple[Coefficient, ...] = (
    Energy(two_levels=False),
    Energy(two_levels=False, trust=0.05),
    Energy(two_levels=False, last=False),
)
LOWEST = 0.002
ENDS = ("linear", "mean", "stein", "none")
SIGMA_ENDS = (1.0, 0.5, 0.25, 0.1, 0.05)
GAPS = (10.0, 20.0)
SHIFTS = (1.0, 2.0, 3.0, 5.0)
POWERS = (0.5, 0.7)


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
    for low in SIGMA_ENDS:
        yield even_levels(steps, low, sigma_max), f"even in log sigma to {low:g}"
        if steps > 2:
            for high in GAPS:
                levels = sigma_max, *even_levels(steps - 1, low, high)
                yield levels, f"{sigma_max:g}, then even in log sigma from {high:g} to {low:g}"
    for shift in SHIFTS:
        yield flow_levels(steps, shift, sigma_max), f"flow, shift {shift:g}"
    for power in POWERS:
        yield arc_levels(found, steps, sigma_max, power), f"following D's motion to the {power:g}"


@dataclass(frozen=True)
class Run:
    """One sampling of the pilot; several ends can be read off it.

    Attributes:
        shape: the levels.
        solver: the base.
        coefficient: what relaxes it; None for a plain one.
        ends: the steps into sigma = 0 that are tried after it.
    """

    shape: Shape
    solver: Solver
    coefficient: Coefficient | None
    ends: tuple[str, ...] = ENDS

    def recipe(self, end: str) -> Recipe:
        """The run with one of its ends."""
        return Recipe(self.shape.sigmas, self.solver, self.coefficient, end, self.shape.words)


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
        Run(Shape(tuple(sigmas.tolist()), f"{words}, to {LOWEST:g}"), solver, None, ("none",))
        for words, sigmas in levels.items()
        for solver in PLAIN
    ]


def most_runs(steps: int) -> int:
    """How many samplings `runs` and `plain_runs` are at the most."""
    lows = len(SIGMA_ENDS) * (1 + len(GAPS) * (steps > 2))
    relaxed = (lows + len(SHIFTS) + len(POWERS)) * len(BASES) * len(COEFFICIENTS)
    return relaxed + (2 + len(SHIFTS)) * len(PLAIN)
