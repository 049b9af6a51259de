"""DEIS: Adams-Bashforth with the weights of the actual grid, on the noise prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .._errors import unknown_name
from .adams import AdamsBashforth
from .base import check_order
from .quadrature import lagrange_integrals


def _one(s: float) -> float:
    return 1.0


@dataclass(frozen=True)
class DEIS(AdamsBashforth):
    """x' = x + sum_k w_k eps_k, w_k = int_sigma^sigma' L_k dsigma, eps = (x - D)/sigma.

    Order p combines p evaluations and is tAB(p - 1) of the paper. Orders 1 to 4 on any grid.

    Source: Zhang & Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator",
    tAB-DEIS. In VE coordinates their transition matrix is 1 and only the polynomials are left.

    Attributes:
        order: number of evaluations combined.
        variable: what the L_k are polynomials of: "sigma", or "log_sigma" (their log-rho form).
        lower_order_final: combine at most as many evaluations as steps are left.
    """

    order: int = 3
    variable: Literal["sigma", "log_sigma"] = "sigma"
    lower_order_final: bool = False

    def __post_init__(self) -> None:
        check_order(self.order, 1, 4, "DEIS")
        if self.variable not in ("sigma", "log_sigma"):
            raise unknown_name("variable", self.variable, ("sigma", "log_sigma"))

    def weights(self, sigmas: Sequence[float], sigma_next: float) -> Sequence[float]:
        if self.variable == "sigma":
            return lagrange_integrals(sigmas, sigmas[0], sigma_next, _one)
        # with s = ln sigma, dsigma = e^s ds
        points = [math.log(sigma) for sigma in sigmas]
        return lagrange_integrals(points, points[0], math.log(sigma_next), math.exp)
