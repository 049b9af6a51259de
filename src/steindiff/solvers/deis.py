"""DEIS: Adams-Bashforth with the weights of the actual grid, on the noise prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ..errors import unknown_name
from .base import (
    BoundDenoiser,
    History,
    Solver,
    Step,
    check_order,
    usable_order,
    weighted_sum,
)
from .euler import euler_candidate

_NODES = 16
"""Exact for polynomials up to degree 31; e^s over a step of 10 in s is then good to 1e-13."""


@cache
def _gauss_legendre() -> tuple[tuple[float, float], ...]:
    """(node, weight) pairs on [0, 1]. Golub & Welsch 1969: eigenvalues of the Jacobi matrix."""
    k = torch.arange(1, _NODES, dtype=torch.float64, device="cpu")
    off_diagonal = torch.diag(k / (4 * k**2 - 1).sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(off_diagonal + off_diagonal.T)
    return tuple(zip(((1 + nodes) / 2).tolist(), (vectors[0] ** 2).tolist(), strict=True))


def lagrange_integrals(
    points: Sequence[float], start: float, end: float, density: Callable[[float], float]
) -> list[float]:
    """For each k the integral from `start` to `end` of L_k(s) density(s) ds.

    L_k is the polynomial that is 1 at points[k] and 0 at the other points.
    """
    integrals = [0.0] * len(points)
    for node, weight in _gauss_legendre():
        s = start + (end - start) * node
        mass = weight * (end - start) * density(s)
        for k, point in enumerate(points):
            others = (other for j, other in enumerate(points) if j != k)
            integrals[k] += mass * math.prod((s - other) / (point - other) for other in others)
    return integrals


def _one(s: float) -> float:
    return 1.0


@dataclass(frozen=True)
class DEIS(Solver):
    """x' = x + sum_k w_k eps_k, w_k = int_sigma^sigma' L_k dsigma, eps = (x - D)/sigma.

    Order p combines p evaluations and is tAB(p - 1) of the paper. Orders 1 to 4 on any grid; the
    order grows from 1 while the history fills. Into sigma = 0 the step is x' = D.

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
            weights = self._weights(history.sigmas[:order], sigma_next)
            candidate = x + weighted_sum(weights, history.values[:order])
        return Step(candidate, denoised, history.advance(), x)

    def _weights(self, sigmas: Sequence[float], sigma_next: float) -> list[float]:
        if self.variable == "sigma":
            return lagrange_integrals(sigmas, sigmas[0], sigma_next, _one)
        # with s = ln sigma, dsigma = e^s ds
        points = [math.log(sigma) for sigma in sigmas]
        return lagrange_integrals(points, points[0], math.log(sigma_next), math.exp)
