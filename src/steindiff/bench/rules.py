"""What a cell is measured with: the base, coefficients, and the controls they have to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..reductions import inner
from ..stein import Coefficient, Decision, Proposal

CONTROLS = {
    "constant": "one gamma for all samples and steps, the best of a small sweep (epsilon scaling)",
    "one": "gamma = 1: must give the bits of the base",
    "random": "the coefficient's own gammas, dealt out at random over steps and samples",
    "oracle": "gamma of least squares to the fine trajectory: the ceiling of one number a step",
}


@dataclass(frozen=True)
class Replay(Coefficient):
    """Gammas that are given: (steps, B), one row a relaxed step, whatever the state is."""

    gammas: Tensor = field(compare=False)

    def init(self, x: Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return Decision(self.gammas[state].to(proposal.x.device), state + 1)


@dataclass(frozen=True)
class Oracle(Coefficient):
    """gamma = <u, x - x*>/|u|^2, x* the fine trajectory's state at the end of the step.

    It needs the fine trajectory, so it is no method but the most that a scalar could do in the
    next state (not in the last one, nor in distribution: it is greedy).

    Args:
        targets: states of the fine trajectory, (B, *shape) after every step.
    """

    targets: tuple[Tensor, ...] = field(compare=False)

    def init(self, x: Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        u = proposal.x - proposal.candidate
        uu = inner(u, u)
        moves = uu > 0
        along = inner(u, proposal.x - self.targets[state].to(proposal.x))
        gamma = torch.where(moves, along / torch.where(moves, uu, 1.0), 1.0)
        return Decision(gamma, state + 1)


def shuffled(gammas: Tensor, seed: int = 0) -> Tensor:
    """`gammas` (steps, B), dealt out anew over steps and samples; the last step stays.

    The last step is never relaxed, so its ones are no part of the spread.
    """
    relaxed, last = gammas[:-1], gammas[-1:]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(relaxed.numel(), generator=generator)
    values: Any = relaxed.flatten()[order].reshape(relaxed.shape)
    return torch.cat([values, last])
