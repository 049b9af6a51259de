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
from ..recipes import Recipe
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


class Look(NamedTuple):
    """What a judge sees of samples.

    Attributes:
        squares: (B,), relative squared errors.
        features: (B, D) float64, in each set of features.
    """

    squares: Tensor
    features: tuple[Tensor, ...]


class Judge:
    """Figures of samples that come from the noises of a fine solution.

    Samples are looked at once, by `look` or `sampled`; None is a look at what diverged.

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
        self.targets = self.look(self.fine).features
        self.least = [
            ROUNDING**2 * float(one.square().mean(dim=0).sum()) or ROUNDING for one in self.targets
        ]

    def look(self, x: Tensor) -> Look:
        """At samples (B, *shape), in the order of the noises."""
        with torch.no_grad():
            found = [self.features(x)]
            if self.inner is not None:
                sides = zip(self.parts, x.split([len(part.x) for part in self.parts]), strict=True)
                found.append(torch.cat([self.inner(part.rows, side) for part, side in sides]))
        seen = tuple(one.detach().cpu().double() for one in found)
        return Look(relative_squares(x, self.fine).cpu(), seen)

    def sampled(self, plan: Recipe) -> Look | None:
        """At the samples of a recipe; None where one diverges."""
        found = [part.sampled(plan) for part in self.parts]
        whole = [one for one in found if one is not None]
        return self.look(torch.cat(whole)) if len(whole) == len(found) else None

    def figures(self, look: Look | None) -> Figures:
        """The figures of what was looked at."""
        if look is None:
            return DIVERGED
        return self._figures(look, slice(None), self._distances(look, slice(None)))

    def score(self, figures: Figures) -> float:
        """error^a frechet^b: the less the better. Rounding errors are all the same."""
        a, b = self.weights
        return max(figures.error, ROUNDING) ** a * figures.frechet**b

    @property
    def measures(self) -> tuple[str, ...]:
        """What `ratios` gives after the score."""
        own = () if self.inner is None else ("the network's own features",)
        return (ERROR, "the features", *own)

    def ratios(self, a: Look | None, b: Look | None, resamples: int = 200) -> tuple[Ratio, ...]:
        """Of `a` to `b`: the score, the relative error, the distance in each set of features.

        The intervals are percentiles of resampled noises (Efron 1993). What diverges is infinitely
        far.
        """
        if a is None or b is None:
            value = 1.0 if a is b else math.inf if a is None else 0.0
            return (Ratio(value, value, value),) * (1 + len(self.measures))
        generator, count = torch.Generator().manual_seed(0), len(a.squares)

        def logs(rows: Tensor | slice) -> Tensor:
            return self._logs(a, rows) - self._logs(b, rows)

        drawn = torch.stack(
            [
                logs(torch.randint(count, (count,), generator=generator, device="cpu"))
                for _ in range(resamples)
            ]
        )
        ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
        low, high = torch.quantile(drawn, ends, dim=0).exp().tolist()
        return tuple(map(Ratio, logs(slice(None)).exp().tolist(), low, high))

    def _logs(self, look: Look, rows: Tensor | slice) -> Tensor:
        """Logarithms of the score and of what is in it."""
        distances = self._distances(look, rows)
        figures = self._figures(look, rows, distances)
        parts = self.score(figures), max(figures.error, ROUNDING)
        return torch.tensor([*map(math.log, parts), *distances], dtype=torch.float64)

    @staticmethod
    def _figures(look: Look, rows: Tensor | slice, distances: list[float]) -> Figures:
        """With the geometric mean of the distances in all sets of features."""
        error = float(look.squares[rows].mean().sqrt())
        return Figures(error, math.exp(sum(distances) / len(distances)))

    def _distances(self, look: Look, rows: Tensor | slice) -> list[float]:
        """Logarithms of the distances, one for each set of features."""
        sides = zip(look.features, self.targets, self.least, strict=True)
        return [_log_distance(a[rows], b[rows], least) for a, b, least in sides]


def _log_distance(a: Tensor, b: Tensor, least: float) -> float:
    """Infinite where features of large samples overflowed, as they do in half precision."""
    if not bool(torch.isfinite(a).all()):
        return math.inf
    return math.log(max(frechet(a, b), least))
