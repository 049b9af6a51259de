"""The step into sigma = 0, of second order: D and the direction in which it still moves.

Every solver ends with x0 = D(x, sigma), a posterior mean: it has lost what is uncertain at the last
level. For x = x0 + sigma eps, E<x, D> = E|x0|^2 exactly, so that D lacks the energy

    <x, D> - |D|^2 = <x - D, D>,    in the mean sigma^2 div D    (Stein's identity).

Relaxing cannot give it back: what it leaves is noise, in directions that hold nothing but noise as
well. D itself moves in none of these. With D_ the denoised sample of the step before, at sigma_,

    x0 = D + w (D - D_),    w >= 0,

costs no call. Two arguments for w that owe nothing to each other:

* linear: D extrapolated linearly in sigma to sigma = 0, w = w1 = sigma/(sigma_ - sigma).
* stein: the energy comes back, |D + w (D - D_)|^2 = <x, D>, per sample; at most w1. At low noise it
  is of second order in sigma^2 where x0 = D is of first.

A guided D may stop moving along D - D_ and turn; then neither argument holds. Nor does either
where a long step lies between the two levels: D - D_ is then what that step made of D, and where a
solver of higher order went too far, going on takes it further. So the default, "steady", bounds the
root of the energy by w1 times how steadily D moved in its last two moves and how near the two
levels are.

Source: this project (docs/theory/end.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import shown, unknown_name
from .._reductions import accumulator_dtype, root_of, row_sum, smallest
from ..solvers.base import BoundDenoiser, HistoryKind, Solver, Step

ENDS = ("steady", "stein", "linear", "mean", "none")
"""How a sampling may step into sigma = 0; "mean" is halfway between "stein" and "linear"."""

TURNED, STEADY = 0.3, 0.7
"""Cosine of D's last two moves at and below which D has turned, at and above which it has not."""

FAR, NEAR = 0.15, 0.25
"""Ratio of the last two levels up to which D - D_ is what a long step made of D, its errors
included, and from which on it is how D moves."""

MOVES = 2
"""How many earlier denoised samples an end looks at."""


class Remembered(NamedTuple):
    """The denoised sample of the step before, (B, *shape), and its level."""

    denoised: Tensor
    sigma: float


def check_end(end: str) -> str:
    """`end` if it is one of `ENDS`.

    Raises:
        ValueError: it is not.
    """
    if end not in ENDS:
        raise unknown_name("end", end, ENDS)
    return end


