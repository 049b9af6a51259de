"""The solvers whose names are ComfyUI's, against its formulas, written as they stand there."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import steindiff as sd

SIGMAS = [14.6, 6.2, 2.9, 1.3, 0.45, 0.0]


def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    sigma = sigma.reshape(-1, 1)
    return torch.tanh(x / (1 + sigma)) / (1 + 0.3 * sigma)


def phi1(t: float) -> float:
    return math.expm1(t) / t


def phi2(t: float) -> float:
    return (phi1(t) - 1) / t


def res_multistep(x: Tensor) -> Tensor:
    """x' = e^-h x + h (b1 D + b2 D_), b2 = phi2(-h)/c2, b1 = phi1(-h) - b2, c2 = -h_/h."""
    before: tuple[Tensor, float] | None = None
    for sigma, sigma_next in pairwise(SIGMAS):
        denoised = denoiser(x, torch.tensor(sigma, dtype=torch.float64))
        if sigma_next == 0 or before is None:
            x = x + (x - denoised) / sigma * (sigma_next - sigma)
        else:
            old, sigma_old = before
            h = math.log(sigma / sigma_next)
            c2 = -math.log(sigma_old / sigma) / h
            b2 = phi2(-h) / c2
            b1 = phi1(-h) - b2
            x = math.exp(-h) * x + h * (b1 * denoised + b2 * old)
        before = denoised, sigma
    return x


def gradient_estimation(x: Tensor) -> Tensor:
    """Euler, and (ge_gamma - 1)(d - d_) dt from the second step on, ge_gamma = 2."""
    before: Tensor | None = None
    for sigma, sigma_next in pairwise(SIGMAS):
        denoised = denoiser(x, torch.tensor(sigma, dtype=torch.float64))
        d = (x - denoised) / sigma
        if sigma_next == 0:
            x = denoised
        else:
            x = x + d * (sigma_next - sigma)
            if before is not None:
                x = x + (2 - 1) * (d - before) * (sigma_next - sigma)
        before = d
    return x


def res_2s(x: Tensor) -> Tensor:
    """Exponential Runge-Kutta: a21 = c2 phi1(-c2 h), b2 = phi2(-h)/c2, b1 = phi1(-h) - b2."""
    c2 = 0.5
    for sigma, sigma_next in pairwise(SIGMAS):
        denoised = denoiser(x, torch.tensor(sigma, dtype=torch.float64))
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)
        inside = math.exp(-c2 * h) * x + h * c2 * phi1(-c2 * h) * denoised
        second = denoiser(inside, torch.tensor(sigma * math.exp(-c2 * h), dtype=torch.float64))
        b2 = phi2(-h) / c2
        b1 = phi1(-h) - b2
        x = math.exp(-h) * x + h * (b1 * denoised + b2 * second)
    raise AssertionError("the levels end at 0")


@pytest.mark.parametrize("upstream", [res_multistep, gradient_estimation, res_2s])
def test_comfyuis_formula(upstream: Callable[[Tensor], Tensor]) -> None:
    x = SIGMAS[0] * torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).double()
    ours = sd.sample(denoiser, x, SIGMAS, upstream.__name__, None, end="none").x
    torch.testing.assert_close(ours, upstream(x), rtol=1e-12, atol=1e-12)


def test_gamma_of_gradient_estimation() -> None:
    with pytest.raises(ValueError, match="gamma is nan; a finite number is needed"):
        sd.GradientEstimation(gamma=math.nan)
    x = SIGMAS[0] * torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).double()
    for gamma, twin in ((1.0, sd.Euler()), (1.5, sd.IPNDM(order=2))):
        ours = sd.sample(denoiser, x, SIGMAS, sd.GradientEstimation(gamma), None, end="none").x
        theirs = sd.sample(denoiser, x, SIGMAS, twin, None, end="none").x
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
