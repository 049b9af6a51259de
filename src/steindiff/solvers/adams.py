"""Adams-Bashforth on the noise prediction; with the weights of a uniform grid it is iPNDM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor

from .._errors import check_finite, unknown_name
from .base import (
    BoundDenoiser,
    History,
    HistoryKind,
    Solver,
    Step,
    check_order,
    usable_order,
    weighted_sum,
)
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

    @property
    def history(self) -> HistoryKind:
        return "noise" if self.order > 1 else "none"

    def slope(self, x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
        """What is integrated, of the state at `sigma`."""
        return (x - denoised) / sigma

    def moved(self, x: Tensor, move: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """The state at `sigma_next`, to which `move` leads."""
        return x + move

    def init(self, x: Tensor, sigmas: Sequence[float]) -> History:
        return History(steps_left=len(sigmas) - 1)

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: History
    ) -> Step:
        denoised = denoiser(x, sigma)
        history = state.push(sigma, self.slope(x, denoised, sigma), self.order)
        order = usable_order(self.order, history, sigma_next, self.lower_order_final)
        if order == 1:
            candidate = euler_candidate(x, denoised, sigma, sigma_next)
        else:
            weights = self.weights(history.sigmas[:order], sigma_next)
            move = weighted_sum(weights, history.values[:order])
            candidate = self.moved(x, move, sigma, sigma_next)
        return Step(candidate, denoised, history.advance(), x)


Variable = Literal["sigma", "flow"]


class EvenSteps(AdamsBashforth):
    """Adams-Bashforth with fixed weights, as if the steps were even, in one of two variables.

    "sigma" integrates eps over sigma. "flow" integrates v = eps - D, the velocity of a flow model,
    over its time t = sigma/(1 + sigma): z' = z + (t' - t) sum_k w_k v_k with z = (1 - t) x. The
    usual levels of a flow are far more even in t than in sigma.

    Attributes:
        variable: "sigma" or "flow".

    Raises:
        ValueError: another variable.
    """

    variable: Variable

    def __post_init__(self) -> None:
        if self.variable not in get_args(Variable):
            raise unknown_name("variable", self.variable, get_args(Variable))

    @abstractmethod
    def even_weights(self, count: int) -> Sequence[float]:
        """Weights of `count` evaluations for steps of 1, the newest first."""

    def weights(self, sigmas: Sequence[float], sigma_next: float) -> Sequence[float]:
        step = sigma_next - sigmas[0]
        if self.variable == "flow":
            step /= (1 + sigma_next) * (1 + sigmas[0])  # t' - t
        return [step * weight for weight in self.even_weights(len(sigmas))]

    def slope(self, x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
        noise = super().slope(x, denoised, sigma)
        return noise if self.variable == "sigma" else noise - denoised

    def moved(self, x: Tensor, move: Tensor, sigma: float, sigma_next: float) -> Tensor:
        if self.variable == "sigma":
            return super().moved(x, move, sigma, sigma_next)
        return (1 + sigma_next) * (x / (1 + sigma) + move)


_UNIFORM: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Adams-Bashforth weights of equal steps, by order, the newest evaluation first."""


@dataclass(frozen=True)
class IPNDM(EvenSteps):
    """x' = x + (sigma' - sigma) sum_k w_k eps_k, eps = (x - D)/sigma. Orders 1 to 4.

    The weights are those of equal steps in sigma, or in a flow's time, whatever the steps are: the
    nominal order needs a uniform grid, which is seldom the grid in use (`DEIS` has the weights of
    the actual grid).

    Into sigma = 0 Zhou et al.'s code stops at a positive sigma, after which it offers D of the
    result; k-diffusion's descendants take D, as we do.

    Source: Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", the
    linear multi-step weights; Zhang & Chen 2023, "Fast Sampling of Diffusion Models with
    Exponential Integrator", whose iPNDM starts with the lower orders in place of Runge-Kutta steps.

    Attributes:
        order: number of evaluations combined.
        lower_order_final: at most as many of them as steps are left. Not customary for iPNDM.
        variable: see `EvenSteps`.

    Raises:
        ValueError: an order or a variable that there is not.
    """

    order: int = 3
    lower_order_final: bool = False
    variable: Variable = "sigma"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self.order, 1, 4, "IPNDM")

    def even_weights(self, count: int) -> Sequence[float]:
        return _UNIFORM[count]


@dataclass(frozen=True)
class GradientEstimation(EvenSteps):
    """x' = x + (sigma' - sigma)(g eps_0 + (1 - g) eps_1), eps = (x - D)/sigma. One call a step.

    eps, as a gradient of the distance to the data, is estimated by what two noisy readings have in
    common; at g = 1 it is Euler, at 3/2 iPNDM of order 2. Order 1 for any other g.

    Source: Permenter & Yuan 2024, "Interpreting and Improving Diffusion Models from an Optimization
    Perspective", arXiv 2306.04848, algorithm 2; as ComfyUI has it, the step into sigma = 0 is
    x' = D.

    Attributes:
        gamma: g, of the newest eps.
        variable: see `EvenSteps`.

    Raises:
        ValueError: `gamma` is not finite, or a variable that there is not.
    """

    order: ClassVar[int] = 2
    lower_order_final: ClassVar[bool] = False
    gamma: float = 2.0
    variable: Variable = "sigma"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite("gamma", self.gamma)

    def even_weights(self, count: int) -> Sequence[float]:
        return self.gamma, 1 - self.gamma
