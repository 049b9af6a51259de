"""The controls that a coefficient has to beat, and the coefficients they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...solvers import Solver, Step
from ...solvers.base import BoundDenoiser
from ...stein import Coefficient, Decision, Proposal

CONTROLS = {
    "constant": "one gamma for all samples and steps, the best of a small sweep (epsilon scaling)",
    "one": "gamma = 1: must give the bits of the base",
    "random": "the coefficient's own gammas, dealt out at random over steps and samples",
    "oracle": "gamma of least squares to the fine trajectory: the ceiling of one number a step",
    "end": "the step into sigma = 0 alone, without relaxing",
    "tsr": "temporal score rescaling, k = 0.95 and v = 1",
    "epsilon_scaling": "the noise that the network sees, divided by 1.005",
    "more_noise": "the initial noise times 1.01",
}

Change = Callable[[Tensor, Tensor, float], Tensor]
"""D of (D, x, sigma)."""


def temporal_score_rescaling(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
    """D + (1 - ratio)(x - D) with ratio = (v + sigma^2)/(v/k + sigma^2), k = 0.95 and v = 1.

    Of Gaussian data of variance v it makes those of v/k. Source: arXiv 2510.01184, at the settings
    that people get.
    """
    return torch.lerp(x, denoised, (1 + sigma**2) / (1 / 0.95 + sigma**2))


def epsilon_scaling(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
    """The noise x - D, divided by 1.005. Source: Ning et al. 2024, arXiv 2308.15321."""
    return torch.lerp(x, denoised, 1 / 1.005)


@dataclass(frozen=True)
class Changed(Solver):
    """A solver that sees another D, or starts with more noise.

    Args:
        solver: that makes the steps.
        change: of what it sees; None is none.
        excess: of the initial noise, relative.
    """

    solver: Solver
    change: Change | None = None
    excess: float = 0.0

    @property
    def calls_per_step(self) -> int:
        return self.solver.calls_per_step

    def init(self, x: Tensor, sigmas: Sequence[float]) -> tuple[bool, Any]:
        return True, self.solver.init(x, sigmas)

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: tuple[bool, Any],
    ) -> Step:
        def changed(z: Tensor, level: float) -> Tensor:
            denoised = denoiser(z, level)
            return denoised if self.change is None else self.change(denoised, z, level)

        first, inner = state
        start = x * (1 + self.excess) if first and self.excess else x
        step = self.solver.step(changed, start, sigma, sigma_next, inner)
        return step._replace(state=(False, step.state))

    def replace(
        self, state: tuple[bool, Any], proposed: Tensor, accepted: Tensor
    ) -> tuple[bool, Any]:
        return state[0], self.solver.replace(state[1], proposed, accepted)


CHANGES: dict[str, tuple[Change | None, float]] = {
    "tsr": (temporal_score_rescaling, 0.0),
    "epsilon_scaling": (epsilon_scaling, 0.0),
    "more_noise": (None, 0.01),
}
"""What `Changed` does to a solver, by the name of the control."""


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
