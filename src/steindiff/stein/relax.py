"""Relaxation of any solver: a solver that wraps a solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import shown
from .._reductions import inner
from ..solvers.base import BoundDenoiser, HistoryKind, Solver, Step
from .base import Ahead, Coefficient, Decision, Proposal
from .record import StepRecord


class RelaxedState(NamedTuple):
    """State of `Relaxed`: those of its two parts, what is ahead, and the last step's record."""

    solver: Any
    coefficient: Any
    ahead: Ahead
    record: StepRecord | None = None


@dataclass(frozen=True)
class Relaxed(Solver):
    """x' = (1 - gamma) x + gamma T(x), T any solver's step, gamma from a coefficient.

    The last step is not relaxed: no later evaluation could take out the noise that relaxing
    leaves behind. gamma is one number per sample; sums run in float64 where the device has it,
    whatever the dtype of the samples.

    Args:
        solver: the solver to relax.
        coefficient: the rule.
        record: whether each step's measurements are kept in the state.

    Raises:
        TypeError: `solver` is no `Solver`, or is relaxed already; `coefficient` no `Coefficient`.
    """

    solver: Solver
    coefficient: Coefficient
    record: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver) or isinstance(self.solver, Relaxed):
            raise TypeError(f"solver is {shown(self.solver)}; an unrelaxed Solver object is needed")
        if not isinstance(self.coefficient, Coefficient):
            raise TypeError(
                f"coefficient is {shown(self.coefficient)}; a Coefficient object is needed"
            )

    @property
    def calls_per_step(self) -> int:
        return self.solver.calls_per_step * (1 + self.coefficient.extra_calls)

    @property
    def history(self) -> HistoryKind:
        return self.solver.history

    def init(self, x: Tensor, sigmas: Sequence[float]) -> RelaxedState:
        ahead = Ahead(len(sigmas) - 1, sigmas[-1], sigmas[-2])
        return RelaxedState(self.solver.init(x, sigmas), self.coefficient.init(x), ahead)

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: RelaxedState,
    ) -> Step:
        base = self.solver.step(denoiser, x, sigma, sigma_next, state.solver)

        def residual(z: Tensor) -> Tensor:
            again = self.solver.step(denoiser, z, sigma, sigma_next, state.solver)
            return again.start - again.x

        if state.ahead.steps_left > 1:
            proposal = propose(base, sigma, sigma_next, state.ahead, residual)
            decision = self.coefficient(proposal, state.coefficient)
            relaxed = blend(base.start, base, decision)
        else:
            decision = Decision(torch.ones(len(x), device=x.device), state.coefficient)
            relaxed = base.x
        following = RelaxedState(
            self.solver.replace(base.state, base.x, relaxed),
            decision.state,
            state.ahead.after(),
            measure(base, relaxed, decision, sigma) if self.record else None,
        )
        return base._replace(x=relaxed, state=following)


def working(x: Tensor) -> Tensor:
    """`x` in the precision that differences are taken in: float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def blend(start: Tensor, step: Step, decision: Decision) -> Tensor:
    """(1 - gamma) start + gamma (T1 + correction (T - T1)), in the dtype of the candidate T.

    Weights of 1 give back the very bits of T. `start` is the state that the step departs from,
    brought to the coordinates of the candidate where these change with the level.
    """
    candidate = working(step.x)
    if decision.correction is not None and step.predictor is not None:
        candidate = _lerp(working(step.predictor), candidate, decision.correction)
    return _lerp(working(start), candidate, decision.gamma).to(step.x.dtype)


def measure(step: Step, relaxed: Tensor, decision: Decision, sigma: float) -> StepRecord:
    """What is recorded of a step from `sigma` to `relaxed`; all in VE coordinates."""
    x, denoised = working(step.start), working(step.denoised)
    size = x[0].numel()
    noise = x - denoised
    along = inner(x, noise)
    gamma = decision.gamma.to(along.dtype)
    kept = decision.correction
    return StepRecord(
        gamma=gamma,
        correction=torch.ones_like(gamma) if kept is None else kept.to(along.dtype),
        energy=inner(x, x) / size,
        energy_next=inner(relaxed, relaxed) / size,
        kappa=along / (size * sigma**2),
        stein_ratio=inner(denoised, noise) / along,
    )


def propose(
    step: Step,
    sigma: float,
    sigma_next: float,
    ahead: Ahead,
    residual: Callable[[Tensor], Tensor],
) -> Proposal:
    """What a coefficient is shown of a step in VE coordinates."""
    predictor = None if step.predictor is None else working(step.predictor)
    x, denoised, candidate = map(working, (step.start, step.denoised, step.x))
    return Proposal(x, denoised, candidate, predictor, sigma, sigma_next, residual, ahead)


def _lerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """(1 - weight) a + weight b, one weight a sample; exact at both ends."""
    return torch.lerp(a, b, weight.to(a.dtype).reshape(-1, *[1] * (a.ndim - 1)))
