"""Every rule's gamma beside the oracle's, at the same steps.

With a target x* the best scalar is gamma* = <u, x - x*>/|u|^2. It leaves the share 1 - rho of the
squared error E = |x - x*|^2, rho = <u, x - x*>^2/(|u|^2 |x - x*|^2), and any other gamma

    E' = E (1 - rho (1 - (1 - gamma/gamma*)^2)).

This is the projection of x - x* on u: an identity, for one step and one target. The published
error decay E' = (1 - rho) E is its case gamma = gamma*; its x* is the clean sample, ours is the
state of the fine trajectory at sigma', where a sampler should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._reductions import accumulator_dtype, inner, inners
from ...denoisers import Denoiser
from ...solvers import Solver
from ...stein import Coefficient, Proposal
from ...stein.relax import blend
from .steps import OpenStep, open_steps


class Projection(NamedTuple):
    """A step against its target, (B,) each.

    Attributes:
        before: E = |x - x*|^2.
        along: <u, x - x*>.
        power: |u|^2.
    """

    before: Tensor
    along: Tensor
    power: Tensor

    @property
    def gamma(self) -> Tensor:
        """gamma*, the best scalar; 1 where the step does not move."""
        moves = self.power > 0
        return torch.where(moves, self.along / torch.where(moves, self.power, 1.0), 1.0)

    @property
    def rho(self) -> Tensor:
        """The share of E that gamma* takes away; 0 where there is nothing to take."""
        total = self.power * self.before
        return torch.where(total > 0, self.along**2 / torch.where(total > 0, total, 1.0), 0.0)

    def after(self, gamma: Tensor) -> Tensor:
        """E' = |x' - x*|^2 of another gamma, by the identity."""
        return self.before - 2 * gamma * self.along + gamma**2 * self.power


class RuleAtStep(NamedTuple):
    """What a rule did at one step, (B,) each.

    Attributes:
        gamma: its coefficient.
        after: E' = |x' - x*|^2.
        corrected: whether it also drew the candidate back to its predictor (Heun), which leaves
            the line from x to T and with it the identity.
    """

    gamma: Tensor
    after: Tensor
    corrected: bool = False


class Residual(NamedTuple):
    """u = x - T(x) beside the noise x - D that the denoiser sees, (B,) each.

    Attributes:
        cosine: of the angle between them.
        length: |u|/((1 - r)|x - D|).

    For Euler u = (1 - r)(x - D): both are 1. In other solvers they say how much of u is their
    extrapolation.
    """

    cosine: Tensor
    length: Tensor


class ComparedStep(NamedTuple):
    """All rules at one step.

    Attributes:
        sigma: level at the start of the step.
        sigma_next: level at its end.
        projection: of the target on the step.
        residual: what u is made of.
        plain: (B,), |T - x*|^2, E' of gamma = 1.
        rules: by name.
    """

    sigma: float
    sigma_next: float
    projection: Projection
    residual: Residual
    plain: Tensor
    rules: dict[str, RuleAtStep]


def project(x: Tensor, candidate: Tensor, target: Tensor) -> Projection:
    """The best scalar between `x` and `candidate` for `target`, all (B, *shape) of one shape.

    Differences are taken in float64 (float32 on mps): between dense levels x and T(x) agree in most
    of the digits that float32 has.

    Raises:
        ValueError: different shapes.
    """
    if not x.shape == candidate.shape == target.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, candidate, target))
        raise ValueError(f"x, candidate and target have shapes {shapes}; the same is needed")
    x, candidate, target = (_wide(part) for part in (x, candidate, target))
    u, error = x - candidate, x - target
    power, along, before = inners((u, u), (u, error), (error, error))
    return Projection(before, along, power)


def residual_of(proposal: Proposal) -> Residual:
    """What the residual u of a solver's step is made of."""
    u, noise = proposal.x - proposal.candidate, proposal.x - proposal.denoised
    uu, along, nn = inners((u, u), (u, noise), (noise, noise))
    moves = (uu > 0) & (nn > 0)
    safe = torch.where(moves, (uu * nn).sqrt(), 1.0)
    euler = (1 - proposal.ratio) * torch.where(moves, nn, 1.0).sqrt()
    return Residual(
        torch.where(moves, along / safe, 1.0), torch.where(moves, uu.sqrt() / euler, 1.0)
    )


def compare_rules(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    solver: Solver,
    rules: Mapping[str, Coefficient],
    targets: Sequence[Tensor],
    *,
    conditioning: Mapping[str, Any] | None = None,
) -> list[ComparedStep]:
    """Each rule's gamma at the steps of the plain solver, the last, never relaxed, left out.

    All rules see the same proposals and each keeps its own memory of them, so that their gammas
    can be set side by side. Rules that estimate a divergence may call the model.

    Args:
        denoiser: as for `sample`, as are `x`, `sigmas` and `conditioning`.
        solver: not relaxed.
        rules: by name.
        targets: x* at the end of each step, (B, *shape), such as states of a `FineSolution`.

    Raises:
        ValueError: fewer targets than steps to relax; and as `sample` raises.
    """
    levels = [float(sigma) for sigma in sigmas]
    if len(targets) < len(levels) - 2:
        raise ValueError(
            f"targets holds {len(targets)}; {len(levels) - 2} are needed, one for each step"
        )
    memory = {name: rule.init(x) for name, rule in rules.items()}
    found = []
    for step in open_steps(denoiser, x, levels, solver, None, conditioning=conditioning):
        if step.proposal.ahead.steps_left == 1:
            break
        target = _wide(targets[step.index].to(step.x.device))
        answers = {}
        for name, rule in rules.items():
            answers[name], memory[name] = _answer(step, rule, memory[name], target)
        found.append(
            ComparedStep(
                step.sigma,
                step.sigma_next,
                project(step.proposal.x, step.proposal.candidate, target),
                residual_of(step.proposal),
                _squared(_wide(step.proposal.candidate) - target),
                answers,
            )
        )
    return found


def _answer(
    step: OpenStep, rule: Coefficient, memory: Any, target: Tensor
) -> tuple[RuleAtStep, Any]:
    proposal = step.proposal
    with torch.no_grad():
        decision = rule(proposal, memory)
    plain, predictor = step.plain, step.plain.predictor
    wide = plain._replace(  # so that the state is not rounded to a dtype of its own
        x=_wide(plain.x), predictor=None if predictor is None else _wide(predictor)
    )
    relaxed = blend(_wide(proposal.x), wide, decision)
    corrected = decision.correction is not None
    answer = RuleAtStep(decision.gamma.double(), _squared(relaxed - target), corrected)
    return answer, decision.state


def _wide(x: Tensor) -> Tensor:
    return x.to(accumulator_dtype(x.device))


def _squared(x: Tensor) -> Tensor:
    return inner(x, x)
