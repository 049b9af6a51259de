"""What the chapter on Stein's identities measures."""

from __future__ import annotations

from typing import TypedDict

from ..estimates import Mean, Positive, Some, Spread


class Level(TypedDict):
    """The identities at one level; `ratio` is j, `trace` and `frobenius` are of J_D, over d."""

    sigma: Positive
    kappa: Mean
    second_order: Mean
    ratio: Mean
    trace: Mean
    frobenius: Mean
    asymmetry: Spread


class Exact(TypedDict):
    """Three estimates of (div D)/d on a few samples."""

    sigma: Positive
    samples: int
    exact: float
    ratio: float
    hutchinson: float


class Study(TypedDict):
    """Relative standard deviation of a trace by the number of probes, and its prediction."""

    sigma: Positive
    size: int
    counts: Some[int]
    measured: Some[float]
    predicted: Some[Positive]


class Dimension(TypedDict):
    """Relative standard deviation of one probe on an exact denoiser, and its closed form."""

    size: int
    measured: float
    closed: float


class Identities(TypedDict):
    """All of it; `size` is d, `sigma_data` the scale of the fine solution."""

    samples: int
    probes: int
    sigma_data: float
    levels: Some[Level]
    exact: list[Exact]
    study: Some[Study]
    dimensions: Some[Dimension]
    size: int
