"""The contractivity certificate: what bounds the Lipschitz constant of a step, and how tightly.

For Euler T = r x + (1 - r) D with r = sigma'/sigma, and by the triangle inequality

    L_T <= r + (1 - r) L_D.

The published bound is sigma'/sigma + sigma' h L_D (Li & Zeng 2026, arXiv 2606.07835). With h the
step of alpha/sigma, in VE 1/sigma' - 1/sigma, it is the same: sigma' h = 1 - r. Read with h as the
step ln(sigma/sigma') of half the log-SNR it is not a bound in units of the data: sigma' h < 1 - r
for every sigma' < (1 - r)/h.

The Jacobian of an exact denoiser is Cov[x0|x]/sigma^2: symmetric, with no eigenvalue below 0. For
it Euler's bound is an equality, L_T = r + (1 - r) L_D, so that L_T > 1 exactly where L_D > 1,
which no size of step changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .lipschitz import Lipschitz, local_lipschitz
from .steps import OpenStep


class Weights(NamedTuple):
    """T(x) = a x + b D(x) + history: the numbers a and b of a step with one evaluation."""

    state: float
    denoised: float


class Certificate(NamedTuple):
    """Lipschitz constants of one step, and the bounds on them, (B,) each.

    Attributes:
        denoiser: L_D at the state.
        step: L_T.
        relaxed: L of the relaxed step, gamma moving with the state.
        frozen: L of the relaxed step with gamma held where it is.
        published: r + (1 - r) L_D, of a first-order step.
        literal: r + sigma' ln(sigma/sigma') L_D.
        own: |a| + |b| L_D with the solver's own weights; None for a step of several evaluations.
    """

    denoiser: Lipschitz
    step: Lipschitz
    relaxed: Lipschitz
    frozen: Lipschitz
    published: Tensor
    literal: Tensor
    own: Tensor | None


def certify(step: OpenStep, *, rounds: int = 24, tolerance: float = 1e-2) -> Certificate:
    """The Lipschitz constants of a step and of its denoiser, with the bounds.

    Args:
        step: of `open_steps`.
        rounds: of `local_lipschitz`.
        tolerance: of `local_lipschitz`. L_T and L_D are both found from below: a bound may seem
            broken by the tolerance.

    Raises: as `local_lipschitz`.
    """
    maps = [step.denoiser, step.base]
    if _is_relaxed(step):
        maps += [step.relaxation, step.frozen]
    found = [local_lipschitz(f, step.x, rounds=rounds, tolerance=tolerance) for f in maps]
    denoiser, base = found[:2]
    relaxed, frozen = found[2:] or (base, base)
    weights, r = step_weights(step), step.ratio
    return Certificate(
        denoiser,
        base,
        relaxed,
        frozen,
        published=r + (1 - r) * denoiser.constant,
        literal=r + _literal(step) * denoiser.constant,
        own=None
        if weights is None
        else abs(weights.state) + abs(weights.denoised) * denoiser.constant,
    )


def _is_relaxed(step: OpenStep) -> bool:
    """Whether x' is anything else than T(x)."""
    return not torch.equal(step.relaxed, step.plain.x)


def _literal(step: OpenStep) -> float:
    """sigma' ln(sigma/sigma'), which goes to 0 with sigma'."""
    return step.sigma_next * math.log(step.sigma / step.sigma_next) if step.sigma_next else 0.0


def step_weights(step: OpenStep) -> Weights | None:
    """The weights a and b of a step, found by taking it with denoisers that are constant.

    None for solvers of several evaluations a step (Heun), whose step is not linear in one D.
    """
    solver, history = step.method.solver, step.state.solver
    if solver.calls_per_step != 1:
        return None

    def end(x: Tensor, denoised: Tensor) -> Tensor:
        return solver.step(lambda *_: denoised, x, step.sigma, step.sigma_next, history).x

    x = step.x.double()
    # As large as the history: its rounding (float32) is then as small beside what is looked for.
    size = x.abs().amax().clamp_min(1.0)
    zero, one = torch.zeros_like(x), torch.ones_like(x) * size
    rest = end(zero, zero)
    weights = [((end(*pair) - rest) / size).mean().item() for pair in ((one, zero), (zero, one))]
    return Weights(*weights)
