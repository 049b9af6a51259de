"""What samples look like: features that need no download.

Those of random convolutions, and what a part inside the network sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calibrated.run import take_rows
from .network import bare, hooked, module_in
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


def random_layer(shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weights (out, in, ...) of N(0, 2/fan_in) (He et al. 2015), and biases (out,) of N(0, .01)."""
    weight = _normal(shape, generator) * math.sqrt(2 / math.prod(shape[1:]))
    return weight, BIAS * _normal(shape[:1], generator)


def _normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """The same numbers whatever PyTorch's default dtype and device."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


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
            self._evaluate(without_guidance(noises.rows, PROBED), noises.fine[few], few)
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
        bare = without_guidance(rows, len(x))

        def seen_by(part: slice) -> Tensor:
            found: list[Tensor] = []
            with hooked([self.part], lambda _part, _input, output: found.append(pooled(output))):
                self._evaluate(bare, x[part], part)
            return found[self.place]

        seen = bare.each(x, seen_by)
        if self.directions is None:
            generator = torch.Generator().manual_seed(SEED)
            drawn = _normal((seen.shape[1], 64), generator) / math.sqrt(seen.shape[1])
            self.directions = drawn.to(seen.device)
        return seen @ self.directions

    def _evaluate(self, bare: SharedRows, x: Tensor, part: slice) -> None:
        with torch.no_grad():
            level = torch.full((len(x),), self.sigma, dtype=x.dtype, device=x.device)
            bare.denoised(x, level, part)


def without_guidance(rows: SharedRows, count: int) -> SharedRows:
    """The first so many of these rows, the denoiser bare."""
    conditioning = take_rows(rows.conditioning, range(count))
    return SharedRows(bare(rows.denoiser), conditioning, rows.size, rows.told)


def pooled(output: Tensor) -> Tensor:
    """(B, C) of (B, C, H, W, ...), or of tokens (B, T, C)."""
    return output.float().mean(dim=tuple(range(2, output.ndim)) if output.ndim > 3 else 1)
