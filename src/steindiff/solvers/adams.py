"""Adams-Bashforth on the noise prediction; with the weights of a uniform grid it is iPNDM."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import BoundDenoiser, History, Solver, Step, check_order, usable_order, weighted_sum
from .euler import euler_candidate


class AdamsBashforth(Solver):
    """x' = x + sum_k w_k eps_k, eps = (x - D)/sigma; a subclass says what the weights are.

    The order grows from 1 while the history fills. Into sigma = 0 the step is x' = D.
    """

    order: int
    lower_order_final: bool

    @abstractmethod
    def weights(self, sigmas: Sequence[float], sigma_next: float) -> Sequence[float]:
        """Weights of two or more evaluations, at `sigmas`, the newest first."""

    def init(self, x: Tensor, sigmas: Sequence[float]) -> History:
        return History(steps_left=len(sigmas) - 1)

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: History
    ) -> Step:
        denoised = denoiser(x, sigma)
        history = state.push(sigma, (x - denoised) / sigma, self.order)
        order = usable_order(self.order, history, sigma_next, self.lower_order_final)
        if order == 1:
            candidate = euler_candidate(x, denoised, sigma, sigma_next)
        else:
            weights = self.weights(history.sigmas[:order], sigma_next)
            candidate = x + weighted_sum(weights, history.values[:order])
        return Step(candidate, denoised, history.advance(), x)


_UNIFORM: dict[int, tuple[float, ...]] = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Adams-Bashforth weights of equal steps, by order, the newest evaluation first."""


@dataclass(frozen=True)
class IPNDM(AdamsBashforth):
    """x' = x + (sigma' - sigma) sum_k w_k eps_k, eps = (x - D)/sigma. Orders 1 to 4.

    The weights are those of equal steps in sigma, whatever the steps are: the nominal order needs
    a grid uniform in sigma, which is seldom the grid in use (`DEIS` has the weights of the actual
    grid).

    Into sigma = 0 Zhou et al.'s code stops at a positive sigma, after which it offers D of the
    result; k-diffusion's descendants take D, as we do.

    Source: Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", the
    linear multi-step weights; Zhang & Chen 2023, "Fast Sampling of Diffusion Models with
    Exponential Integrator", whose iPNDM starts with the lower orders in place of Runge-Kutta steps.

    Attributes:
        order: number of evaluations combined.
        lower_order_final: at most as many of them as steps are left. Not customary for iPNDM.
    """

    order: int = 3
    lower_order_final: bool = False

    def __post_init__(self) -> None:
        check_order(self.order, 1, 4, "IPNDM")

    def weights(self, sigmas: Sequence[float], sigma_next: float) -> Sequence[float]:
        return [(sigma_next - sigmas[0]) * weight for weight in _UNIFORM[len(sigmas)]]


@dataclass(frozen=True)
class GradientEstimation(AdamsBashforth):
    """x' = x + (sigma' - sigma)(g eps_0 + (1 - g) eps_1), eps = (x - D)/sigma. One call a step.

    eps, as a gradient of the distance to the data, is estimated by what two noisy readings have in
    common; at g = 1 it is Euler, at 3/2 iPNDM of order 2. Order 1 for any other g.

    Source: Permenter & Yuan 2024, "Interpreting and Improving Diffusion Models from an Optimization
    Perspective", arXiv 2306.04848, algorithm 2; as ComfyUI has it, the step into sigma = 0 is
    x' = D.

    Attributes:
        gamma: g, of the newest eps.

    Raises:
        ValueError: `gamma` is not finite.
    """

    order: ClassVar[int] = 2
    lower_order_final: ClassVar[bool] = False
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.gamma):
            raise ValueError(f"gamma is {self.gamma!r}; a finite number is needed")

    def weights(self, sigmas: Sequence[float], sigma_next: float) -> Sequence[float]:
        step = sigma_next - sigmas[0]
        return step * self.gamma, step * (1 - self.gamma)
