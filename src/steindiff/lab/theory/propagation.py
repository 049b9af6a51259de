"""What becomes of an error that enters a sampling at a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._reductions import inner
from ...denoisers import Denoiser
from ...sampling import sample
from ...schedules import karras
from ...solvers import Solver
from ...stein import Coefficient
from .steps import OpenStep, open_steps


class Propagation(NamedTuple):
    """How much an error before step k has grown or shrunk at the end, (steps, B) each.

    Attributes:
        sampler: of the sampling, at the histories that it has.
        flow: of the exact flow, from the same states, where it was asked for.
    """

    sampler: Tensor
    flow: Tensor | None


def rms_error(state: Tensor, reference: Tensor) -> Tensor:
    """(B,): |x - x*|/sqrt(d) of states and references (B, *shape), in units of the data."""
    error = state.double() - reference.double()
    return (inner(error, error) / check_batch(state)[0].numel()).sqrt()


def propagate_errors(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    solver: Solver,
    coefficient: Coefficient | None,
    *,
    conditioning: Mapping[str, Any] | None = None,
    size: float = 1e-2,
    flow_steps: int | None = 12,
    seed: int = 0,
) -> Propagation:
    """Perturbs the state before each step and follows the difference to the end.

    The perturbation is Gaussian with `size` of the level's noise, drawn once for all steps. The
    history of a multistep solver is not perturbed: the error enters at step k.

    Args:
        denoiser: as for `sample`, as are `x`, `sigmas` (the last above 0) and `conditioning`.
        solver: not relaxed.
        coefficient: of the relaxation, or None.
        size: of the perturbation, in units of sigma.
        flow_steps: Heun steps of the exact flow from each level to the end; None leaves it out.
        seed: of the perturbation.

    Raises:
        ValueError: `size` is not positive, or the last level is 0; and as `sample` raises.
    """
    levels = [float(sigma) for sigma in sigmas]
    if not size > 0 or levels[-1] == 0:
        raise ValueError(f"size is {size} and the last level {levels[-1]}; both must be > 0")
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    opened = list(open_steps(denoiser, x, levels, solver, coefficient, conditioning=conditioning))
    end = opened[-1].relaxed
    sampler, flow = [], []
    for step in opened:
        shift = size * step.sigma * direction
        norm = inner(shift, shift).sqrt()
        moved = _to_the_end(opened[step.index :], step.x + shift)
        sampler.append(_length(moved - end) / norm)
        if flow_steps is not None:
            exact = _flow(step, levels[-1], flow_steps)
            flow.append(_length(exact(step.x + shift) - exact(step.x)) / norm)
    return Propagation(torch.stack(sampler), torch.stack(flow) if flow else None)


def _to_the_end(steps: Sequence[OpenStep], x: Tensor) -> Tensor:
    """`x` through the steps, each with the memory that the step before it left."""
    state = steps[0].state
    with torch.no_grad():
        for step in steps:
            done = step.method.step(step.bound, x, step.sigma, step.sigma_next, state)
            x, state = done.x, done.state
    return x


def _flow(step: OpenStep, last: float, steps: int) -> Callable[[Tensor], Tensor]:
    levels = karras(steps, last, step.sigma)

    def solution(z: Tensor) -> Tensor:
        conditioning = step.bound.conditioning
        return sample(step.bound.denoiser, z, levels, "heun", None, conditioning=conditioning).x

    return solution


def _length(x: Tensor) -> Tensor:
    return inner(x, x).sqrt()
