"""The judge: how far few-step samples are from the fine solution, sample by sample and as a whole.

Two figures. The relative error looks at each sample; it ranks well where few steps come close, and
misleads under guidance, where they do not. The Fréchet distance in features looks at what comes out
as a whole. The score is error^a frechet^b, with (a, b) by guidance (`weights`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..calibrated.path import relative_rmse

Features = Callable[[Tensor], Tensor]
"""(B, D) of samples (B, *shape)."""

SEED = 7
WIDTHS = (32, 48, 64)
GRID = 4


class Figures(NamedTuple):
    """How far samples are from the fine solution; infinite where they diverge.

    Attributes:
        error: relative root mean square error.
        frechet: Fréchet distance in features, without the bias of few pairs in its means.
    """

    error: float
    frechet: float


DIVERGED = Figures(math.inf, math.inf)


class Ratio(NamedTuple):
    """A ratio of two scores, with the 95% interval of a paired bootstrap."""

    value: float
    low: float
    high: float


def weights(guidance: float) -> tuple[float, float]:
    """The exponents of the score: (2, 1) without guidance; (0, 1), the distance alone, with it."""
    return (2.0, 1.0) if guidance == 1 else (0.0, 1.0)


class Judge:
    """Figures of samples that come from the noises of a fine solution.

    Args:
        fine: (B, *shape), the fine solution.
        features: what distances are measured in.
        guidance: guidance scale of the denoiser.
    """

    def __init__(self, fine: Tensor, features: Features, guidance: float) -> None:
        self.fine, self.features, self.weights = fine, features, weights(guidance)
        self.target = self._seen(fine)

    def figures(self, x: Tensor) -> Figures:
        """The figures of samples (B, *shape), in the order of the fine solution."""
        return self._figures(x, self._seen(x), slice(None))

    def score(self, figures: Figures) -> float:
        """error^a frechet^b: the less the better."""
        a, b = self.weights
        return figures.error**a * figures.frechet**b

    def ratio(self, x: Tensor, other: Tensor, resamples: int = 200) -> Ratio:
        """The score of `x` over that of `other`; percentiles of resampled noises (Efron 1993)."""
        sides = [(one, self._seen(one)) for one in (x, other)]
        generator = torch.Generator().manual_seed(0)
        count = len(x)

        def log_ratio(rows: Tensor | slice) -> float:
            own, its = (math.log(max(self.score(self._figures(*side, rows)), 1e-300))
                        for side in sides)  # fmt: skip
            return own - its

        drawn = torch.tensor(
            [log_ratio(torch.randint(count, (count,), generator=generator))
             for _ in range(resamples)], dtype=torch.float64,
        )  # fmt: skip
        low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).exp()
        return Ratio(math.exp(log_ratio(slice(None))), float(low), float(high))

    def _seen(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.features(x).detach().cpu().double()

    def _figures(self, x: Tensor, seen: Tensor, rows: Tensor | slice) -> Figures:
        if isinstance(rows, Tensor):
            x, fine = x[rows.to(x.device)], self.fine[rows.to(x.device)]
        else:
            x, fine = x[rows], self.fine[rows]
        return Figures(relative_rmse(x, fine), frechet(seen[rows], self.target[rows]))


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of features (N, D) of samples from the same noises, row by row.

    |mean(a - b)|^2 is too large by the variance of a - b over N in the mean; it is taken off.
    Without that the distance of few pairs leans to the relative error. The part of the covariances
    is as in `steindiff.lab.metrics`, by singular values.
    """
    moved = a - b
    off = moved.mean(dim=0).square().sum() - moved.var(dim=0).sum() / len(a)
    roots = [(one - one.mean(dim=0)) / math.sqrt(len(one) - 1) for one in (a, b)]
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    spread = roots[0].square().sum() + roots[1].square().sum() - 2 * cross
    return float(off.clamp_min(0) + spread.clamp_min(0))


class RandomFeatures:
    """What random networks and a coarse look see of samples of any shape: no download, no fit.

    Of (C, ..., H, W): the mean over the picture of 64 random convolutions (three layers of 3x3 with
    ReLU; random weights rank generators much as trained ones do, Naeem et al. 2020, arXiv
    2002.09797), averaged over frames, and the picture on a grid of 4 x 4. Of vectors: 64 random
    projections with ReLU, and 16 plain ones. Both parts have the same total variance over `fine`.

    Args:
        fine: (B, *shape), samples that tell shape and scale.
    """

    def __init__(self, fine: Tensor) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.images = fine.ndim >= 4
        self.scale = float(fine.double().square().mean().sqrt()) or 1.0
        width, sizes = (fine.shape[1], WIDTHS) if self.images else (fine[0].numel(), (64,))
        self.layers = []
        for size in sizes:
            fan = width * (9 if self.images else 1)
            shape = (size, width, 3, 3) if self.images else (size, width)
            weight = torch.randn(shape, generator=generator) * math.sqrt(2 / fan)
            bias = 0.1 * torch.randn(size, generator=generator)
            self.layers.append((weight.to(fine.device), bias.to(fine.device)))
            width = size
        coarse = fine.shape[1] * GRID**2 if self.images else fine[0].numel()
        self.coarse = torch.randn(coarse, 16, generator=generator).to(fine.device)
        self.spreads = (1.0, 1.0)
        parts = self._parts(fine)
        self.spreads = tuple(float(part.var(dim=0).sum().sqrt()) or 1.0 for part in parts)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 80) features of samples (B, *shape)."""
        return torch.cat(
            [part / spread for part, spread in zip(self._parts(x), self.spreads, strict=True)], dim=1
        )

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.float() / self.scale
        if not self.images:
            ((weight, bias),) = self.layers
            flat = x.flatten(1)
            return F.relu(F.linear(flat, weight, bias)), flat @ self.coarse
        frames = x.reshape(*x.shape[:2], -1, *x.shape[-2:]).transpose(1, 2)
        h = frames.flatten(0, 1)
        for stride, (weight, bias) in zip((1, 2, 2), self.layers, strict=True):
            h = F.relu(F.conv2d(h, weight, bias, stride=stride, padding=1))
        coarse = F.adaptive_avg_pool2d(frames.mean(dim=1), GRID).flatten(1) @ self.coarse
        return h.mean(dim=(2, 3)).unflatten(0, frames.shape[:2]).mean(dim=1), coarse
