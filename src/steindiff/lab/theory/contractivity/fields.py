"""What the chapter on contractivity measures."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from ..estimates import Positive, Some, Spread


class Level(TypedDict):
    """The denoiser at one level: its Lipschitz constant, and how far that is from converged."""

    sigma: Positive
    constant: Spread
    residual: float


class Above(TypedDict):
    """Shares of the samples whose constants exceed 1."""

    denoiser: float
    step: float
    relaxed: float
    frozen: float


class Violations(TypedDict):
    """Shares of the samples that break each bound by more than the constants are known to."""

    published: float
    literal: float
    own: float | None


class Step(TypedDict):
    """One step: the constants and bounds of a `Certificate`, and that of the exact flow."""

    sigma: Positive
    sigma_next: float
    gamma: float
    residual: float
    denoiser: Spread
    step: Spread
    relaxed: Spread
    frozen: Spread
    above: Above
    published: Spread
    literal: Spread
    own: Spread | None
    violations: Violations
    flow: NotRequired[Spread]


class Run(TypedDict):
    """A sampling; `complete` where each of its steps was looked at."""

    steps: int
    complete: bool
    rows: Some[Step]


class Contractivity(TypedDict):
    """All of it; `asked` is the number of steps asked for, `count` that of the samples."""

    solver: str
    coefficient: str
    asked: int
    count: int
    denoiser: Some[Level]
    runs: Some[Run]


def steps_of(found: Contractivity) -> list[Step]:
    """The steps of all samplings."""
    return [row for run in found["runs"] for row in run["rows"]]


def peak(run: Run, part: str) -> float:
    """The largest constant of any step and sample."""
    return max(row[part]["max"] for row in run["rows"])  # type: ignore[literal-required]
