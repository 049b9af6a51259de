"""One short sampling, and what it says about the denoiser."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._reductions import inner

_TOLERANCE = 0.15


@dataclass(frozen=True)
class Trial:
    """What was measured on the way down, a number a level; it ends early where kappa is far off.

    Attributes:
        name: of the convention.
        sigmas: the levels that were reached.
        kappa: <x, x - D>/(d sigma^2), mean of the samples; 1 for an exact denoiser.
        signal: root mean square of D.
        residual: root mean square of (x - D)/sigma; near 1, and never above it, for a denoiser.
        whole: whether all levels were reached.
        tolerance: how far kappa may be from 1: what a good network and few samples amount to.
    """

    name: str
    sigmas: tuple[float, ...]
    kappa: tuple[float, ...]
    signal: tuple[float, ...]
    residual: tuple[float, ...]
    whole: bool
    tolerance: float

    @property
    def fits(self) -> bool:
        """Whether kappa is near 1 at all levels."""
        return self.whole and self.distance <= self.tolerance

    @property
    def distance(self) -> float:
        """The largest |kappa - 1|."""
        return max(abs(k - 1) for k in self.kappa)


def run_trial(
    name: str,
    denoiser: Callable[..., Tensor],
    x: Tensor,
    sigmas: Sequence[float],
    conditioning: Mapping[str, Any],
    give_up: float = math.inf,
) -> Trial:
    """Second-order Adams steps from `x` at sigmas[0]; ends where |kappa - 1| exceeds `give_up`."""
    size = x[0].numel()
    measured: list[tuple[float, float, float]] = []
    before: tuple[float, Tensor] | None = None
    for sigma, to in itertools.pairwise([*sigmas, 0.0]):
        level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        denoised = denoiser(x, level, **conditioning)
        noise = x - denoised
        kappa = float(inner(x, noise).mean()) / (size * sigma**2)
        signal, residual = _rms(denoised), _rms(noise) / sigma
        if not all(map(math.isfinite, (kappa, signal, residual))):
            kappa, signal, residual = math.inf, math.inf, math.inf
        measured.append((kappa, signal, residual))
        if abs(kappa - 1) > give_up or math.isinf(kappa):
            break
        slope = noise / sigma
        x, before = x + (to - sigma) * _adams(slope, before, sigma, to), (sigma, slope)
    columns = [tuple(column) for column in zip(*measured, strict=True)]
    reached, tolerance = tuple(sigmas[: len(measured)]), _TOLERANCE + 3 / math.sqrt(x.numel())
    whole = len(measured) == len(sigmas) and not math.isinf(measured[-1][0])
    return Trial(name, reached, columns[0], columns[1], columns[2], whole, tolerance)


def _adams(slope: Tensor, before: tuple[float, Tensor] | None, sigma: float, to: float) -> Tensor:
    """The mean slope of a step by Adams-Bashforth of order 2, for steps of unequal length."""
    if before is None:
        return slope
    weight = (to - sigma) / (sigma - before[0]) / 2
    return slope + weight * (slope - before[1])


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())
