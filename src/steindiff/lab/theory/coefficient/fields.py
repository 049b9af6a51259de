"""What the chapter on coefficients measures."""

from __future__ import annotations

from typing import TypedDict

from ..estimates import Positive, Some, Spread

PUBLISHED = "published, 5 probes"
"""The published coefficient as it was published, without its clamp."""


class Step(TypedDict):
    """All rules at one step; `error` is E'(gamma)/E'(1), `one_over` 1/(1 - r).

    `cosine` and `length` are those of `Residual`; `identity` is how far E' is from (1 - rho) E.
    """

    sigma: Positive
    sigma_next: float
    one_over: Positive
    rho: Spread
    cosine: Spread
    length: Spread
    identity: float
    gamma: dict[str, Spread]
    error: dict[str, Positive]


class Discrepancy(TypedDict):
    """A `CoefficientError` with its bound, by the perturbation of the denoiser."""

    perturbation: float
    bound: float
    truth: float
    by_score: float
    by_divergence: float
    error: float
    constant: float
    discrepancy: float
    kernel: float


class Coefficients(TypedDict):
    """All of it: a table for each solver, and the discrepancies on `mixture`."""

    rule: str
    solver: str
    samples: int
    tables: dict[str, Some[Step]]
    mixture: str
    pairs: int
    discrepancies: Some[Discrepancy]


def euler_table(found: Coefficients) -> list[Step]:
    """The table of Euler: of its own, or that of the solver where that is Euler."""
    return found["tables"]["euler" if "euler" in found["tables"] else found["solver"]]


def every_step(found: Coefficients) -> list[Step]:
    """The steps of all tables."""
    return [row for table in found["tables"].values() for row in table]
