"""Heun's method: Euler, then the trapezoidal rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import BoundDenoiser, Solver, Step
from .euler import euler_candidate


@dataclass(frozen=True)
class Heun(Solver):
    """Order 2, two calls a step; one call into sigma = 0, where the slope has no second end.

    Source: Karras et al. 2022, algorithm 1. N steps that end at 0 cost 2N - 1 calls.
    """

    @property
    def calls_per_step(self) -> int:
        return 2

    def init(self, x: Tensor, sigmas: Sequence[float]) -> None:
        return None

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: None
    ) -> Step:
        denoised = denoiser(x, sigma)
        predictor = euler_candidate(x, denoised, sigma, sigma_next)
        if sigma_next == 0:
            return Step(predictor, denoised, None, x)
        slope = (x - denoised) / sigma
        slope_next = (predictor - denoiser(predictor, sigma_next)) / sigma_next
        candidate = x + (sigma_next - sigma) * 0.5 * (slope + slope_next)
        return Step(candidate, denoised, None, x, predictor)
