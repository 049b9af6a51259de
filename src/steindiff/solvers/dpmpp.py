"""DPM-Solver++: multistep, on the data prediction D, in lambda = -ln sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import BoundDenoiser, History, HistoryKind, Solver, Step, usable_order
from .euler import euler_candidate


class DataMultistep(Solver):
    """Multistep on D: its history, and the midpoint formula, which a subclass may replace."""

    order: int
    lower_order_final: bool

    @property
    def history(self) -> HistoryKind:
        return "denoised"

    def init(self, x: Tensor, sigmas: Sequence[float]) -> History:
        return History(steps_left=len(sigmas) - 1)

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: History
    ) -> Step:
        denoised = denoiser(x, sigma)
        history = state.push(sigma, denoised, self.order)
        order = usable_order(self.order, history, sigma_next, self.lower_order_final)
        candidate = self._candidate(x, history, sigma_next, order)
        return Step(candidate, denoised, history.advance(), x)

    def _candidate(self, x: Tensor, history: History, sigma_next: float, order: int) -> Tensor:
        """The state at `sigma_next` by the formula of `order`."""
        sigma, target = history.sigmas[0], history.values[0]
        if order == 2:
            target = target + 0.5 * data_slope(history, 0, math.log(sigma / sigma_next))
        return euler_candidate(x, target, sigma, sigma_next)


@dataclass(frozen=True)
class DPMpp2M(DataMultistep):
    """x' = r x + (1 - r)(D_0 + D1/2), D1 = (h/h_0)(D_0 - D_1), r = sigma'/sigma. Order 2.

    h is the step in lambda and h_0 the one before. Source: Lu et al. 2022, "DPM-Solver++",
    algorithm 2, which implementations call its midpoint form.

    Attributes:
        lower_order_final: first order in the last step. At any number of steps; diffusers does it
            below 15 only.
    """

    order: ClassVar[int] = 2
    lower_order_final: bool = True


@dataclass(frozen=True)
class DPMpp3M(DataMultistep):
    """x' = r x + (1 - r) D_0 + I1 D1 + I2 D2/2, I_k = int_0^1 h exp(-h(1 - s)) s^k ds.

    D_0 + s D1 + s^2 D2 is the parabola through the last three evaluations, s = 0 at sigma and 1 at
    sigma'. Source: Lu et al. 2022, "DPM-Solver++", the third-order multistep solver of the
    authors' code.

    That code, and what follows it, weighs D2 by half of its integral I2. This leaves a local error
    of O(h^3): the method converges with order 2, with a smaller constant than 2M. The whole of I2
    integrates the parabola exactly; that is UniP-3, `UniPC(order=3, corrector=False)`.

    Attributes:
        lower_order_final: order 2, then 1, in the last two steps.
    """

    order: ClassVar[int] = 3
    lower_order_final: bool = True

    def _candidate(self, x: Tensor, history: History, sigma_next: float, order: int) -> Tensor:
        if order < 3:
            return super()._candidate(x, history, sigma_next, order)
        s0, s1, s2 = history.sigmas
        h = math.log(s0 / sigma_next)
        r0, r1 = math.log(s1 / s0) / h, math.log(s2 / s1) / h
        newest, older = data_slope(history, 0, h), data_slope(history, 1, h)
        curvature = (newest - older) / (r0 + r1)
        slope = newest + r0 * curvature
        first = 1 + math.expm1(-h) / h
        second = 1 - 2 * first / h
        euler = euler_candidate(x, history.values[0], s0, sigma_next)
        return euler + first * slope + 0.5 * second * curvature


def data_slope(history: History, k: int, h: float) -> Tensor:
    """h times the divided difference in lambda of the entries k and k + 1."""
    ratio = math.log(history.sigmas[k + 1] / history.sigmas[k]) / h
    return (history.values[k] - history.values[k + 1]) / ratio
