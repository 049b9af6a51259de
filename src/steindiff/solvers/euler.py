"""Euler's method, which in any coordinates is DDIM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import BoundDenoiser, Solver, Step


def euler_candidate(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x' = r x + (1 - r) D with r = sigma_next/sigma; D itself, no copy, at sigma_next = 0."""
    if sigma_next == 0:
        return denoised
    return denoised + (sigma_next / sigma) * (x - denoised)


@dataclass(frozen=True)
class Euler(Solver):
    """x' = D + (sigma'/sigma)(x - D). Order 1, one call a step.

    Source: Song et al. 2021, "Denoising Diffusion Implicit Models", eq. 12 with eta = 0; Karras et
    al. 2022, algorithm 1 without its correction.
    """

    def init(self, x: Tensor, sigmas: Sequence[float]) -> None:
        return None

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: None
    ) -> Step:
        denoised = denoiser(x, sigma)
        return Step(euler_candidate(x, denoised, sigma, sigma_next), denoised, None, x)
