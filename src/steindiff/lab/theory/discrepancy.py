"""Stein discrepancies of a wrong score, and the error that it makes in a coefficient.

For states of a distribution p and a score s~, A(f) = E_p[<s~, f> + div f] is 0 for every f exactly
where s~ is p's own score s; it equals E_p<s~ - s, f>. The supremum of |A| over a class of f is a
Stein discrepancy: over the unit ball of L2(p) the root of the Fisher divergence, |s~ - s| in
L2(p); over that of a reproducing kernel space the kernelised one (Liu, Lee & Jordan 2016;
Chwialkowski, Strathmann & Gretton 2016), which needs no true score.

A coefficient that trusts the model's score, gamma~ = E<u, x - D~>/E|u|^2, differs from what Stein's
identity gives with the true one by sigma^2 A(u)/E|u|^2 in size, and so

    |gamma~ - gamma*| <= C S,   S = |s~ - s|,   C = sigma^2/sqrt(E|u|^2),

by the Cauchy-Schwarz inequality: the bound of Li & Zeng 2026 (arXiv 2606.07835) with its constant.
Where div u is known, by probes, no score enters: states of the true marginal then give gamma*
whatever the network's error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch, unknown_name
from ..._reductions import inner
from ...denoisers import Denoiser
from ...solvers.euler import euler_candidate
from ...stein import divergence

Kernel = Literal["imq", "gaussian"]


class CoefficientError(NamedTuple):
    """A coefficient by a wrong score, at one level, pooled over the states.

    Attributes:
        truth: gamma* = E<u, x - x0>/E|u|^2, from the clean samples.
        by_score: gamma~ of the wrong score.
        by_divergence: the same coefficient from the exact divergence of the step, no score.
        error: |gamma~ - gamma*|, with the true score's expectation in place of the sample's.
        constant: C.
        discrepancy: S.
        kernel: the kernelised discrepancy, in the same units.
    """

    truth: float
    by_score: float
    by_divergence: float
    error: float
    constant: float
    discrepancy: float
    kernel: float

    @property
    def bound(self) -> float:
        """C S."""
        return self.constant * self.discrepancy


def fisher_discrepancy(score: Tensor, other: Tensor) -> float:
    """sqrt(E|s~ - s|^2) of two scores (N, *shape) at the same states."""
    difference = score.double() - other.double()
    return math.sqrt(inner(difference, difference).mean().item())


def kernel_stein_discrepancy(
    x: Tensor, score: Tensor, *, kernel: Kernel = "imq", width: float | None = None
) -> float:
    """The kernelised Stein discrepancy between states and a score, as an unbiased estimate.

    The square is a U-statistic, whose mean is 0 where `score` belongs to the states; a negative
    one, which chance can make of 0, is returned as minus its root.

    Args:
        x: (N, *shape), N >= 2, independent states.
        score: (N, *shape), the score at them.
        kernel: "imq", 1/sqrt(w^2 + |x - y|^2) (Gorham & Mackey 2017), or "gaussian",
            exp(-|x - y|^2/(2 w^2)); both scaled to 1 at x = y.
        width: w > 0; None for the median distance between the states.

    Raises:
        TypeError, ValueError: `x` is no batch, fewer than two states, other shapes, an unknown
            kernel, or a width that is not positive.
    """
    check_batch(x)
    if len(x) < 2 or score.shape != x.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and score {tuple(score.shape)}; the same with at least "
            "two states is needed"
        )
    if kernel not in _KERNELS:
        raise unknown_name("kernel", kernel, _KERNELS)
    flat, s = x.flatten(1).double(), score.flatten(1).double()
    squares = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
    if width is None:
        width = torch.pdist(flat).median().item()
    if not width > 0:
        raise ValueError(f"width is {width}; a number > 0 is needed")
    k, slope, curvature = _KERNELS[kernel](squares / width**2)
    slope, curvature = slope / width**2, curvature / width**4
    along = _pairs(s, flat)
    values = (s @ s.T) * k - 2 * slope * along - 4 * curvature * squares - 2 * flat.shape[1] * slope
    count = len(flat)
    square = (values.sum() - values.diagonal().sum()).item() / (count * (count - 1))
    return math.copysign(math.sqrt(abs(square)), square)


def coefficient_error(
    exact: Denoiser, wrong: Denoiser, clean: Tensor, sigma: float, sigma_next: float, seed: int = 0
) -> CoefficientError:
    """The published coefficient of an Euler step of `wrong`, at states of the exact marginal.

    Args:
        exact: the exact denoiser of the data.
        wrong: another one, such as a `Perturbed` of it; differentiable.
        clean: (N, *shape), samples of the data.
        sigma: level at the start of the step.
        sigma_next: level at its end, sigma > sigma_next >= 0.
        seed: of the noise.

    Raises:
        TypeError, ValueError: `clean` is no batch, or the levels are in the wrong order.
    """
    check_batch(clean, "clean")
    if not sigma > sigma_next >= 0:
        raise ValueError(f"sigma is {sigma} and sigma_next {sigma_next}; sigma > sigma_next >= 0")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64).to(clean)
    x = clean + sigma * noise
    level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)

    def residual(z: Tensor) -> Tensor:
        return z - euler_candidate(z, wrong(z, level), sigma, sigma_next)

    with torch.no_grad():
        right, found = exact(x, level), wrong(x, level)
    u = x - euler_candidate(x, found, sigma, sigma_next)
    scores = [(denoised - x).double() / sigma**2 for denoised in (right, found)]
    power = inner(u, u).mean().item()
    by_score = inner(u, x - found).mean().item() / power
    return CoefficientError(
        truth=inner(u, x - clean).mean().item() / power,
        by_score=by_score,
        by_divergence=sigma**2 * divergence.exact(residual, x).mean().item() / power,
        error=abs(by_score - inner(u, x - right).mean().item() / power),
        constant=sigma**2 / math.sqrt(power),
        discrepancy=fisher_discrepancy(*scores),
        kernel=kernel_stein_discrepancy(x, scores[1]),
    )


def _pairs(s: Tensor, x: Tensor) -> Tensor:
    """(N, N): <s_i - s_j, x_i - x_j>."""
    cross = s @ x.T
    own = cross.diagonal()
    return own[:, None] + own[None, :] - cross - cross.T


def _imq(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1 + t)^(-1/2) and its first two derivatives by t = |x - y|^2/w^2."""
    base = 1 + t
    return base**-0.5, -0.5 * base**-1.5, 0.75 * base**-2.5


def _gaussian(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(-t/2) and its first two derivatives."""
    k = (-t / 2).exp()
    return k, -k / 2, k / 4


_KERNELS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "imq": _imq,
    "gaussian": _gaussian,
}
