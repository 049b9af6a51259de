"""What a pilot found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..recipes import Recipe
from .motion import Motion


@dataclass(frozen=True)
class Finding:
    """The choice for one number of steps.

    Attributes:
        recipe: what was chosen.
        error: its relative root mean square error to the fine solution, on the pilot's noises.
        fixed_error: the same of the recipe that is there without a pilot.
        plain_error: the least of the same bases without relaxation and end on the usual schedules.
        tried: how many candidates there were.
    """

    recipe: Recipe
    error: float
    fixed_error: float
    plain_error: float
    tried: int


@dataclass(frozen=True)
class Pilot:
    """Recipes of one network, by their number of steps.

    Attributes:
        findings: by number of steps.
        guidance: guidance scale that they are for.
        sigma_max: level that they start at.
        noises: how many noises they were chosen on.
        seed: of the first noise.
        fine_steps: Heun steps of the fine solution.
        motion: how D moves along the fine trajectories.
        model: what the model is called, where that was said.
        versions: of the packages used.
    """

    findings: Mapping[int, Finding]
    guidance: float
    sigma_max: float
    noises: int
    seed: int
    fine_steps: int
    motion: Motion
    model: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def recipe(self, steps: int) -> Recipe:
        """What was chosen for that number of steps.

        Raises:
            ValueError: the pilot was not run for it; says for which it was.
        """
        if steps not in self.findings:
            known = ", ".join(map(str, sorted(self.findings)))
            raise ValueError(f"steps is {steps!r}; this pilot was run for {known}")
        return self.findings[steps].recipe
