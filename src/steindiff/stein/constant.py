"""A fixed gamma: the control that every other rule has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from .._errors import check_number
from .._reductions import accumulator_dtype
from .base import Coefficient, Decision, Proposal


@dataclass(frozen=True)
class Constant(Coefficient):
    """gamma = value for every sample and step.

    For Euler this scales the predicted noise by a constant, which is epsilon scaling: Ning et al.
    2024, "Elucidating the Exposure Bias in Diffusion Models". Assumes nothing; value = 1 leaves
    every solver bit for bit as it is.

    Raises:
        ValueError: a value that is not finite or not in (0, 2), outside which a relaxed fixed-point
            iteration of a non-expansive map need not converge.
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(check_number("value", self.value)) and 0 < self.value < 2):
            raise ValueError(f"value is {self.value!r}; a number between 0 and 2 is needed")

    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        device = proposal.x.device
        dtype = accumulator_dtype(device)
        return Decision(torch.full((len(proposal.x),), self.value, dtype=dtype, device=device))
