"""What tuning tries: plain solvers, and shapes of levels with bases, coefficients and ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .. import schedules
from ..calibrated import Calibrated
from ..recipes import (
    GUIDED_COEFFICIENT,
    UNGUIDED_COEFFICIENT,
    Recipe,
    flow_levels,
    leading_levels,
    lowest_level,
    vp_levels,
)
from ..solvers import IPNDM, DPMpp2M, Solver, UniPC
from ..stein import ENDS, Coefficient
from ..trajectory import FineSolution
from .motion import (
    Motion,
    arc_levels,
    gits_levels,
    gits_trajectory,
    shortest_levels,
    strictly_decreasing,
)

KINDS = ("plain", "recipe", "gits", "chosen", "fitted")
"""What a candidate is: a plain solver, the recipe without tuning, a peer, parts chosen, scalars
fitted."""

BASES: tuple[Solver, ...] = (IPNDM(order=3), DPMpp2M(), UniPC(order=2))
PLAIN: tuple[Solver, ...] = (IPNDM(order=3), IPNDM(order=4), DPMpp2M(), UniPC(order=2), UniPC())
COEFFICIENTS: tuple[Coefficient | None, ...] = (
    UNGUIDED_COEFFICIENT,
    replace(UNGUIDED_COEFFICIENT, last=False),
    None,
)
SCHEDULES = {"Karras": "karras", "even in log sigma": "log_snr", "VP time": "vp_time"}
LEADS = (1.0, 1.5, 2.0, 3.0)
LOWS = (0.5, 0.75, 1.0, 1.4)  # in units of the recipe's own
SHIFTS = (1.0, 2.0, 3.0, 5.0)
POWERS = (0.5, 0.7)
GITS_ORDERS = (4, 3)
VP_LOWS = (0.3, 0.6, 1.0)  # of VP time, likewise
SHORTEST = (1.0, 0.3)  # lowest levels of GITS' paths, in units of the recipe's own


@dataclass(frozen=True)
class Candidate:
    """One thing that is tried.

    Attributes:
        kind: one of `KINDS`.
        recipe: its levels, solver, coefficient and end.
    """

    kind: str
    recipe: Recipe

    @property
    def words(self) -> str:
        """What it is, for a table."""
        plan = self.recipe
        rule = "" if plan.coefficient is None else ", relaxed"
        rule += "" if getattr(plan.coefficient, "last", True) else ", no gift"
        end = "" if plan.end == "none" else f", end {plan.end}"
        solver = "fitted scalars" if isinstance(plan.solver, Calibrated) else str(plan.solver)
        return f"{solver}{rule}{end}; {plan.why}"


def plain(steps: int, sigma_min: float, sigma_max: float) -> list[Candidate]:
    """Plain solvers on the usual schedules, which a choice has to beat."""
    ends = sigma_min, sigma_max
    levels = {
        **{words: schedules.SCHEDULES[name](steps, *ends) for words, name in SCHEDULES.items()},
        **{f"flow, shift {shift:g}": schedules.flow_shift(steps, *ends, shift) for shift in SHIFTS},
    }
    return [
        Candidate("plain", Recipe(tuple(sigmas.tolist()), solver, None, "none", words))
        for words, sigmas in levels.items()
        for solver in PLAIN
    ]


def gits(fine: FineSolution, steps: int) -> list[Candidate]:
    """A peer as published: the levels of GITS, which end above 0, with its solver."""
    sigmas = gits_levels(*gits_trajectory(fine), steps)
    return [
        Candidate("gits", Recipe(sigmas, IPNDM(order=order), None, "none", "GITS, as published"))
        for order in GITS_ORDERS
    ]


def shapes(plan: Recipe, fine: FineSolution, found: Motion, sigma_min: float) -> list[Candidate]:
    """Levels of many shapes, each different from the others, with the rest of `plan`.

    It is relaxed where `plan` is plain: what shapes are for depends on it, and of what is plain
    there is much among the candidates already.
    """
    rest = replace(plan, coefficient=plan.coefficient or GUIDED_COEFFICIENT)
    tried: dict[tuple[float, ...], str] = {}
    steps = len(plan.sigmas) - 1
    for sigmas, words in _shapes(fine, found, steps, plan.sigmas[0]):
        fits = len(sigmas) == steps + 1 and sigmas[-2] >= sigma_min
        if fits and strictly_decreasing(sigmas):
            tried.setdefault(sigmas, words)
    return [
        Candidate("chosen", replace(rest, sigmas=sigmas, why=words))
        for sigmas, words in tried.items()
    ]


def _shapes(
    fine: FineSolution, found: Motion, steps: int, sigma_max: float
) -> Iterator[tuple[tuple[float, ...], str]]:
    for share, lead in itertools.product(LOWS, LEADS):
        low = share * lowest_level(steps)
        words = f"even in log sigma to {low:g} after a first step {lead:g} times as long"
        yield leading_levels(steps, low, sigma_max, lead), words
    for shift in SHIFTS:
        yield flow_levels(steps, shift, sigma_max), f"flow, shift {shift:g}"
    for share in VP_LOWS if steps > 1 else ():
        low = share * lowest_level(steps)
        yield vp_levels(steps, low, sigma_max), f"VP time to {low:g}"
    for power in POWERS:
        yield arc_levels(found, steps, sigma_max, power), f"following D's motion to the {power:g}"
    for low in SHORTEST:
        words = f"least error of Euler's steps, to {low * lowest_level(steps):g}"
        yield shortest_levels(fine, steps, low * lowest_level(steps)), words


def most_shapes() -> int:
    """How many `shapes` gives at the most."""
    return len(LOWS) * len(LEADS) + len(SHIFTS) + len(VP_LOWS) + len(POWERS) + len(SHORTEST)


def variants(plans: Sequence[Recipe]) -> list[Candidate]:
    """These levels with every base, coefficient and end. Ends share all calls."""
    return [
        Candidate("chosen", replace(plan, solver=solver, coefficient=coefficient, end=end))
        for plan in plans
        for solver in BASES
        for coefficient in COEFFICIENTS
        for end in ENDS
    ]


def fitted_variants(solver: Calibrated, plan: Recipe, first: str) -> list[Candidate]:
    """A fitted solver with every coefficient, ended by its own scalars or by one of two ends.

    The two agree on many a sampling: of equals the end that comes `first` stays.
    """
    ends = dict.fromkeys(("none", first, "stein", "steady"))
    return [
        Candidate("fitted", replace(plan, solver=solver, coefficient=coefficient, end=end))
        for coefficient in reversed(COEFFICIENTS)
        for end in ends
    ]
