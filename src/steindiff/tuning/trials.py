"""Noises with their fine solutions, candidates sampled from them, and what that may cost."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import NonFiniteError
from ..calibrated.run import take_rows
from ..denoisers import Denoiser
from ..recipes import Recipe
from ..sampling import noise, sample
from ..trajectory import FineSolution
from .batch import Batch
from .ranks import SharedRows, by_first, place

MEMORY = 2**30
"""Bytes of the denoiser's outputs that one set of noises remembers."""

PURE_NOISE = 2.0**26
"""A level that stands for pure noise, a flow's t = 1: in float32 it is t = 1, x/sigma the noise
itself, and what a network of flow coordinates is asked the same to the last bit."""

LEAST_KEPT = 16
"""Outputs that are remembered whatever their size, so that ends share the calls of a sampling."""


class Budget:
    """Counts evaluations, and says whether there is room for more.

    Args:
        calls: the most samples that the denoiser may be evaluated for; None is no bound.
        minutes: the most time, by the mean time of the evaluations so far; None is no bound.
        reserve: evaluations that have to stay possible.
        told: is told of evaluations done.
    """

    def __init__(
        self,
        calls: int | None,
        minutes: float | None,
        reserve: int,
        told: Callable[[int], object],
    ) -> None:
        self.calls, self.minutes, self.reserve, self.told = calls, minutes, reserve, told
        self.spent, self.started = 0, time.monotonic()
        self.stop = math.inf

    def spend(self, done: int) -> None:
        """Takes note of evaluations."""
        self.spent += done
        self.told(done)

    def left(self) -> float:
        """Evaluations that are left beside the reserve."""
        found = math.inf if self.calls is None else self.calls - self.spent
        if self.minutes is not None and self.spent:
            passed = by_first(lambda: time.monotonic() - self.started)
            found = min(found, (60 * self.minutes - passed) * self.spent / passed)
        return found - self.reserve

    def share(self, parts: int) -> None:
        """Gives the next of so many parts its share of what is left."""
        self.stop = self.spent + self.left() / parts

    def allows(self, cost: int) -> bool:
        """Whether so many evaluations more are in the share."""
        return self.spent + cost <= self.stop and cost <= self.left()


