"""The judge: how far few-step samples are from the fine solution, sample by sample and as a whole.

The relative error looks at each sample; it says little where few steps stay far from the fine
solution, as under guidance. The Fréchet distance looks at what comes out as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..calibrated.path import relative_squares
from .features import Features, Inner
from .frechet import frechet
from .trials import Noises

ERROR = "relative error"


class Figures(NamedTuple):
    """How far samples are from the fine solution; infinite where they diverge.

    Attributes:
        error: relative root mean square error.
        frechet: Fréchet distance in features, without the bias of few pairs in its means.
    """

    error: float
    frechet: float


DIVERGED = Figures(math.inf, math.inf)
ROUNDING = 1e-6
"""A relative error that is none; its square is a distance that is none, relative to features."""


class Ratio(NamedTuple):
    """A ratio of two scores, with the 95% interval of a paired bootstrap."""

    value: float
    low: float
    high: float


def weights(guidance: float) -> tuple[float, float]:
    """The exponents of the score: (1/2, 1) without guidance, (0, 1) with it.

    So chosen by how candidates rank in features of classifiers that tuning never sees
    (docs/tune.md): the distance ranks best, and under guidance the relative error misleads.
    """
    return (0.5, 1.0) if guidance == 1 else (0.0, 1.0)


class Judge:
    """Figures of samples that come from the noises of a fine solution.

    Args:
        parts: the noises, with their fine solutions.
        features: what distances are measured in, beside the network's own.
        guidance: guidance scale of the denoiser.
        inner: the network's own features; None where they are not to be had, or not asked for.
    """

    def __init__(
        self,
        parts: Sequence[Noises],
        features: Features,
        guidance: float,
        inner: Inner | None = None,
    ) -> None:
        self.parts, self.features, self.inner = parts, features, inner
        self.weights = weights(guidance)
        self.fine = torch.cat([part.fine for part in parts])
        self.targets = self._seen(self.fine)
        self.least = [
            ROUNDING**2 * float(one.square().mean(dim=0).sum()) or ROUNDING for one in self.targets
        ]

    def figures(self, x: Tensor) -> Figures:
        """The figures of samples (B, *shape), in the order of the noises."""
        return self._figures(self._looked_at(x), slice(None))

    def score(self, figures: Figures) -> float:
        """error^a frechet^b: the less the better. Rounding errors are all the same."""
        a, b = self.weights
        return max(figures.error, ROUNDING) ** a * figures.frechet**b

    @property
    def measures(self) -> tuple[str, ...]:
        """What `ratios` gives after the score."""
        own = () if self.inner is None else ("the network's own features",)
        return (ERROR, "the features", *own)

    def ratios(self, x: Tensor, other: Tensor, resamples: int = 200) -> tuple[Ratio, ...]:
        """Of `x` to `other`: the score, the relative error, the distance in each set of features.

        The intervals are percentiles of resampled noises (Efron 1993).
        """
        sides = [self._looked_at(one) for one in (x, other)]
        generator = torch.Generator().manual_seed(0)
        count = len(x)

        def logs(rows: Tensor | slice) -> Tensor:
            own, its = (self._logs(side, rows) for side in sides)
            return own - its

        drawn = torch.stack(
            [logs(torch.randint(count, (count,), generator=generator)) for _ in range(resamples)]
        )
        ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
        low, high = torch.quantile(drawn, ends, dim=0).exp().tolist()
        return tuple(map(Ratio, logs(slice(None)).exp().tolist(), low, high))

    def _seen(self, x: Tensor) -> list[Tensor]:
        """Features in each set, (B, D) float64."""
        with torch.no_grad():
            found = [self.features(x)]
            if self.inner is not None:
                sides = zip(self.parts, x.split([len(part.x) for part in self.parts]), strict=True)
                found.append(torch.cat([self.inner(part.rows, side) for part, side in sides]))
        return [one.detach().cpu().double() for one in found]

    def _looked_at(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B,) relative squared errors, and features."""
        return relative_squares(x, self.fine).cpu(), self._seen(x)

    def _figures(self, seen: tuple[Tensor, list[Tensor]], rows: Tensor | slice) -> Figures:
        """With the geometric mean of the distances in all sets of features."""
        logs = self._distances(seen, rows)
        return Figures(float(seen[0][rows].mean().sqrt()), math.exp(sum(logs) / len(logs)))

    def _logs(self, seen: tuple[Tensor, list[Tensor]], rows: Tensor | slice) -> Tensor:
        """Logarithms of the score and of what is in it."""
        figures = self._figures(seen, rows)
        parts = self.score(figures), max(figures.error, ROUNDING)
        found = [*map(math.log, parts), *self._distances(seen, rows)]
        return torch.tensor(found, dtype=torch.float64)

    def _distances(self, seen: tuple[Tensor, list[Tensor]], rows: Tensor | slice) -> list[float]:
        sides = zip(seen[1], self.targets, self.least, strict=True)
        return [_log_distance(a[rows], b[rows], least) for a, b, least in sides]


def _log_distance(a: Tensor, b: Tensor, least: float) -> float:
    """Infinite where features of large samples overflowed, as they do in half precision."""
    if not bool(torch.isfinite(a).all()):
        return math.inf
    return math.log(max(frechet(a, b), least))
