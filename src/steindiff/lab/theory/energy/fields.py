"""What the chapter on energy measures."""

from __future__ import annotations

from typing import TypedDict

from ..estimates import Mean, Positive, Some


class Way(TypedDict):
    """Over the fine solution's: energy and variance after each step, spectrum at the end."""

    energy: Some[Mean]
    variance: Some[float]
    spectrum: Some[float]


class Table(TypedDict):
    """A solver without relaxing and with it."""

    base: Way
    relaxed: Way


class Errors(TypedDict):
    """A figure of `LawError` over samples; two levels are missing in the first step."""

    one_level: float
    two_levels: float | None
    mean_only: float


class Law(TypedDict):
    """The law in one step; `identity` is what Euler's deficit leaves of it, over |x|^2."""

    sigma: Positive
    sigma_next: float
    rms: Errors
    mean: Errors
    deficit: float
    identity: float


class Energies(TypedDict):
    """A table for each solver, the law, and whether samples are images.

    `law` is measured between states of the fine trajectory; `coarse` from each state of the plain
    solver's own sampling to where the exact flow goes from there.
    """

    solver: str
    rule: str
    samples: int
    levels: list[float]
    tables: dict[str, Table]
    law: Some[Law]
    coarse: Some[Law]
    images: bool
