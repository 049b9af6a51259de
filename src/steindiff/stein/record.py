"""What is measured while a sampling is relaxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class StepRecord(NamedTuple):
    """Measurements of one step, each (B,) in float64.

    Attributes:
        gamma: relaxation used; 1 where the step was left as it is.
        correction: share of the corrector kept in a predictor-corrector step.
        energy: |x|^2/d of the state that the step departs from.
        energy_next: |x'|^2/d of the state that it arrives at.
        kappa: <x, x - D>/(d sigma^2), 1 on the exact marginals (Stein's identity).
        stein_ratio: j = <D, x - D>/<x, x - D>, the free estimate of (div D)/d.
    """

    gamma: Tensor
    correction: Tensor
    energy: Tensor
    energy_next: Tensor
    kappa: Tensor
    stein_ratio: Tensor


@dataclass(frozen=True)
class Record:
    """Measurements of a whole sampling, (steps, B) each; see `StepRecord` for what they are.

    `sigmas` has steps + 1 levels.
    """

    sigmas: tuple[float, ...]
    gamma: Tensor
    correction: Tensor
    energy: Tensor
    energy_next: Tensor
    kappa: Tensor
    stein_ratio: Tensor


def stack_records(levels: Sequence[float], records: Sequence[StepRecord]) -> Record:
    """The records of the steps between `levels` as one."""
    stacked = [torch.stack(values) for values in zip(*records, strict=True)]
    return Record(tuple(levels), *stacked)
