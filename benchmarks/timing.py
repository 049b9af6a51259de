"""Seconds of calls that are compared: run in turn, by torch's own timer."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from metering import Call
from steindiff import sampling
from steindiff.denoisers import Denoiser
from steindiff.solvers import Solver
from steindiff.stein import Coefficient


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def interleaved(cases: Mapping[str, Call], runs: int) -> dict[str, list[float]]:
    """Seconds of each of `runs` runs of every case, run in turn by torch's own timer.

    The order reverses from round to round: no case is always the one after the longest. The timer
    warms up before each run and, on CUDA, times from an idle device to an idle device.

    Raises:
        ValueError: runs < 1.
    """
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least 1 is needed")
    threads = torch.get_num_threads()
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads)
        for name, call in cases.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(runs):
        for name in list(cases)[:: -1 if round_ % 2 else 1]:
            seconds[name] += timers[name].timeit(1).times
    return seconds


def paired(
    seconds: Mapping[str, list[float]], a: str, b: str, combine: Callable[[float, float], float]
) -> list[float]:
    """A quotient or difference of the two cases in each round."""
    return [combine(*pair) for pair in zip(seconds[a], seconds[b], strict=True)]


@dataclass(frozen=True)
class Setup:
    """What all measurements share."""

    denoiser: Denoiser
    x: Tensor
    sigmas: tuple[float, ...]
    conditioning: dict[str, Any]
    coefficient: Coefficient
    runs: int

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def model(self, denoiser: Denoiser | None = None) -> Call:
        """One call of the model, or of another in its place."""
        called = self.denoiser if denoiser is None else denoiser
        level = torch.full((len(self.x),), self.sigmas[0], device=self.x.device)

        def call() -> Tensor:
            with torch.no_grad():
                return called(self.x, level, **self.conditioning)

        return call

    def whole(self, denoiser: Denoiser, solver: Solver, conditioning: dict[str, Any]) -> Call:
        """A whole sampling."""
        return lambda: sampling.sample(
            denoiser, self.x, self.sigmas, solver, None, conditioning=conditioning
        )

    def replay(self, solver: Solver) -> Denoiser:
        """A denoiser that hands out, over and over, what the model gave in one sampling."""
        stored: list[Tensor] = []

        def remember(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
            stored.append(self.denoiser(x, sigma, **conditioning))
            return stored[-1]

        self.whole(remember, solver, self.conditioning)()
        endless = itertools.cycle(stored)
        return lambda x, sigma, **conditioning: next(endless)
