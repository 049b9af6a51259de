"""UniPC: a multistep predictor whose next evaluation also corrects the step before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._errors import unknown_name
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
from .quadrature import lagrange_integrals


class UniPCState(NamedTuple):
    """State between two steps.

    Attributes:
        history: the evaluations of D.
        start: what the last step departed from, after its correction; None before the first step.
        order: order of the last step's predictor, hence of its coming correction.
        ratio: sigma'/sigma of the last step, the factor of `start` in its coming correction.
        moved: by how much the last step's result was moved by someone else; None for not at all.
    """

    history: History
    start: Tensor | None = None
    order: int = 0
    ratio: float = 0.0
    moved: Tensor | None = None


@dataclass(frozen=True)
class UniPC(Solver):
    """x' = r x + sum_k w_k D_k, r = sigma'/sigma: UniP to predict, UniC to correct. Orders 1 to 3.

    UniP-p takes the last p evaluations; UniC-p adds the one at the predicted end of the step, which
    is the opening evaluation of the next step, so that a step costs one call. The last step has no
    correction. With the corrector the order of accuracy is p + 1, without it p.

    Source: Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
    Diffusion Models", data prediction, multistep; the weights are in `_weights`.

    Attributes:
        order: p.
        variant: B(h) of the two-point formulas.
        corrector: correct each step but the last.
        lower_order_final: at most as many evaluations as steps are left.
    """

    order: int = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    corrector: bool = True
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        check_order(self.order, 1, 3, "UniPC")
        if self.variant not in ("bh1", "bh2"):
            raise unknown_name("variant", self.variant, ("bh1", "bh2"))

    @property
    def history(self) -> HistoryKind:
        return "denoised" if self.order > 1 or self.corrector else "none"

    def init(self, x: Tensor, sigmas: Sequence[float]) -> UniPCState:
        return UniPCState(History(steps_left=len(sigmas) - 1))

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: UniPCState
    ) -> Step:
        denoised = denoiser(x, sigma)
        start = self._correct(x, denoised, sigma, state)
        history = state.history.push(sigma, denoised, self.order)
        order = usable_order(self.order, history, sigma_next, self.lower_order_final)
        ratio = sigma_next / sigma
        if ratio == 0:
            return Step(denoised, denoised, UniPCState(history.advance(), start, order), start)
        weights = _weights(history.sigmas[:order], sigma_next, self.variant)
        candidate = ratio * start + weighted_sum(weights, history.values[:order])
        return Step(candidate, denoised, UniPCState(history.advance(), start, order, ratio), start)

    def _correct(self, x: Tensor, denoised: Tensor, sigma: float, state: UniPCState) -> Tensor:
        """The end of the last step again, now that D is known there; `x` if there was no step."""
        if state.start is None or not self.corrector:
            return x
        sigmas = (*state.history.sigmas[: state.order], sigma)
        values = (*state.history.values[: state.order], denoised)
        weights = _weights(sigmas, sigma, self.variant)
        if state.moved is None:
            start = state.ratio * state.start
        else:
            # A factor of a half type would be rounded to it.
            start = state.start.to(torch.promote_types(x.dtype, torch.float32))
            start = torch.add(state.moved, start, alpha=state.ratio).to(x.dtype)
        return start + weighted_sum(weights, values)

    def replace(self, state: UniPCState, proposed: Tensor, accepted: Tensor) -> UniPCState:
        """Remembers `accepted - proposed`, by which the coming correction is to move too."""
        if accepted is proposed or state.ratio == 0 or not self.corrector:
            return state
        return state._replace(moved=accepted - proposed)


def _weights(sigmas: Sequence[float], sigma_next: float, variant: str) -> list[float]:
    """Weights of the evaluations at `sigmas` in the step from sigmas[0] to `sigma_next`.

    One point: 1 - r. Two points: the second gets (B(h)/2) h/(lambda_1 - lambda_0), with B(h) = h
    (bh1) or 1 - exp(-h) (bh2), as the authors' code does for UniP-2 and UniC-1. More points: the
    solution of their linear system, in which B(h) cancels; it is the integral over the step of
    exp(lambda - lambda') times the polynomial in lambda through all points.
    """
    total = 1 - sigma_next / sigmas[0]
    if len(sigmas) == 1:
        return [total]
    h = math.log(sigmas[0] / sigma_next)
    if len(sigmas) == 2:
        second = 0.5 * (h if variant == "bh1" else total) * h / math.log(sigmas[0] / sigmas[1])
        return [total - second, second]
    points = [math.log(sigmas[0] / sigma) for sigma in sigmas]
    return lagrange_integrals(points, 0.0, h, lambda s: math.exp(s - h))
