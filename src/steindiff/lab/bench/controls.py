"""The controls that a coefficient has to beat, and the coefficients they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...stein import Coefficient, Decision, Proposal

CONTROLS = {
    "constant": "one gamma for all samples and steps, the best of a small sweep (epsilon scaling)",
    "one": "gamma = 1: must give the bits of the base",
    "random": "the coefficient's own gammas, dealt out at random over steps and samples",
    "oracle": "gamma of least squares to the fine trajectory: the ceiling of one number a step",
}


@dataclass(frozen=True)
class GivenGammas(Coefficient):
    """Gammas that are given: (steps, B), one row a relaxed step, whatever the state is."""

    gammas: Tensor = field(compare=False)

    def init(self, x: Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return Decision(self.gammas[state].to(proposal.x.device), state + 1)


def shuffled(gammas: Tensor, seed: int = 0) -> Tensor:
    """`gammas` (steps, B), dealt out anew over steps and samples; the last step stays.

    The last step is never relaxed, so its ones are no part of the spread.
    """
    relaxed, last = gammas[:-1], gammas[-1:]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(relaxed.numel(), generator=generator)
    values: Any = relaxed.flatten()[order].reshape(relaxed.shape)
    return torch.cat([values, last])
