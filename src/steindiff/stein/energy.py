"""The default coefficient: keep the energy that the exact trajectory would have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..reductions import accumulator_dtype, inner
from .base import Coefficient, Decision, Proposal, lost_energy


class EnergyState(NamedTuple):
    """Energy above the law that the state still carries, (B,)."""

    surplus: Tensor


@dataclass(frozen=True)
class Energy(Coefficient):
    """gamma restores the energy |x'|^2 that the exact probability-flow ODE arrives with.

    The target is A = |x|^2 - (1 - r^2)<x, x - D> - S, and gamma the smaller root of

        |x - gamma u|^2 = A,   u = x - T(x),
        gamma = [<x,u> - sqrt(<x,u>^2 - |u|^2 (|x|^2 - A))] / |u|^2.

    Where no root exists the vertex <x,u>/|u|^2 is nearest to the target.

    - gamma <= 1: relaxation never extrapolates (Krasnosel'skii-Mann).
    - Trust region: relaxing leaves (1 - gamma)(1 - r) sigma of the old noise behind. It may not
      exceed `trust` times the noise sigma' that belongs there: gamma >= 1 - trust r/(1 - r).
    - Surplus memory: where the cap at 1 leaves a step with more energy than its target, the rest
      S' = r max(0, |x'|^2 - A) is owed by the next step.
    - Corrector rule: where a predictor-corrector step (Heun) overshoots the target, its candidate
      becomes T1 + c(T - T1), c in [0, 1] the root of |.|^2 = A, with T1 its Euler predictor.

    Assumes the denoiser's D to be a posterior mean for the exactness of the law; guided denoisers
    obey it approximately. Costs no model call. Everything is per sample.

    Source: energy law and root are this project's (docs/method.md, sections 3 and 4); relaxation
    towards a Stein target is Li & Zeng 2026, arXiv 2606.07835.

    Args:
        trust: bound of the noise left behind, in units of sigma'; `inf` removes it.
        memory: whether a surplus is remembered.

    Raises:
        ValueError: trust is negative or NaN.
    """

    trust: float = 0.2
    memory: bool = True

    def __post_init__(self) -> None:
        if math.isnan(self.trust) or self.trust < 0:
            raise ValueError(f"trust is {self.trust!r}; a number >= 0 is needed")

    def init(self, x: Tensor) -> EnergyState:
        dtype = accumulator_dtype(x.device)
        return EnergyState(torch.zeros(len(x), dtype=dtype, device=x.device))

    def __call__(self, proposal: Proposal, state: EnergyState) -> Decision:
        x, ratio = proposal.x, proposal.ratio
        energy = inner(x, x)
        target = energy - lost_energy(x, proposal.denoised, ratio) - state.surplus
        correction, candidate_energy, overshoots = _keep_of_corrector(proposal, target)
        u = x - proposal.candidate
        gamma = _smaller_root(inner(x, u), inner(u, u), energy - target)
        gamma = gamma.clamp(self.lowest(ratio), 1.0)
        gamma = torch.where(overshoots, torch.ones_like(gamma), gamma)
        capped = (gamma >= 1) & (candidate_energy > target)
        surplus = torch.where(capped, ratio * (candidate_energy - target), 0.0)
        return Decision(gamma, EnergyState(surplus if self.memory else state.surplus), correction)

    def lowest(self, ratio: float) -> float:
        """The bound of the trust region for a step of ratio r = sigma_next/sigma."""
        return max(0.0, 1 - self.trust * ratio / (1 - ratio)) if ratio > 0 else 1.0


def _smaller_root(xu: Tensor, uu: Tensor, loss: Tensor) -> Tensor:
    """Smaller root of uu g^2 - 2 xu g + loss = 0, its vertex where there is none; 1 at u = 0."""
    root = (xu**2 - uu * loss).clamp_min(0).sqrt()
    moves = uu > 0
    return torch.where(moves, (xu - root) / torch.where(moves, uu, 1.0), 1.0)


def _keep_of_corrector(proposal: Proposal, target: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Corrector rule: (c or None, energy of the resulting candidate, where the rule acted)."""
    candidate_energy = inner(proposal.candidate, proposal.candidate)
    if proposal.predictor is None:
        return None, candidate_energy, torch.zeros_like(candidate_energy, dtype=torch.bool)
    t1, v = proposal.predictor, proposal.candidate - proposal.predictor
    t1v, vv, room = inner(t1, v), inner(v, v), target - inner(t1, t1)
    root = (t1v**2 + vv * room.clamp_min(0)).sqrt()
    moves = vv > 0
    keep = torch.where(moves, (root - t1v) / torch.where(moves, vv, 1.0), 1.0)
    # No room even for the predictor: keep nothing of a corrector that adds to it.
    keep = torch.where(room > 0, keep, 0.0).clamp(0, 1)
    overshoots = candidate_energy > target
    keep = torch.where(overshoots, keep, 1.0)
    energy = candidate_energy + (keep - 1) * (2 * t1v + (keep + 1) * vv)
    return keep, energy, overshoots
