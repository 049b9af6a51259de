"""What the controls of the page say, and the link that restores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlencode

from ...composition import AUTO
from ...schedules import SCHEDULES
from ...solvers import SOLVERS
from ...stein import COEFFICIENTS, ENDS

MOST_STEPS, MOST_SEEDS = 50, 12

CHOICES = {
    "solver": (AUTO, *(name for name in SOLVERS if name != "calibrated")),
    "schedule": (AUTO, *SCHEDULES),
    "coefficient": (AUTO, *COEFFICIENTS),
    "end": (AUTO, *ENDS),
}
"""What each control offers; "auto" is what the recipe chooses."""


@dataclass(frozen=True)
class Settings:
    """One setting of the page.

    Attributes:
        prompt: of a text-to-image pipeline.
        steps: of the solver.
        guidance: classifier-free guidance scale; 1 is none.
        solver: a name, or "auto".
        schedule: a name, or "auto".
        coefficient: a name, or "auto".
        end: a name, or "auto".
        first_seed: of the noises.
        seeds: how many noises.
    """

    prompt: str = ""
    steps: int = 5
    guidance: float = 1.0
    solver: str = AUTO
    schedule: str = AUTO
    coefficient: str = AUTO
    end: str = AUTO
    first_seed: int = 0
    seeds: int = 6

    @property
    def query(self) -> str:
        """The part of a link behind its "?": what differs from the defaults."""
        default = asdict(Settings())
        return urlencode({k: value for k, value in asdict(self).items() if value != default[k]})


def read_query(query: Mapping[str, str]) -> Settings:
    """The settings of a link; names that are none of its own are left alone.

    Raises:
        ValueError: a value that no control could have.
    """
    found: dict[str, Any] = {}
    for field in fields(Settings):
        if field.name in query:
            kind = type(field.default)
            try:
                found[field.name] = kind(query[field.name])
            except ValueError as error:
                raise ValueError(
                    f"{field.name} is {query[field.name]!r} in the link; a number is needed"
                ) from error
    return checked(Settings(**found))


def checked(settings: Settings) -> Settings:
    """`settings`, if the page can have them.

    Raises:
        ValueError: one that it cannot.
    """
    for name, known in CHOICES.items():
        if getattr(settings, name) not in known:
            raise ValueError(
                f"{name} is {getattr(settings, name)!r}; one of {', '.join(known)} is needed"
            )
    for name, low, high in (
        ("steps", 1, MOST_STEPS), ("seeds", 1, MOST_SEEDS), ("first_seed", 0, 2**31),
        ("guidance", -30, 30),
    ):  # fmt: skip
        value = getattr(settings, name)
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}; {low} to {high} is possible")
    return settings
