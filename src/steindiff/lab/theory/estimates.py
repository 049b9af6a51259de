"""Numbers over samples as results hold them: means with intervals, and spreads."""

from __future__ import annotations

from typing import Annotated, TypedDict, TypeVar

import torch
from msgspec import Meta
from torch import Tensor

from ..._errors import check_batch
from ..metrics import bootstrap

T = TypeVar("T")
Some = Annotated[list[T], Meta(min_length=1)]
"""A list that is not empty."""
Positive = Annotated[float, Meta(gt=0)]


class Mean(TypedDict):
    """A mean with the ends of its 95% interval."""

    value: float
    low: float
    high: float


class Spread(TypedDict):
    """Of values over samples: the ends of the middle 90%, the median, and the largest."""

    low: float
    median: float
    high: float
    max: float


def mean_of(values: Tensor) -> Mean:
    """Mean of (B,) values with its 95% bootstrap interval."""
    flat = values.detach().cpu().double().flatten()
    found = bootstrap(lambda rows: float(rows.mean()), flat)
    return Mean(value=found.value, low=found.low, high=found.high)


def spread_of(values: Tensor) -> Spread:
    """Spread of (B,) values.

    Raises:
        ValueError: there are none.
    """
    flat = check_batch(values.detach().cpu().double().reshape(1, -1))[0]
    shares = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    low, middle, high = torch.quantile(flat, shares).tolist()
    return Spread(low=low, median=middle, high=high, max=flat.max().item())


def without_chance(values: Tensor, control: Tensor) -> Tensor:
    """`values` (B,) less what a control of known mean 1 explains of them, to the same mean.

    A control variate (Glasserman 2003, "Monte Carlo Methods in Financial Engineering", section
    4.1), its weight by regression.
    """
    control = control.to(values) - 1
    centred = control - control.mean()
    spread = (centred * centred).sum()
    weight = (centred * values).sum() / torch.where(spread > 0, spread, 1.0)
    return values - weight * control


def interval(found: Mean, digits: int = 3) -> str:
    """A mean with its interval, in words."""
    return f"{found['value']:.{digits}g} [{found['low']:.{digits}g}, {found['high']:.{digits}g}]"
