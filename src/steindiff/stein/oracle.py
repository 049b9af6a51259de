"""The best gamma in hindsight: least squares to a trajectory that is given."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._reductions import inners
from .base import Coefficient, Decision, Proposal


@dataclass(frozen=True)
class Oracle(Coefficient):
    """gamma = <u, x - x_f>/|u|^2, x_f the fine trajectory's state at the end of the step.

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
        error = proposal.x - self.targets[state].to(proposal.x)
        uu, along = inners((u, u), (u, error))
        moves = uu > 0
        gamma = torch.where(moves, along / torch.where(moves, uu, 1.0), 1.0)
        return Decision(gamma, state + 1)
