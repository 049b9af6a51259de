"""The default coefficient: the energy of the exact probability flow, free of charge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._errors import check_number, unknown_name
from .._reductions import accumulator_dtype, root_of, row_sum, smallest
from . import law
from .base import Coefficient, Decision, Proposal
from .end import MOVES, steadiness

LAWS = ("lesser", "one", "two")
"""How many levels the energy law is read from; "lesser" is what both grant."""

_HARDLY = 0.1
"""Noise that is at most this share of the state before the last step, or of D, counts as none."""


_LONG = 0.2
"""Ratio of its levels below which a step is so long that it takes out nearly all of the noise."""


_PUT_BACK = 0.5
"""Share of Euler's loss that, put back by a higher order, makes a candidate none of Euler's."""


_BLIND = 0.02
"""A first step that leaves less of the noise is not relaxed: the chance overlap of the noise with
what D makes of it is then as large as all that the step leaves, and one level cannot tell."""


_TRUSTED, _FAILED = 0.4, 0.7
"""What a corrector changes, in units of the noise at the next level, up to which it is trusted and
from which on it is not: a step that large is off by as much as the next one could take out."""


class EnergyState(NamedTuple):
    """What one step tells the next.

    Attributes:
        gap: (B,), what the step before lacked of its target; below 0 it had more.
        sigma: level of the step before; infinite before the first step.
        q: (B,), <x, x - D> there.
        kept: share of what was too much that the flow has left since.
        before: (B, *shape) each, the latest denoised samples, where it matters how steadily they
            moved.
        moved: (B,), the square of the move from one of them to the other.
    """

    gap: Tensor
    sigma: float
    q: Tensor
    kept: float = 0.0
    before: tuple[Tensor, ...] = ()
    moved: Tensor | None = None

    @property
    def surplus(self) -> Tensor:
        """(B,), energy above the law that the state still carries."""
        return self.kept * (-self.gap).clamp_min(0)


class _Products(NamedTuple):
    """Inner products of one step, (B,) each: u = x - T, n = x - D, v = T - T1, m = D - D_.

    Those beside x, D and T where they are needed: with a predictor T1, at a step that may give in
    advance, and with denoised samples D_ and D__ of the steps before (m_ = D_ - D__).
    """

    xn: Tensor
    dn: Tensor
    xu: Tensor
    tu: Tensor
    t1v: Tensor | None = None
    tv: Tensor | None = None
    tt: Tensor | None = None
    mm: Tensor | None = None
    mm_: Tensor | None = None

    @property
    def fall(self) -> Tensor:
        """|x|^2 - |T|^2."""
        return self.xu + self.tu

    @property
    def noise(self) -> Tensor:
        """|x - D|^2."""
        return self.xn - self.dn

    def lack(self, ratio: float) -> Tensor:
        """What T lacks by the law of one level, in a step of this ratio."""
        return torch.add(self.fall, self.xn, alpha=ratio**2 - 1)


class _Gap(NamedTuple):
    """Of one step, (B,) each, in units of energy above |T|^2.

    Attributes:
        lack: the target, by the law and less what is owed.
        euler: |T1|^2 - |T|^2; with "lesser", less what the second level took off the lack.
        laws: what the law of two levels makes of the lack by that of one; None without the former.
    """

    lack: Tensor
    euler: Tensor
    laws: Tensor | None


class _Gift(NamedTuple):
    """What a step may give in advance.

    Attributes:
        gamma: of a whole gift.
        level: where next to no noise has to be left for it; 0 asks for nothing.
        sooner: whether it is given a step sooner, and so by a candidate of first order alone.
    """

    gamma: float
    level: float
    sooner: bool = False


@dataclass(frozen=True)
class Energy(Coefficient):
    """gamma restores the energy |x'|^2 that the exact probability-flow ODE arrives with.

    The target is A = |x|^2 - loss - S, the loss by the energy law; where the candidate T lacks
    energy, delta = A - |T|^2 > 0, gamma is the smaller root of

        |x - gamma u|^2 = |T|^2 + w delta,   u = x - T(x).

    - gamma <= 1: relaxation never extrapolates (Krasnosel'skii-Mann).
    - Law: (1 - r^2) <x, x - D>, that of one level, is right in the mean for a posterior mean D.
      That of two levels (`law.two_levels`) reads from the step before how <x, x - D>/sigma^2
      changes, and so holds for a guided D as well, but it carries the error of that step. "lesser"
      takes the lesser of the two lacks, since what is given back wrongly does more harm than what
      is not given; but that of one level as far as D moved steadily in its last two moves, as one
      without guidance does. The first step has one level only, and what it sees there is chance:
      it is relaxed by "one" alone, and not where it leaves next to no noise (a flow's from t = 1).
    - Shrinkage: w = delta^2/(delta^2 + doubt), doubt = E^2 + L^2, as a signal is weighed against
      the variance of what it was read from. E = |T|^2 - |T1|^2 is what a higher order added to
      Euler's T1, its own estimate of the same lack; L is what the second level changed in delta
      (with "lesser" doubt = (E + L)^2, both being read from the same step).
    - Trust region: relaxing leaves (1 - gamma)(1 - r) sigma of the old noise behind, an excess that
      stays the same share of the noise at all levels below. A step may add `trust` of it at most:
      gamma >= 1 - trust r/(1 - r).
    - Gift of the last relaxed step: the step after it is of low order, ends nearly without noise
      and is not relaxed; what it will lose is given in advance, an excess gift trust (1 - r)^2 of
      the noise that remains. A sampling that ends with noise in it, above a tenth of |T|, goes on
      elsewhere and owes nothing yet. Where the last level holds next to no noise, as that of
      Karras' levels before 0, the gift would be next to nothing, and the long step into that level
      is the one that loses: the step before it gives too, as far as the candidate is Euler's.
    - Surplus memory: energy above A is owed by the next step, less what the flow itself damps:
      S' = (1 + r^2)/2 max(0, |T|^2 - A), the decay j + r^2 (1 - j) of the directions that a
      solver gets wrong, those between noise and signal (j = 1/2).
    - Corrector rule: where a predictor-corrector step (Heun) overshoots A, its candidate becomes
      T1 + c(T - T1), c in [0, 1] the root of |.|^2 = A, with T1 its Euler predictor; but only as
      far as the corrector has failed, which |T - T1| beside the noise at the next level tells.

    Assumes nothing of the data. Costs no model call. Everything is per sample.

    Source: this project (docs/theory/method.md); relaxation towards a Stein target is Li & Zeng
    2026, arXiv 2606.07835. The flags leave one part out each, for ablation.

    Args:
        trust: bound of the noise that a step leaves behind, in units of sigma'; `inf` removes it.
        memory: whether a surplus is remembered.
        law: "lesser", "one" or "two": the levels that the law is read from.
        shrink: whether the correction is shrunk by its doubt.
        last: whether the last relaxed step gives in advance.
        gift: how much it gives, in units of `trust`, at r -> 0; None gives what the trust region
            allows. With a `trust` of 0 nothing is given; nor with an infinite one, where nothing
            says how much.
        corrector: whether the corrector rule is used.
        steady: whether it counts how steadily D moves: the gift is given as far as it does, and
            "lesser" is "one" as far. Without it the gift is given in full: more where it is known
            that the denoiser is not guided, harm where it is.
        sooner: whether a gift is given a step sooner where the last level is next to no noise.

    Raises:
        ValueError: trust or gift is negative or NaN, or an unknown law.
    """

    trust: float = 0.1
    memory: bool = True
    law: str = "lesser"
    shrink: bool = True
    last: bool = True
    corrector: bool = True
    gift: float | None = 2.0
    steady: bool = True
    sooner: bool = True

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise unknown_name("law", self.law, LAWS)
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
        gift = self._gift(proposal)
        length = gift is not None and gift.level > 0
        products = _products(proposal, state.before, self.corrector, length)
        steady = _steady(products, state)
        gap = self._gap(proposal, state, products, steady)
        correction, after = None, gap.lack
        if products.tv is not None:
            correction, after = _keep_of_corrector(products, gap.lack, ratio)
        first = state.sigma == math.inf
        before = self._remembered(proposal, state)
        if first and (self.law != "one" or ratio < _BLIND):  # too little is known to relax
            following = state._replace(sigma=sigma, q=products.xn, before=before)
            return Decision(torch.ones_like(products.xn), following, correction)
        if gift is None or gift.level > 0:
            gamma = self._gamma(proposal, gap, products)
        if gift is not None:
            given = _given(gift.gamma, steady, gap.lack)
            due = _due(gift, proposal, products, gap.lack - after) if gift.level > 0 else None
            gamma = given if due is None else torch.lerp(gamma, given, due)
            if correction is not None:  # corrected is on its target already
                gamma = gamma.masked_fill_(correction < 1, 1.0)
        kept = (1 + ratio**2) / 2 if self.memory else 0.0
        following = EnergyState(after, sigma, products.xn, kept, before, products.mm)
        return Decision(gamma, following, correction)

    def lowest(self, ratio: float) -> float:
        """The bound of the trust region for a step of ratio r = sigma_next/sigma."""
        return max(0.0, 1 - self.trust * ratio / (1 - ratio)) if ratio > 0 else 1.0

    def given(self, ratio: float) -> float | None:
        """gamma of the last relaxed step where it gives in advance; None where it does not."""
        if not self.last or not math.isfinite(self.trust):
            return None
        if self.gift is None or self.trust == 0:
            return self.lowest(ratio)
        return max(0.0, 1 - self.gift * self.trust * ratio * (1 - ratio))

    def _gift(self, proposal: Proposal) -> _Gift | None:
        """What this step may give in advance: the last relaxed one, or the one before it."""
        left, end, departs = proposal.ahead
        given = self.given(proposal.ratio) if left in (2, 3) else None
        if given is None or left == 2:
            return None if given is None else _Gift(given, end)
        following = departs / proposal.sigma_next
        if not self.sooner or proposal.predictor is not None or end > departs:
            return None
        if not 0 < following < _LONG:
            return None
        return _Gift(1 - (1 - given) * (1 - following) ** 2, departs, sooner=True)

    def _remembered(self, proposal: Proposal, state: EnergyState) -> tuple[Tensor, ...]:
        """The denoised samples that the steps after this one ask for, the latest first."""
        if not self.steady or (self.law != "lesser" and self.given(proposal.ratio) is None):
            return ()
        return (proposal.denoised, *state.before)[:MOVES]

    def _gap(
        self, proposal: Proposal, state: EnergyState, products: _Products, steady: Tensor | None
    ) -> _Gap:
        sigma, ratio, lack = proposal.sigma, proposal.ratio, products.lack(proposal.ratio)
        known = state.sigma < math.inf
        if self.law == "lesser" and known:  # that of two lacks (1 - r)^2 b sigma less
            share = sigma / state.sigma
            rise = torch.add(products.xn, state.q, alpha=-(share**2)).clamp_min(0)
            if steady is not None:
                rise = torch.addcmul(rise, rise, steady, value=-1)
            lack = torch.add(lack, rise, alpha=-((1 - ratio) ** 2) / (1 - share))
        euler = torch.add(lack, products.dn, alpha=-((1 - ratio) ** 2))
        laws = None
        if self.law == "two" and known:
            q, to = products.xn, proposal.sigma_next
            simple, lack = lack, products.fall - law.two_levels(q, sigma, state.q, state.sigma, to)
            laws = lack - simple
        if state.kept:  # the state still carries what the last step had too much
            lack = torch.add(lack, state.gap.clamp_max(0), alpha=state.kept)
        return _Gap(lack, euler, laws)

    def _gamma(self, proposal: Proposal, gap: _Gap, products: _Products) -> Tensor:
        """The smaller root of |x - gamma u|^2 = |T|^2 + lack; 1 where nothing lacks, or u = 0."""
        uu = products.xu - products.tu
        least = smallest(uu.dtype)
        lack, size = gap.lack.clamp_min(least), uu.clamp_min(least)
        if self.shrink and proposal.predictor is None:
            signal = lack.square()
            total = torch.addcmul(signal, gap.euler, gap.euler)
            if gap.laws is not None:
                total = torch.addcmul(total, gap.laws, gap.laws)
            lack = lack * (signal / total)
        root = torch.addcmul(products.tu.square(), size, lack).sqrt()
        idle = torch.minimum(gap.lack, uu) <= 0
        gamma = ((products.xu - root) / size).masked_fill_(idle, 1.0)
        return gamma.clamp(self.lowest(proposal.ratio), 1.0)


def _products(
    proposal: Proposal, before: tuple[Tensor, ...], corrects: bool, length: bool
) -> _Products:
    """All in one product of the stacked vectors; `length` is whether |T|^2 is wanted too."""
    x, denoised, candidate, predictor = proposal[:4]
    corrects = corrects and predictor is not None
    parts = [denoised, x, candidate, *([predictor] if corrects else []), *before]
    stacked = torch.stack(parts).to(accumulator_dtype(x.device)).flatten(2)
    left = [stacked[1:2] - stacked[0:3:2]]  # n and u
    if corrects:
        left.append(stacked[2:3] - stacked[3:4])
    if length:
        left.append(stacked[2:3])
    if before:
        left.append(stacked[:1] - stacked[len(parts) - len(before)][None])
    rows = left[0] if len(left) == 1 else torch.cat(left)
    found = row_sum(rows[:, None] * stacked)
    (dn, xn, *_), (_, xu, tu, *_) = found[0].unbind(), found[1].unbind()
    mm = mm_ = None
    if before:
        m = found[-1]
        mm = m[0] - m[-len(before)]
        mm_ = m[-2] - m[-1] if len(before) == MOVES else None
    return _Products(
        xn, dn, xu, tu,
        found[2, 3] if corrects else None, found[2, 2] if corrects else None,
        found[2 + corrects, 2] if length else None, mm, mm_,
    )  # fmt: skip


def _steady(products: _Products, state: EnergyState) -> Tensor | None:
    """(B,): how steadily D moved in its last two moves; None where it has not made two."""
    if products.mm is None or products.mm_ is None or state.moved is None:
        return None
    return steadiness(products.mm_, products.mm, state.moved)


def _given(given: float, steady: Tensor | None, like: Tensor) -> Tensor:
    """gamma of the step that gives in advance, in the shape and dtype of `like`."""
    return torch.full_like(like, given) if steady is None else 1 - (1 - given) * steady


def _due(gift: _Gift, proposal: Proposal, products: _Products, corrected: Tensor) -> Tensor:
    """(B,): the share of a gift that is due, from what the candidate and its correction are."""
    assert products.tt is not None
    least = (gift.level / _HARDLY) ** 2 * proposal.x[0].numel()
    if not gift.sooner:
        return (products.tt + corrected >= least).to(corrected.dtype)
    # The candidate holds noise of its own level yet: what counts is |D|^2, for Euler's candidate
    # |T|^2 - 2r <D, x - D> - r^2 |x - D|^2.
    r = proposal.ratio
    data = torch.add(products.tt, products.dn, alpha=-2 * r)
    data = torch.add(data, products.noise, alpha=-(r**2))
    return _first_order(products, r).masked_fill_(data < least, 0.0)


def _first_order(products: _Products, ratio: float) -> Tensor:
    """(B,): 1 where the candidate is Euler's, 0 where a higher order put back what that loses.

    Euler's T1 loses (1 - r)^2 <D, x - D> by the law of one level; |T|^2 - |T1|^2 was put back.
    """
    lost = (1 - ratio) ** 2 * products.dn
    share = (lost - products.lack(ratio)).abs() / (_PUT_BACK * lost.clamp_min(smallest(lost.dtype)))
    return (1 - share).clamp_min(0)


def _keep_of_corrector(products: _Products, lack: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Corrector rule: c, 1 where it does not act, and what the resulting candidate lacks.

    `lack` is that of the candidate as it came.
    """
    assert products.tv is not None
    assert products.t1v is not None
    t1v, vv = products.t1v, products.tv - products.t1v
    room = lack + products.tv + t1v  # what T1 lacks
    size = vv.clamp_min(smallest(vv.dtype))
    root = root_of(torch.addcmul(t1v.square(), size, room.clamp_min(0)))
    # No room even for the predictor: keep nothing of a corrector that adds to it.
    keep = ((root - t1v) / size).masked_fill_(room <= 0, 0.0).clamp(0, 1)
    keep = keep.masked_fill_(lack >= 0, 1.0)
    drop = _distrust(vv, ratio**2 * products.noise) * (1 - keep)  # r^2 is left at the next level
    return 1 - drop, lack + drop * (2 * products.tv - drop * vv)


def _distrust(move: Tensor, noise: Tensor) -> Tensor:
    """From 0, a corrector that is right, to 1, one that has failed: by |T - T1| over the noise."""
    size = root_of(move) / root_of(noise)
    return ((size - _TRUSTED) / (_FAILED - _TRUSTED)).clamp(0, 1)
