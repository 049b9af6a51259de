"""The judge: how far few-step samples are from the fine solution, sample by sample and as a whole.

The relative error looks at each sample; it says little where few steps stay far from the fine
solution, as under guidance. The Fréchet distance looks at what comes out as a whole, in features
that need no download: those of random convolutions, and what a part inside the network sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calibrated.path import relative_squares
from ..calibrated.run import take_rows
from ..denoisers import ClassifierFreeGuidance
from .frechet import frechet
from .network import hooked, module_in
from .ranks import SharedRows
from .trials import Noises

Features = Callable[[Tensor], Tensor]
"""(B, D) of samples (B, *shape)."""

SEED = 7
WIDTHS, STRIDES, BIAS = (32, 48, 64), (1, 2, 2), 0.1
"""Of the random convolutions."""
MIDDLE, LATE = (0.5, 0.6), (0.8, 0.04)
"""How far through an evaluation the network's part is that looks at samples, without guidance and
with it, and the level that it is told, in units of the size of samples.

With guidance few steps lose fine detail, which the middle does not see (docs/tune.md).
"""
PROBED = 3
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


def random_layer(shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weights (out, in, ...) of N(0, 2/fan_in) (He et al. 2015), and biases (out,) of N(0, .01)."""
    weight = torch.randn(*shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    return weight, BIAS * torch.randn(shape[0], generator=generator)


class RandomFeatures:
    """(B, 64) of samples of any shape, by networks that were fitted to nothing.

    Of (C, ..., H, W): three layers of 3x3 convolutions with ReLU, averaged over picture and frames;
    random weights rank generators much as trained ones do (Naeem et al. 2020, arXiv 2002.09797).
    Of vectors: random projections with ReLU.

    Args:
        fine: (B, *shape), samples that tell shape and scale.
    """

    def __init__(self, fine: Tensor) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.images = fine.ndim >= 4
        self.scale = float(fine.double().square().mean().sqrt()) or 1.0
        width, sizes = (fine.shape[1], WIDTHS) if self.images else (fine[0].numel(), WIDTHS[-1:])
        self.layers = []
        for size in sizes:
            shape = (size, width, 3, 3) if self.images else (size, width)
            weight, bias = random_layer(shape, generator)
            self.layers.append((weight.to(fine.device), bias.to(fine.device)))
            width = size

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 64) features of samples (B, *shape)."""
        x = x.float() / self.scale
        if not self.images:
            ((weight, bias),) = self.layers
            return F.relu(F.linear(x.flatten(1), weight, bias))
        frames = x.reshape(*x.shape[:2], -1, *x.shape[-2:]).transpose(1, 2)
        h = frames.flatten(0, 1)
        for stride, (weight, bias) in zip(STRIDES, self.layers, strict=True):
            h = F.relu(F.conv2d(h, weight, bias, stride=stride, padding=1))
        return h.mean(dim=(2, 3)).unflatten(0, frames.shape[:2]).mean(dim=1)


class Inner:
    """What a part inside a network sees of samples, told a low level of noise: (B, 64).

    Its output, averaged over the picture and brought to 64 random directions. Guidance is left
    out. It takes one evaluation a sample.

    Activations inside a denoiser at low noise are known to tell what a picture shows (Baranchuk et
    al. 2022, "Label-Efficient Semantic Segmentation with Diffusion Models", arXiv 2112.03126).

    Args:
        noises: some, with their denoiser; they tell which part it is.
        guidance: of the denoiser: it decides whether the part is `MIDDLE` or `LATE`.

    Raises:
        LookupError: there is no module inside the denoiser, or none that answers sample by sample.
    """

    def __init__(self, noises: Noises, guidance: float = 1.0) -> None:
        network = module_in(noises.rows.denoiser)
        depth, share = MIDDLE if guidance == 1 else LATE
        self.sigma = share * float(noises.fine.double().square().mean().sqrt())
        self.directions: Tensor | None = None
        if network is None or not self.sigma:
            raise LookupError("no module inside the denoiser")
        order: list[nn.Module] = []

        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim > 2 and len(output) == PROBED:
                order.append(module)

        with hooked([part for part in network.modules() if part is not network], note):
            few = slice(PROBED)
            self._evaluate(_without_guidance(noises.rows, PROBED), noises.fine[few], few)
            noises.rows.told(PROBED)
        if not order:
            raise LookupError("no part of the denoiser answers sample by sample")
        found = int(depth * len(order))
        self.part = order[found]
        self.place = order[:found].count(self.part)

    @classmethod
    def of(cls, noises: Noises, guidance: float) -> Inner | None:
        """None where there is none."""
        try:
            return cls(noises, guidance)
        except LookupError:
            return None

    def __call__(self, rows: SharedRows, x: Tensor) -> Tensor:
        """(B, 64) of the samples of these rows."""
        bare = _without_guidance(rows, len(x))

        def seen_by(part: slice) -> Tensor:
            found: list[Tensor] = []
            with hooked([self.part], lambda _part, _input, output: found.append(_pooled(output))):
                self._evaluate(bare, x[part], part)
            return found[self.place]

        seen = bare.each(x, seen_by)
        if self.directions is None:
            generator = torch.Generator().manual_seed(SEED)
            drawn = torch.randn(seen.shape[1], 64, generator=generator) / math.sqrt(seen.shape[1])
            self.directions = drawn.to(seen.device)
        return seen @ self.directions

    def _evaluate(self, bare: SharedRows, x: Tensor, part: slice) -> None:
        with torch.no_grad():
            level = torch.full((len(x),), self.sigma, dtype=x.dtype, device=x.device)
            bare.denoised(x, level, part)


def _without_guidance(rows: SharedRows, count: int) -> SharedRows:
    """The first so many of these rows, the denoiser bare."""
    denoiser = rows.denoiser
    if isinstance(denoiser, ClassifierFreeGuidance):
        denoiser = denoiser.denoiser
    conditioning = take_rows(rows.conditioning, range(count))
    return SharedRows(denoiser, conditioning, rows.size, rows.told)


def _pooled(output: Tensor) -> Tensor:
    """(B, C) of (B, C, H, W, ...), or of tokens (B, T, C)."""
    return output.float().mean(dim=tuple(range(2, output.ndim)) if output.ndim > 3 else 1)
