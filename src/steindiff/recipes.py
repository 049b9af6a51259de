"""What a number of steps asks for: levels, solver, coefficient and end, chosen together.

One place for the choice, so that `sample(steps=5)`, the command line and every adapter make the
same one. How it was chosen, and on what it was judged: docs/evidence/recipe.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ._errors import MOST_STEPS, check_count, check_finite, check_number
from .solvers import IPNDM, Solver, UniPC
from .stein import Coefficient, Energy

COEFFICIENT = Energy()
"""The coefficient where none is named: on levels of one's own nothing tells of guidance."""

END = "steady"
"""The step into sigma = 0 where none is named and the steps are relaxed: safe under guidance."""

LEAD = 1.25
"""The first step in units of the others, in log sigma: at the highest noise D hardly moves."""

POWER = 1.5
"""Without guidance, by which power of the steps the last level falls from 5 on; else by 2."""

UNGUIDED_COEFFICIENT = Energy(law="one", steady=False)
"""Without guidance, which a recipe is told, the law of one level and the whole gift are safe."""

GUIDED_COEFFICIENT = replace(UNGUIDED_COEFFICIENT, last=False)
"""With guidance nothing is given in advance: what a guided D will lose below is not told above."""

GUIDED_PLAIN = 8
"""With guidance, from so many steps on nothing tried beat the best fixed plain choice."""

GUIDED_ENDED = 0.2
"""With guidance the end helps from levels above this one; below it does harm."""

PLAIN_LOW = 0.002
"""The level that a plain sampling's levels go down to, in units of the data."""


@dataclass(frozen=True)
class Recipe:
    """What a sampling of so many steps does by itself.

    Attributes:
        sigmas: the levels, decreasing; the last is 0.
        solver: the base.
        coefficient: what relaxes it; None where none was found to be the best.
        end: how the last step goes into sigma = 0 (`steindiff.stein.ENDS`).
        why: the choice in a sentence.
        guidance: that it was tuned for; None where it is not bound to one.
    """

    sigmas: tuple[float, ...]
    solver: Solver
    coefficient: Coefficient | None
    end: str
    why: str
    guidance: float | None = None

    def check_guidance(self, guidance: float | None) -> None:
        """Refuses another guidance scale than that of the tuning; None is not known.

        Raises:
            TypeError: no number.
            ValueError: names both.
        """
        if guidance is not None:
            check_finite("guidance", guidance)
        if None not in (guidance, self.guidance) and guidance != self.guidance:
            raise ValueError(
                f"guidance is {guidance:g}; the recipe was tuned for {self.guidance:g}"
            )

    def check_network(self, thing: Any) -> None:
        """Nothing: a recipe is for any network. That of a tuning refuses another than its own."""


def recipe(steps: int, guidance: float = 1.0, sigma_max: float = 80.0) -> Recipe:
    """The levels, solver, coefficient and end for `steps` model calls.

    Args:
        steps: model calls, >= 1.
        guidance: classifier-free guidance scale of the denoiser; 1 is none.
        sigma_max: level of the start, in units of the data.

    Raises:
        ValueError: `steps` is no int >= 1, a guidance that is not finite, or a sigma_max that is
            not above the last level.
    """
    check_count("steps", steps, 1, MOST_STEPS)
    check_finite("guidance", guidance)
    plain = guidance != 1 and steps >= GUIDED_PLAIN
    slow = guidance == 1 and steps > 5  # at 5 both powers are one
    low = PLAIN_LOW if plain else lowest_level(steps, POWER if slow else 2.0)
    check_number("sigma_max", sigma_max)
    if not (math.isfinite(sigma_max) and (steps == 1 or sigma_max > 2 * low) and sigma_max > 0):
        raise ValueError(
            f"sigma_max is {sigma_max}; a finite level well above the last one, {low:g}, is needed"
        )
    if guidance != 1:
        return _guided(steps, plain, low, sigma_max, f"guidance {guidance:g}: VP time")
    even, share = leading_levels(steps, low, sigma_max, LEAD), vp_share(steps)
    sigmas = between_levels(even, vp_levels(steps, low, sigma_max), share)
    why = f"even in log sigma to {low:g} after a first step {LEAD:g} times as long"
    why += f", {share:.0%} of the way to VP time, then 0" if share else ", then 0"
    return Recipe(sigmas, IPNDM(order=3), UNGUIDED_COEFFICIENT, "stein", why)


def _guided(steps: int, plain: bool, low: float, sigma_max: float, why: str) -> Recipe:
    """UniPC-2 on levels even in the root of VP time: plain, or relaxed and from high up ended."""
    solver = UniPC(order=2)
    if plain:
        *above, _, zero = vp_levels(steps + 1, low, sigma_max)  # 0 in the place of the last level
        return Recipe((*above, zero), solver, None, "none", f"{why}, plain")
    end = END if low > GUIDED_ENDED else "none"
    sigmas = vp_levels(steps, low, sigma_max)
    return Recipe(sigmas, solver, GUIDED_COEFFICIENT, end, f"{why} to {low:g}, then 0")


def lowest_level(steps: int, power: float = 2.0) -> float:
    """The last level above 0: coarse, for coefficient and end make it good; finer with steps."""
    return 0.3 * (5 / steps) ** power


def vp_share(steps: int) -> float:
    """How far from even steps in log sigma to VP time: more calls want shorter steps about 1."""
    return min(max(0.0, steps - 7) / 6, 0.5)


def between_levels(one: Sequence[float], other: Sequence[float], share: float) -> tuple[float, ...]:
    """A share of the way from one list of levels to another, in log sigma; the same first level."""
    levels = (a ** (1 - share) * b**share for a, b in zip(one[1:], other[1:], strict=True))
    return (one[0], *levels)


def leading_levels(steps: int, low: float, high: float, lead: float) -> tuple[float, ...]:
    """`steps` levels even in log sigma from `high` to `low`, but for a longer first step; then 0.

    The first step is `lead` times as long in log sigma as the others.
    """
    if steps == 1:
        return high, 0.0
    step = math.log(high / low) / (steps - 2 + lead)
    levels = (high * math.exp(-step * (lead + k)) for k in range(steps - 2))
    return (high, *levels, low, 0.0)


def vp_levels(steps: int, low: float, high: float) -> tuple[float, ...]:
    """`steps` levels from `high` to `low`, even in the root of the VP SDE's time; then 0.

    Those of `steindiff.schedules.vp_time`, in floats: a recipe makes no tensor.
    """
    if steps == 1:
        return high, 0.0
    first, slope = 0.1, 19.9  # beta(t) = first + slope t: ln(1 + sigma^2) is its integral

    def root_of_time(sigma: float) -> float:
        whole = math.log1p(sigma**2)
        return math.sqrt(2 * whole / (math.sqrt(first**2 + 2 * slope * whole) + first))

    def level(root: float) -> float:
        return math.sqrt(math.expm1(first * root**2 + slope * root**4 / 2))

    start, end = root_of_time(high), root_of_time(low)
    inner = (level(start + (end - start) * k / (steps - 1)) for k in range(1, steps - 1))
    return (high, *inner, low, 0.0)


def flow_levels(steps: int, shift: float, high: float) -> tuple[float, ...]:
    """The levels of a flow model's pipeline: t uniform from 1 to 0, shifted; sigma = t/(1 - t).

    t = 1 has no level: `high` stands for it. Levels are bent towards it so that all are below.
    """
    top = high / (high + shift)
    times = (top * (1 - k / steps) for k in range(1, steps))
    return (high, *(shift * u / (1 - u) for u in times), 0.0)
