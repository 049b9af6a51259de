"""Multistep on D as a polynomial in a power of sigma, between ln sigma and sigma itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .._errors import check_number
from .base import History, HistoryKind, check_order, weighted_sum
from .dpmpp import DataMultistep
from .quadrature import lagrange_integrals


@dataclass(frozen=True)
class PowerMultistep(DataMultistep):
    """x' = r x + sum_k W_k D_k, W_k = int_sigma'^sigma (sigma'/t^2) l_k(t^p) dt, r = sigma'/sigma.

    l_k are the Lagrange polynomials in t^p through the last levels. Order k combines k evaluations,
    from 1 while the history fills; one call a step. At p -> 0 they are polynomials in ln sigma, as
    in RES and DPM-Solver++: `ResMultistep` at order 2, `UniPC` without its corrector at order 3.
    At p = 1, D of order 2 is a straight line in sigma. Where D stops moving as sigma falls, which
    no polynomial in ln sigma does, some power between holds over longer steps.

    Source: this project (docs/evidence/recipe.md has where it is of use).

    Attributes:
        order: number of evaluations combined, 1 to 3.
        p: the power, from 0 to 1.
        lower_order_final: at most as many of them as steps are left; not customary here.

    Raises:
        ValueError: an order that there is not, or a p outside of 0 .. 1.
    """

    order: int = 3
    p: float = 0.3
    lower_order_final: bool = False

    def __post_init__(self) -> None:
        check_order(self.order, 1, 3, "PowerMultistep")
        if not 0 <= check_number("p", self.p) <= 1:
            raise ValueError(f"p is {self.p!r}; a number from 0 to 1 is needed")

    @property
    def history(self) -> HistoryKind:
        return "denoised" if self.order > 1 else "none"

    def _candidate(self, x: Tensor, history: History, sigma_next: float, order: int) -> Tensor:
        if order == 1:
            return super()._candidate(x, history, sigma_next, order)
        weights = power_weights(history.sigmas[:order], sigma_next, self.p)
        ratio = sigma_next / history.sigmas[0]
        return ratio * x + weighted_sum(weights, history.values[:order])


def power_weights(sigmas: Sequence[float], sigma_next: float, p: float) -> list[float]:
    """W_k of the evaluations at `sigmas`, the newest first, in the step to `sigma_next`.

    The integral is over s = ln(t/sigma), in which no p is a special case, of the polynomials in
    (e^(p s) - 1)/p, which are those in t^p and have a limit at p = 0.
    """
    points = [math.log(sigma / sigmas[0]) for sigma in sigmas]
    end = math.log(sigma_next / sigmas[0])

    def variable(s: float) -> float:
        return math.expm1(p * s) / p if p else s

    return lagrange_integrals(points, end, 0.0, lambda s: math.exp(end - s), variable)
