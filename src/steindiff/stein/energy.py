"""The default coefficient: the energy of the exact probability flow, free of charge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._errors import check_number
from .._reductions import accumulator_dtype, inners, root_of
from . import law
from .base import Coefficient, Decision, Proposal

_HARDLY = 0.1
"""Noise that is at most this share of the state before the last step counts as none left."""


_TRUSTED, _FAILED = 0.4, 0.7
"""What a corrector changes, in units of the noise at the next level, up to which it is trusted and
from which on it is not: a step that large is off by as much as the next one could take out."""


class EnergyState(NamedTuple):
    """What one step tells the next.

    Attributes:
        surplus: (B,), energy above the law that the state still carries.
        sigma: level of the step before; infinite before the first step.
        q: (B,), <x, x - D> there.
    """

    surplus: Tensor
    sigma: float
    q: Tensor


class _Products(NamedTuple):
    """Inner products of one step, (B,) each: u = x - T, n = x - D."""

    xx: Tensor
    xn: Tensor
    nn: Tensor
    tt: Tensor
    xu: Tensor
    uu: Tensor


class _Energies(NamedTuple):
    """Of one step, (B,) each: |T|^2, what it should be, and how far that is to be doubted."""

    candidate: Tensor
    target: Tensor
    doubt: Tensor


@dataclass(frozen=True)
class Energy(Coefficient):
    """gamma restores the energy |x'|^2 that the exact probability-flow ODE arrives with.

    The target is A = |x|^2 - loss - S, the loss by the energy law of the last two levels
    (`law.two_levels`); where the candidate T lacks energy, delta = A - |T|^2 > 0, gamma is the
    smaller root of

        |x - gamma u|^2 = |T|^2 + w delta,   u = x - T(x).

    - gamma <= 1: relaxation never extrapolates (Krasnosel'skii-Mann).
    - Shrinkage: w = delta^2/(delta^2 + doubt), doubt = E^2 + L^2, as a signal is weighed against
      the variance of what it was read from. E = |T|^2 - |T1|^2 is what a higher order added to
      Euler's T1, its own estimate of the same lack; L is the difference between the laws of two
      levels and of one.
    - First step: one level cannot separate noise from its overlap with the signal: gamma = 1.
    - Trust region: relaxing leaves (1 - gamma)(1 - r) sigma of the old noise behind, an excess that
      stays the same share of the noise at all levels below. A step may add `trust` of it at most:
      gamma >= 1 - trust r/(1 - r).
    - Last relaxed step: the step after it is of low order, ends nearly without noise and is not
      relaxed; what it will lose is given in advance, as far as the trust region allows. A sampling
      that ends with noise in it, above a tenth of |T|, goes on elsewhere and owes nothing yet.
    - Surplus memory: energy above A is owed by the next step, less what the flow itself damps:
      S' = (1 + r^2)/2 max(0, |T|^2 - A), the decay j + r^2 (1 - j) of the directions that a
      solver gets wrong, those between noise and signal (j = 1/2).
    - Corrector rule: where a predictor-corrector step (Heun) overshoots A, its candidate becomes
      T1 + c(T - T1), c in [0, 1] the root of |.|^2 = A, with T1 its Euler predictor; but only as
      far as the corrector has failed, which |T - T1| beside the noise at the next level tells.

    Assumes nothing of the data. Costs no model call. Everything is per sample.

    Source: this project (docs/theory/method.md, sections 3 to 5); relaxation towards a Stein target
    is Li & Zeng 2026, arXiv 2606.07835. The flags leave one part out each, for ablation.

    Args:
        trust: bound of the noise that a step leaves behind, in units of sigma'; `inf` removes it.
        memory: whether a surplus is remembered.
        two_levels: whether the law uses the level before, and so leaves the first step alone.
        shrink: whether the correction is shrunk by its doubt.
        last: whether the last relaxed step gives in advance.
        gift: how much it gives: an excess gift (1 - r)^2 of the noise that remains, which shrinks
            with the step; None gives what the trust region allows.
        corrector: whether the corrector rule is used.

    Raises:
        ValueError: trust or gift is negative or NaN.
    """

    trust: float = 0.1
    memory: bool = True
    two_levels: bool = True
    shrink: bool = True
    last: bool = True
    corrector: bool = True
    gift: float | None = None

    def __post_init__(self) -> None:
        for name in ("trust", "gift"):
            value = getattr(self, name)
            if value is None and name == "gift":
                continue
            if not check_number(name, value) >= 0:  # also catches NaN
                raise ValueError(f"{name} is {value!r}; a number >= 0 is needed")

    def init(self, x: Tensor) -> EnergyState:
        zero = torch.zeros(len(x), dtype=accumulator_dtype(x.device), device=x.device)
        return EnergyState(zero, math.inf, zero)

    def __call__(self, proposal: Proposal, state: EnergyState) -> Decision:
        sigma, ratio = proposal.sigma, proposal.ratio
        products = _products(proposal)
        q = products.xn
        found = self._energies(proposal, state, products)
        correction = None
        if proposal.predictor is not None and self.corrector:
            correction, after = _keep_of_corrector(proposal, found, products.nn)
            found = found._replace(candidate=after)
        if self.two_levels and state.sigma == math.inf:  # too little is known to relax
            return Decision(torch.ones_like(q), EnergyState(state.surplus, sigma, q), correction)
        gamma = self._gamma(proposal, found, products)
        if correction is not None:  # the corrected candidate is on its target already
            gamma = torch.where(correction < 1, torch.ones_like(gamma), gamma)
        surplus = (1 + ratio**2) / 2 * (found.candidate - found.target).clamp_min(0)
        following = EnergyState(surplus if self.memory else state.surplus, sigma, q)
        return Decision(gamma, following, correction)

    def lowest(self, ratio: float) -> float:
        """The bound of the trust region for a step of ratio r = sigma_next/sigma."""
        return max(0.0, 1 - self.trust * ratio / (1 - ratio)) if ratio > 0 else 1.0

    def given(self, ratio: float) -> float | None:
        """gamma of the last relaxed step where it gives in advance; None where it does not."""
        if not self.last:
            return None
        if self.gift is not None:
            return max(0.0, 1 - self.gift * ratio * (1 - ratio))
        return self.lowest(ratio) if math.isfinite(self.trust) else None

    def _energies(self, proposal: Proposal, state: EnergyState, products: _Products) -> _Energies:
        sigma, to, ratio = proposal.sigma, proposal.sigma_next, proposal.ratio
        energy, q, candidate = products.xx, products.xn, products.tt
        euler = energy - (1 - ratio) * (2 * q - (1 - ratio) * products.nn)
        simple = loss = law.one_level(q, sigma, to)
        if self.two_levels and state.sigma < math.inf:
            loss = law.two_levels(q, sigma, state.q, state.sigma, to)
        doubt = (candidate - euler).square() + (loss - simple).square()
        return _Energies(candidate, energy - loss - state.surplus, doubt)

    def _gamma(self, proposal: Proposal, found: _Energies, products: _Products) -> Tensor:
        lowest = self.lowest(proposal.ratio)
        lack = (found.target - found.candidate).clamp_min(0)
        if self.shrink and proposal.predictor is None:
            lack = lack * _share(lack.square(), found.doubt)
        gamma = _smaller_root(products.xu, products.uu, products.xx - found.candidate - lack)
        gamma = torch.where(lack > 0, gamma, torch.ones_like(gamma)).clamp(lowest, 1.0)
        given = self.given(proposal.ratio)
        if given is not None and proposal.steps_left == 2:
            left = proposal.end**2 * proposal.x[0].numel()
            gamma = torch.where(left <= _HARDLY**2 * found.candidate, given, gamma)
        return gamma


def _products(proposal: Proposal) -> _Products:
    x, candidate = proposal.x, proposal.candidate
    noise, u = x - proposal.denoised, x - candidate
    pairs = ((x, x), (x, noise), (noise, noise), (candidate, candidate), (x, u), (u, u))
    return _Products(*inners(*pairs))


def _share(signal: Tensor, doubt: Tensor) -> Tensor:
    """signal/(signal + doubt), 1 where both are 0."""
    total = signal + doubt
    return torch.where(total > 0, signal / torch.where(total > 0, total, 1.0), 1.0)


def _smaller_root(xu: Tensor, uu: Tensor, loss: Tensor) -> Tensor:
    """Smaller root of uu g^2 - 2 xu g + loss = 0, its vertex where there is none; 1 at u = 0."""
    root = root_of(xu**2 - uu * loss)
    moves = uu > 0
    return torch.where(moves, (xu - root) / torch.where(moves, uu, 1.0), 1.0)


def _keep_of_corrector(
    proposal: Proposal, found: _Energies, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Corrector rule: c, 1 where it does not act, and the energy of the resulting candidate.

    `noise` is |x - D|^2; r^2 of it is left at the next level.
    """
    assert proposal.predictor is not None
    t1, v = proposal.predictor, proposal.candidate - proposal.predictor
    t1v, vv, t1t1 = inners((t1, v), (v, v), (t1, t1))
    room = found.target - t1t1
    root = root_of(t1v**2 + vv * room.clamp_min(0))
    moves = vv > 0
    keep = torch.where(moves, (root - t1v) / torch.where(moves, vv, 1.0), 1.0)
    # No room even for the predictor: keep nothing of a corrector that adds to it.
    keep = torch.where(room > 0, keep, 0.0).clamp(0, 1)
    keep = torch.where(found.candidate > found.target, keep, 1.0)
    keep = 1 - _distrust(vv, proposal.ratio**2 * noise) * (1 - keep)
    return keep, found.candidate + (keep - 1) * (2 * t1v + (keep + 1) * vv)


def _distrust(move: Tensor, noise: Tensor) -> Tensor:
    """From 0, a corrector that is right, to 1, one that has failed: by |T - T1| over the noise."""
    size = root_of(move) / root_of(noise)
    return ((size - _TRUSTED) / (_FAILED - _TRUSTED)).clamp(0, 1)
