"""RES, the refined exponential solvers: order 2 with the exponential weights of lambda = -ln sigma.

With h the step in lambda and r = exp(-h), D that moves by s D1 over the step (s from 0 to 1) gives

    x' = r x + (1 - r) D + f D1,    f = int_0^1 h exp(-h(1 - s)) s ds = 1 - (1 - r)/h;

DPM-Solver++ weighs D1 by (1 - r)/2 in its place. Source: Zhang & Zhao 2023, "Improved Order
Analysis and Design of Exponential Integrator for Diffusion Models Sampling", arXiv 2308.02157.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import BoundDenoiser, History, Solver, Step
from .dpmpp import DataMultistep, data_slope
from .euler import euler_candidate


@dataclass(frozen=True)
class ResMultistep(DataMultistep):
    """D1 from the evaluation before, as ComfyUI's `res_multistep` has it. Order 2, one call a step.

    D1 = (h/h_0)(D_0 - D_1), h_0 the step before.

    Attributes:
        lower_order_final: first order in the last step; not customary here.
    """

    order: ClassVar[int] = 2
    lower_order_final: bool = False

    def _candidate(self, x: Tensor, history: History, sigma_next: float, order: int) -> Tensor:
        sigma = history.sigmas[0]
        candidate = euler_candidate(x, history.values[0], sigma, sigma_next)
        if order == 1:
            return candidate
        h = math.log(sigma / sigma_next)
        return candidate + _slope_weight(h) * data_slope(history, 0, h)


@dataclass(frozen=True)
class Res2S(Solver):
    """D1 = 2 (D_s - D) from a second evaluation halfway in lambda. Order 2, two calls a step.

    D_s is at Euler's state at sigma_s = sqrt(sigma sigma'): the exponential Runge-Kutta method with
    c_2 = 1/2 that samplers call `res_2s`. Into sigma = 0 it is x' = D, in one call.
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
        candidate = euler_candidate(x, denoised, sigma, sigma_next)
        if sigma_next == 0:
            return Step(candidate, denoised, None, x)
        halfway = math.sqrt(sigma * sigma_next)
        slope = 2 * (denoiser(euler_candidate(x, denoised, sigma, halfway), halfway) - denoised)
        candidate = candidate + _slope_weight(math.log(sigma / sigma_next)) * slope
        return Step(candidate, denoised, None, x)


def _slope_weight(h: float) -> float:
    """f = 1 - (1 - exp(-h))/h."""
    return 1 + math.expm1(-h) / h