class Noises:
    """Noises of a tuning with their fine solution; candidates are sampled from them.

    Each state is evaluated once as long as memory lasts: candidates share their first steps.

    Args:
        rows: the denoiser with everything bound.
        x: (B, *shape), the noises at sigma_max.
        fine: (B, *shape), the fine solution at sigma = 0.
        path: the whole fine solution, where it is needed.
    """

    def __init__(
        self, rows: SharedRows, x: Tensor, fine: Tensor, path: FineSolution | None = None
    ) -> None:
        self.rows, self.x, self.fine, self._path = rows, x, fine, path
        self._seen: dict[float, list[tuple[Tensor, Tensor]]] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma) of all noises at one level."""
        level = float(sigma[0])
        for state, denoised in self._seen.get(level, ()):
            if torch.equal(state, x):
                return denoised
        denoised = self.rows(x, sigma)
        kept = sum(map(len, self._seen.values()))
        if kept > LEAST_KEPT and 2 * kept * x.nbytes > MEMORY:
            start = max(self._seen)  # which all share
            self._seen = {start: self._seen[start]}
        self._seen.setdefault(level, []).append((x, denoised))
        return denoised

    @property
    def path(self) -> FineSolution:
        """The whole fine solution, which the noises of the fit have."""
        assert self._path is not None
        return self._path

    def sampled(self, plan: Recipe) -> Tensor | None:
        """(B, *shape), samples of a recipe; None where they diverge."""
        parts = plan.sigmas, plan.solver, plan.coefficient
        try:
            return sample(self, self.x, *parts, end=plan.end).x
        except NonFiniteError:
            return None


class Parts(NamedTuple):
    """The noises of a tuning.

    Attributes:
        fit: that scalars are fitted on.
        screen: the held-out ones that every candidate is measured on.
        rest: the other held-out ones, that the best go on to.
        fresh: that the figures are of.
        finals: that rank the finalists.
    """

    fit: Noises
    screen: Noises
    rest: Noises
    fresh: Noises
    finals: Noises


def fine_solution(
    denoiser: Any, x: Tensor, conditioning: dict[str, Any], high: float, steps: int,
    sigma_min: float, sigma_max: float,
) -> FineSolution:  # fmt: skip
    """The fine solution from noises at `high`, which is `sigma_max` or, above it, `PURE_NOISE`.

    From pure noise eps the flow comes to sigma' (eps + int D du), u = 1/sigma from 0 to 1/sigma'.
    By the trapezoid rule, which is Heun's in the time t, that is sigma' eps + (D + D')/2.
    """
    if high > sigma_max:
        first, last = (torch.full((len(x),), one).to(x) for one in (high, sigma_max))
        eps = x / high
        denoised = denoiser(x, first, **conditioning)
        there = denoiser(denoised + sigma_max * eps, last, **conditioning)
        x = sigma_max * eps + (denoised + there) / 2
    return FineSolution(denoiser, x, conditioning, steps, sigma_min, sigma_max)


class Halves(Sequence[Tensor]):
    """Tensors of one dtype that are kept in half precision, and come out as they went in."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.kept: list[Tensor] = []
        for one in tensors:
            self.dtype = one.dtype
            self.kept.append(one.half())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [one.to(self.dtype) for one in self.kept[index]]
        return self.kept[index].to(self.dtype)

    def __len__(self) -> int:
        return len(self.kept)


@dataclass(frozen=True)
class Start:
    """What all noises of a tuning have in common.

    Attributes:
        denoiser: as `tune` has it.
        conditioning: as `tune` has it.
        shape: of one sample.
        seed: of the first noise.
        levels: the lowest level above 0 and the highest.
        high: where samplings start: the highest level, or `PURE_NOISE`.
        fine_steps: of the fine solution.
        batch: noises at a time.
        device: where to sample.
        half: whether whole fine solutions are kept in half precision.
        spend: is told of evaluations.
    """

    denoiser: Denoiser
    conditioning: Mapping[str, Any]
    shape: tuple[int, ...]
    seed: int
    levels: tuple[float, float]
    high: float
    fine_steps: int
    batch: Batch
    device: torch.device | str
    half: bool
    spend: Callable[[int], object]

    def rows(self, rows: range) -> tuple[SharedRows, Tensor]:
        """The denoiser for these noises, and the noises at the highest level."""
        conditioning = take_rows(self.conditioning, rows)
        bound = SharedRows(self.denoiser, conditioning, self.batch, self.spend)
        seeds = [self.seed + row for row in rows]
        return bound, noise(self.shape, self.high, seeds, device=self.device)

    def solve(self, rows: range, whole: bool) -> list[FineSolution]:
        """Fine solutions, a batch a process at a time; with what is in between where `whole`."""
        found, size = [], self.batch.count * place()[1]
        for first in range(rows.start, rows.stop, size):
            bound, x = self.rows(range(first, min(first + size, rows.stop)))
            with torch.no_grad():
                fine = fine_solution(bound, x, {}, self.high, self.fine_steps, *self.levels)
            if not whole:
                fine.states, fine.slopes = (fine.x,), []
            elif self.half:
                fine.states, fine.slopes = Halves(fine.states), Halves(fine.slopes)  # type: ignore[assignment]
            found.append(fine)
        return found

    def noises(self, rows: range, fine: Sequence[FineSolution], whole: bool) -> Noises:
        """Noises with fine solutions of `solve`."""
        bound, x = self.rows(rows)
        end = torch.cat([one.x for one in fine])
        return Noises(bound, x, end, joined(fine) if whole else None)


def joined(parts: Sequence[FineSolution]) -> FineSolution:
    """The fine solution of several batches as one."""
    if len(parts) == 1:
        return parts[0]
    whole = copy.copy(parts[0])
    for name in ("states", "slopes"):
        sides = [getattr(part, name) for part in parts]
        rows = (torch.cat(each) for each in zip(*sides, strict=True))
        setattr(whole, name, Halves(rows) if isinstance(sides[0], Halves) else list(rows))
    return whole
