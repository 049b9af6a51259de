"""The quotient sigma^2 E div u / E|u|^2, which the published coefficient and its kin share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._errors import check_count, check_number, unknown_name
from .._reductions import inner
from . import divergence
from .base import Coefficient, Decision, Proposal

Estimator = Literal["hutchinson", "finite_difference", "exact", "ratio"]
ESTIMATORS = ("hutchinson", "finite_difference", "exact", "ratio")


@dataclass(frozen=True)
class SteinQuotient(Coefficient):
    """A coefficient built on div u, u(x) = x - T(x) at a fixed history.

    Args:
        estimator: of div u: "hutchinson" and "exact" differentiate through the step;
            "finite_difference" repeats it; "ratio" is free, by <u, x - D>/sigma^2.
        probes: how many for "hutchinson" and "finite_difference".
        gamma_min: lower bound of gamma; None leaves this side open.
        gamma_max: upper bound of gamma; None leaves this side open.
        mean: "sample" for a gamma of each sample alone; "batch" pools numerator and denominator
            over the batch, as published, and makes samples depend on their neighbours.
        seed: of the probes; step k draws from seed + k.

    Raises:
        ValueError: unknown estimator or mean, probes < 1, bounds in the wrong order.
    """

    estimator: Estimator = "hutchinson"
    probes: int = 5
    gamma_min: float | None = 0.0
    gamma_max: float | None = 1.0
    mean: Literal["sample", "batch"] = "sample"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise unknown_name("estimator", self.estimator, ESTIMATORS)
        if self.mean not in ("sample", "batch"):
            raise unknown_name("mean", self.mean, ("sample", "batch"))
        check_count("probes", self.probes, 1, divergence.MOST_PROBES)
        check_count("seed", self.seed, -(2**62), 2**62)
        low = -math.inf if self.gamma_min is None else check_number("gamma_min", self.gamma_min)
        high = math.inf if self.gamma_max is None else check_number("gamma_max", self.gamma_max)
        if not low <= high:
            raise ValueError(f"gamma_min is {low} and gamma_max {high}; gamma_min <= gamma_max")

    @property
    def extra_calls(self) -> int:
        return {"ratio": 0, "finite_difference": self.probes}.get(self.estimator, 1)

    def init(self, x: Tensor) -> int:
        return 0

    def decide(self, proposal: Proposal, step: int, scale: float) -> Decision:
        """gamma = scale * sigma^2 E div u / E|u|^2, in its bounds; 1 where u = 0."""
        u = proposal.x - proposal.candidate
        top, bottom = self._divergence(proposal, u, step), inner(u, u)
        if self.mean == "batch":
            top, bottom = top.mean().expand_as(top), bottom.mean().expand_as(bottom)
        moves = bottom > 0
        gamma = scale * proposal.sigma**2 * top / torch.where(moves, bottom, 1.0)
        gamma = torch.where(moves, gamma, 1.0)
        if self.gamma_min is not None or self.gamma_max is not None:
            gamma = gamma.clamp(self.gamma_min, self.gamma_max)
        return Decision(gamma, step + 1)

    def _divergence(self, proposal: Proposal, u: Tensor, step: int) -> Tensor:
        x = proposal.x
        generator = torch.Generator().manual_seed(self.seed + step)
        if self.estimator == "ratio":
            return divergence.residual_ratio(u, x, proposal.denoised, proposal.sigma)
        if self.estimator == "exact":
            return divergence.exact(proposal.residual, x)
        if self.estimator == "finite_difference":
            return divergence.finite_difference(
                proposal.residual, x, generator, probes=self.probes, value=u
            )
        return divergence.hutchinson(proposal.residual, x, probes=self.probes, generator=generator)
