"""Noises with their fine solutions, candidates sampled from them, and what that may cost."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._errors import NonFiniteError
from .._files import digest, write_text, write_whole
from ..calibrated.run import take_rows
from ..denoisers import Denoiser
from ..recipes import Recipe
from ..sampling import noise, sample
from ..trajectory import FineSolution
from .batch import Batch
from .kept import read_figures, read_fine, read_table
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
        self.rows, self.x, self.fine, self.path = rows, x, fine, path
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

    def sampled(self, plan: Recipe) -> Tensor | None:
        """(B, *shape), samples of a recipe; None where they diverge."""
        try:
            return sample(
                self, self.x, plan.sigmas, plan.solver, plan.coefficient, end=plan.end
            ).x  # fmt: skip
        except NonFiniteError:
            return None


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
    """Tensors that are kept in half precision, and come out as they went in."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.kept, self.dtype = [one.half() for one in tensors], tensors[0].dtype

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [one.to(self.dtype) for one in self.kept[index]]
        return self.kept[index].to(self.dtype)

    def __len__(self) -> int:
        return len(self.kept)


class Start:
    """What all noises of a tuning have in common.

    Args:
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

    def __init__(
        self, denoiser: Denoiser, conditioning: Mapping[str, Any], shape: Sequence[int], seed: int,
        levels: tuple[float, float], high: float, fine_steps: int, batch: Batch,
        device: torch.device | str, half: bool, spend: Callable[[int], object],
    ) -> None:  # fmt: skip
        self.denoiser, self.conditioning, self.shape = denoiser, conditioning, tuple(shape)
        self.seed, self.levels, self.high, self.fine_steps = seed, levels, high, fine_steps
        self.batch, self.device, self.half, self.spend = batch, device, half, spend

    def rows(self, rows: range) -> tuple[SharedRows, Tensor]:
        """The denoiser for these noises, and the noises at the highest level."""
        bound = SharedRows(
            self.denoiser, take_rows(self.conditioning, rows), self.batch, self.spend
        )
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
    whole = FineSolution.__new__(FineSolution)
    whole.levels, whole.nfe = parts[0].levels, parts[0].nfe
    for name in ("states", "slopes"):
        sides = [getattr(part, name) for part in parts]
        joint: Any = [torch.cat(rows) for rows in zip(*(getattr(s, "kept", s) for s in sides),
                                                      strict=True)]  # fmt: skip
        if isinstance(sides[0], Halves):
            halves = Halves(joint)
            halves.dtype = sides[0].dtype
            joint = halves
        setattr(whole, name, joint)
    return whole


class Store:
    """What a tuning keeps in a folder, so that it goes on where it was interrupted.

    Args:
        folder: where; None keeps nothing.
        settings: all that the contents depend on.

    Raises:
        ValueError: the folder holds another tuning.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.figures: dict[str, list[float]] = {}
        if folder is not None:
            self._tried = folder / "tried.json"
            self.figures = by_first(lambda: self._opened(folder, settings))

    def _opened(self, folder: Path, settings: Mapping[str, Any]) -> dict[str, list[float]]:
        """The figures that are there already."""
        folder.mkdir(parents=True, exist_ok=True)
        wanted, path = digest(settings), folder / "settings.json"
        if path.is_file() and read_table(path).get("digest") != wanted:
            raise ValueError(
                f"{folder} holds another tuning (network, noises or settings differ); choose an "
                "empty folder"
            )
        write_text(path, json.dumps({"digest": wanted, **settings}, indent=1) + "\n")
        return read_figures(self._tried) if self._tried.is_file() else {}

    def tensors(
        self, name: str, device: torch.device | str, make: Callable[[], list[FineSolution]]
    ) -> list[FineSolution]:
        """Fine solutions from the folder, on this device, or made and written there."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.pt"
        if by_first(path.is_file):
            return read_fine(path, (FineSolution, Halves), device)
        found, buffer = make(), io.BytesIO()

        def keep() -> None:
            torch.save(found, buffer)
            write_whole(path, lambda file: file.write(buffer.getbuffer()))

        by_first(keep)
        return found

    def remember(self, key: str, make: Callable[[], Sequence[float]]) -> list[float]:
        """Numbers from the folder, or made and written there."""
        if key not in self.figures:
            self.figures[key] = list(make())
            if self.folder is not None:
                by_first(lambda: write_text(self._tried, json.dumps(self.figures)))
        return self.figures[key]