def step_into_zero(
    end: str, x: Tensor, denoised: Tensor, sigma: float, before: Sequence[Remembered]
) -> Tensor:
    """x0 = D + w (D - D_), in the dtype of `denoised`; D itself where there was no step before.

    With one step before, "steady" knows of one move of D only, and takes it to be steady.

    Args:
        end: one of `ENDS`.
        x: (B, *shape), the state at `sigma`, in VE coordinates.
        denoised: (B, *shape), D(x, sigma).
        sigma: the last level above 0.
        before: what the steps before saw, at higher levels, the latest first.

    Raises:
        ValueError: an unknown `end`.
    """
    if check_end(end) == "none" or not before:
        return denoised
    latest = before[0]
    near = nearness(sigma / latest.sigma) if end == "steady" else 1.0
    if near == 0:
        return denoised
    linear = sigma / (latest.sigma - sigma)
    if end == "linear":
        return torch.lerp(latest.denoised, denoised, 1 + linear)
    seen = before[: MOVES if end == "steady" else 1]
    along, among = _products(x, denoised, *(each.denoised for each in seen))
    weight = _root(along[0, 0], along[1, 0], among[1, 0])
    if len(seen) > 1:
        steady = steadiness(among[1, 1], among[1, 0], among[2, 1])
        weight = torch.minimum(weight, near * linear * steady)
    else:
        weight = weight.clamp_max(near * linear)
    if end == "mean":
        weight = (weight + linear) / 2
    weight = weight.to(denoised.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(latest.denoised, denoised, 1 + weight)


def stein_weight(x: Tensor, denoised: Tensor, before: Tensor) -> Tensor:
    """(B,): the root w >= 0 of |D + w (D - D_)|^2 = <x, D>; 0 where D lacks nothing.

    Args:
        x: (B, *shape), the state at the level of `denoised`, in VE coordinates.
        denoised: (B, *shape), D.
        before: (B, *shape), D_, the denoised sample of the step before.
    """
    along, among = _products(x, denoised, before)
    return _root(along[0, 0], along[1, 0], among[1, 0])


def steadiness(along: Tensor, square: Tensor, before: Tensor) -> Tensor:
    """(B,): 1 where D's last two moves point the same way, 0 where D has turned.

    Their cosine, from TURNED to STEADY; 0 where D did not move.

    Args:
        along: (B,), the inner product of the two moves.
        square: (B,), the square of the one.
        before: (B,), the square of the other.
    """
    size = (square * before).clamp_min(torch.finfo(square.dtype).tiny).sqrt()
    return ((along / size - TURNED) / (STEADY - TURNED)).clamp(0, 1)


def nearness(ratio: float) -> float:
    """1 where the last two levels are near each other, 0 where a long step lies between them.

    Args:
        ratio: of the lower level to the higher one; 1 from NEAR on, 0 up to FAR.
    """
    return min(max((ratio - FAR) / (NEAR - FAR), 0.0), 1.0)


def _products(*states: Tensor) -> tuple[Tensor, Tensor]:
    """Of states s_0, s_1, ... with their moves m_i = s_i - s_i+1: <m_i, s_j+1> and <m_i, m_j+1>.

    All are made at once: what they cost a GPU is the number of operations.
    """
    stacked = torch.stack(states).to(accumulator_dtype(states[0].device)).flatten(2)
    moves = stacked[:-1] - stacked[1:]
    along = row_sum(moves[:, None] * stacked[1:])
    return along, along[:, :-1] - along[:, 1:]


def _root(lack: Tensor, along: Tensor, square: Tensor) -> Tensor:
    """w of `stein_weight` from <x - D, D>, <D - D_, D> and |D - D_|^2."""
    least = smallest(square.dtype)
    root = root_of(torch.addcmul(along.square(), square, lack))
    # Of the two forms of the positive root, the one that does not cancel.
    forward = lack / (along + root).clamp_min(least)
    backward = (root - along) / square.clamp_min(least)
    weight = torch.where(along > 0, forward, backward)
    return weight.masked_fill_(torch.minimum(lack, square) <= 0, 0.0)


class EndedState(NamedTuple):
    """State of `Ended`: that of the solver, and what the last steps saw, the latest first."""

    solver: Any
    before: tuple[Remembered, ...] = ()


@dataclass(frozen=True)
class Ended(Solver):
    """Any solver, whose step into sigma = 0 is `step_into_zero`; its other steps are untouched.

    A sampling that stops above 0, or has one step only, is that of the solver alone.

    Args:
        solver: the solver to end.
        end: one of `ENDS`.

    Raises:
        TypeError: `solver` is no `Solver`, or has an end already.
        ValueError: an unknown `end`.
    """

    solver: Solver
    end: str = "steady"

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver) or isinstance(self.solver, Ended):
            raise TypeError(
                f"solver is {shown(self.solver)}; a Solver object without an end is needed"
            )
        check_end(self.end)

    @property
    def calls_per_step(self) -> int:
        return self.solver.calls_per_step

    @property
    def history(self) -> HistoryKind:
        return self.solver.history

    def init(self, x: Tensor, sigmas: Sequence[float]) -> EndedState:
        return EndedState(self.solver.init(x, sigmas))

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: EndedState,
    ) -> Step:
        step = self.solver.step(denoiser, x, sigma, sigma_next, state.solver)
        seen = (Remembered(step.denoised, sigma), *state.before)[:MOVES]
        following = EndedState(step.state, seen)
        if sigma_next > 0:
            return step._replace(state=following)
        end = step_into_zero(self.end, step.start, step.denoised, sigma, state.before)
        # Without a step before, or with end "none", the solver's own step keeps its very bits.
        ended = step.x if end is step.denoised else end
        return step._replace(x=ended, state=following)

    def replace(self, state: EndedState, proposed: Tensor, accepted: Tensor) -> EndedState:
        return state._replace(solver=self.solver.replace(state.solver, proposed, accepted))
