"""Solvers whose scalars were fitted to a network: one scalar a step and a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .._errors import shown
from ..schedules import check_sigmas
from ..solvers.base import BoundDenoiser, History, HistoryKind, Solver, Step
from ..solvers.euler import euler_candidate

if TYPE_CHECKING:
    from .record import Calibration

Scalars = tuple[tuple[float, ...], ...]
"""One tuple a step; see `Calibrated`."""

KEEP = 3
SAME = 1e-6


def scalar_counts(levels: Sequence[float]) -> list[int]:
    """How many scalars each step takes: 1, 2, 3, 3, ...; into sigma = 0 none are needed."""
    return [0 if low == 0 else min(i + 1, KEEP) for i, low in enumerate(levels[1:])]


def differences(history: History, x: Tensor, sigma_next: float) -> list[Tensor]:
    """(1 - r)(D_k - D_{k-1}), (1 - r)(D_k - D_{k-2}) as far as they exist, (1 - r)(D_k - x).

    Args:
        history: evaluations of D, the newest, D_k at x, first.
        x: (B, *shape), the state at `history.sigmas[0]`.
        sigma_next: the level at the end of the step; r = sigma_next/sigma.
    """
    denoised, *earlier = history.values
    step = 1 - sigma_next / history.sigmas[0]
    return [step * (denoised - other) for other in (*earlier, x)]


def combine(candidate: Tensor, basis: Sequence[Tensor], scalars: Sequence[float]) -> Tensor:
    """The candidate plus the sum of scalars[j] * basis[j]."""
    for scalar, difference in zip(scalars, basis, strict=True):
        candidate = candidate + scalar * difference
    return candidate


class CalibratedState(NamedTuple):
    """History of D, and the scalars of the steps that are left."""

    history: History
    scalars: Scalars


class _Scaled(Solver):
    """What is shared by solvers that add scaled differences of evaluations to Euler's step."""

    @property
    def history(self) -> HistoryKind:
        return "denoised"

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: CalibratedState,
    ) -> Step:
        denoised = denoiser(x, sigma)
        history = state.history.push(sigma, denoised, KEEP)
        candidate = euler_candidate(x, denoised, sigma, sigma_next)
        if scalars := state.scalars[0]:
            basis = differences(history, x, sigma_next)[: len(scalars)]
            candidate = combine(candidate, basis, scalars)
        return Step(candidate, denoised, CalibratedState(history.advance(), state.scalars[1:]), x)


@dataclass(frozen=True)
class Calibrated(_Scaled):
    """x' = r x + (1 - r)[D_k + a(D_k - D_{k-1}) + b(D_k - D_{k-2}) + c(D_k - x)], r = sigma'/sigma.

    One call a step. With all scalars 0 it is Euler; with a = h/(2 h_0), b = c = 0 it is DPM++2M; c
    alone relaxes Euler with gamma = 1 + c. The first step has only c, the second a and c. Into
    sigma = 0 the step is x' = D without scalars; with a, or a and b, it is an end of fitted weights
    (`steindiff.stein`). There is no c there: it would leave noise.

    Source: this project (docs/evidence/tune.md). `steindiff.calibrate` makes it.

    Attributes:
        levels: the noise levels that the scalars are for, decreasing; the last may be 0.
        scalars: one tuple a step: (c,), (a, c), (a, b, c), (a, b, c), ...; into sigma = 0 (), (a,)
            or (a, b).
        calibration: how the scalars were fitted, where that is known.

    Raises:
        ValueError: levels that do not decrease, another number of steps or scalars than the levels
            have, or scalars that are not finite.
    """

    levels: tuple[float, ...]
    scalars: Scalars
    calibration: Calibration | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", check_sigmas(self.levels))
        check_scalars(self.scalars, self.levels)
        object.__setattr__(self, "scalars", tuple(tuple(map(float, row)) for row in self.scalars))

    def init(self, x: Tensor, sigmas: Sequence[float]) -> CalibratedState:
        self.check_levels(sigmas)
        return CalibratedState(History(steps_left=len(sigmas) - 1), self.scalars)

    def check_levels(self, sigmas: Sequence[float]) -> None:
        """Refuses levels other than those of the calibration (relative difference 1e-6).

        Raises:
            ValueError: names both.
        """
        if same_levels(sigmas, self.levels, SAME):
            return
        made = self.calibration
        steps = len(self.levels) - 1
        schedule = f"schedule {made.about.schedule}, " if made and made.about.schedule else ""
        raise ValueError(
            f"sigmas is {describe_levels(sigmas)}; this solver was calibrated for "
            f"{schedule}{steps} steps, {describe_levels(self.levels)}"
        )


@dataclass(frozen=True)
class Shared(_Scaled):
    """`Calibrated` with the scalars that fit unlike networks together: the shared prior.

    One call a step, for any levels (`Prior`). Source: this project (docs/evidence/tune.md).
    """

    def init(self, x: Tensor, sigmas: Sequence[float]) -> CalibratedState:
        # the prior's file is read with the types of this module
        from .prior import load_prior

        return CalibratedState(History(steps_left=len(sigmas) - 1), load_prior().scalars(sigmas))


def same_levels(a: Sequence[float], b: Sequence[float], relative: float) -> bool:
    """Whether two sets of levels agree, one by one."""
    return len(a) == len(b) and all(
        math.isclose(p, q, rel_tol=relative) for p, q in zip(a, b, strict=True)
    )


def describe_levels(sigmas: Sequence[float]) -> str:
    """ "[80, 9.72, 0.469, 0.002]", for messages."""
    return "[" + ", ".join(f"{sigma:.6g}" for sigma in sigmas) + "]"


def check_scalars(scalars: Scalars, levels: Sequence[float]) -> None:
    """Raises ValueError unless there are finite scalars for every step, as many as it takes."""
    counts = scalar_counts(levels)
    if not isinstance(scalars, Sequence) or not all(isinstance(row, Sequence) for row in scalars):
        raise TypeError(f"scalars is {shown(scalars)}; a sequence of rows is needed")
    if len(scalars) != len(counts):
        raise ValueError(
            f"scalars has {len(scalars)} rows; {len(counts)}, one a step of levels, are needed"
        )
    for i, (row, count) in enumerate(zip(scalars, counts, strict=True)):
        into_zero = levels[i + 1] == 0
        if len(row) > min(i, KEEP - 1) if into_zero else len(row) != count:
            needed = f"{min(i, KEEP - 1)} or fewer" if into_zero else count
            raise ValueError(f"scalars[{i}] has {len(row)} numbers; {needed} are needed")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"scalars[{i}] holds {value!r}; numbers are needed")
            if not math.isfinite(value):
                raise ValueError(f"scalars[{i}] holds {value}; finite numbers are needed")


def multistep_scalars(levels: Sequence[float]) -> Scalars:
    """The scalars that make `Calibrated` DPM++2M (without a lowered last order).

    a = h/(2 h_0), h the step in -ln sigma and h_0 the one before; the other scalars are 0.
    """
    logs = [-math.log(level) if level > 0 else math.inf for level in levels]
    steps = [high - low for low, high in pairwise(logs)]
    rows = []
    for i, count in enumerate(scalar_counts(levels)):
        row = [0.0] * count
        if count > 1:
            row[0] = steps[i] / (2 * steps[i - 1])
        rows.append(tuple(row))
    return tuple(rows)
