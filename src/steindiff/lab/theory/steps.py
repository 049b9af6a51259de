"""A sampling opened up: the maps that its steps are, at the states that it visits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._jacobian import Map
from ...denoisers import Denoiser
from ...sampling import Bound, sample
from ...schedules import check_sigmas, karras
from ...solvers import Solver, Step
from ...stein import Coefficient, Constant, Decision, Proposal, Relaxed
from ...stein.relax import RelaxedState, blend, propose


@dataclass(frozen=True)
class OpenStep:
    """One step of a sampling, and the maps behind it at the history that it has there.

    Attributes:
        index: of the step, from 0.
        sigma: level that it starts from.
        sigma_next: level that it goes to.
        x: (B, *shape), the state at `sigma`.
        plain: the solver's own step, T(x) and what it is made of.
        proposal: the same as a coefficient sees it.
        relaxed: (B, *shape), x', the state that the sampling goes on with.
        gamma: (B,), the relaxation used; 1 in the last step.
        state: what the sampling remembers before the step.
        base: z -> T(z).
        relaxation: z -> (1 - gamma(z)) z + gamma(z) T(z), gamma decided anew at every z.
        frozen: the same with gamma (and the share of a corrector) as it is at `x`.
        method: the relaxed solver.
        bound: the denoiser with its conditioning.
    """

    index: int
    sigma: float
    sigma_next: float
    x: Tensor
    plain: Step
    proposal: Proposal
    relaxed: Tensor
    gamma: Tensor
    state: RelaxedState
    base: Map
    relaxation: Map
    frozen: Map
    method: Relaxed
    bound: Bound

    @property
    def ratio(self) -> float:
        """r = sigma_next/sigma."""
        return self.sigma_next / self.sigma

    def denoiser(self, z: Tensor) -> Tensor:
        """D(z, sigma), a map of `z` as T is."""
        return self.bound(z, self.sigma)

    def flow(self, substeps: int = 3, count: int | None = None) -> Map:
        """The exact flow over the step, to the precision of so many Heun steps; sigma' > 0.

        Args:
            substeps: >= 1.
            count: a map of the first `count` samples; None for all.
        """
        levels = karras(substeps, self.sigma_next, self.sigma)
        conditioning = {
            name: value[:count] if isinstance(value, Tensor) and value.ndim else value
            for name, value in self.bound.conditioning.items()
        }

        def solution(z: Tensor) -> Tensor:
            return sample(
                self.bound.denoiser, z, levels, "heun", None, conditioning=conditioning, grad=True
            ).x

        return solution


def open_steps(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    solver: Solver,
    coefficient: Coefficient | None = None,
    *,
    conditioning: Mapping[str, Any] | None = None,
) -> Iterator[OpenStep]:
    """The steps of a sampling one after the other, each with its maps.

    The sampling is that of `steindiff.sample`; opening a step costs its model calls once more.

    Args:
        denoiser: as for `sample`, as are `x`, `sigmas` and `conditioning`.
        solver: not relaxed.
        coefficient: of the relaxation; None follows the plain solver.

    Raises:
        TypeError, ValueError: as `sample` does.
    """
    levels = check_sigmas(sigmas)
    method = Relaxed(solver, coefficient or Constant(1.0), record=True)
    bound = Bound(denoiser, check_batch(x), dict(conditioning or {}))
    with torch.no_grad():
        state = method.init(x, levels)
    for index, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        bound.step = index
        step, state = _open(method, bound, x, sigma, sigma_next, state, index)
        x = step.relaxed
        yield step


def _open(
    method: Relaxed,
    bound: Bound,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    state: RelaxedState,
    index: int,
) -> tuple[OpenStep, RelaxedState]:
    def base(z: Tensor) -> Tensor:
        return method.solver.step(bound, z, sigma, sigma_next, state.solver).x

    def relaxation(z: Tensor) -> Tensor:
        return method.step(bound, z, sigma, sigma_next, state).x

    def frozen(z: Tensor) -> Tensor:
        step = method.solver.step(bound, z, sigma, sigma_next, state.solver)
        return blend(step.start, step, decision)

    def residual(z: Tensor) -> Tensor:
        again = method.solver.step(bound, z, sigma, sigma_next, state.solver)
        return again.start - again.x

    with torch.no_grad():
        plain = method.solver.step(bound, x, sigma, sigma_next, state.solver)
        done = method.step(bound, x, sigma, sigma_next, state)
    record = done.state.record
    decision = Decision(record.gamma, None, record.correction)
    proposal = propose(plain, sigma, sigma_next, state.ahead, residual)
    step = OpenStep(
        index, sigma, sigma_next, x, plain, proposal, done.x, record.gamma, state, base,
        relaxation, frozen, method, bound,
    )  # fmt: skip
    return step, done.state
