"""Images whose exact denoiser costs nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steindiff.denoisers import GaussianMixture

SHAPE = (1, 12, 12)


class Blobs:
    """Three images that the exact denoiser of a mixture knows."""

    sample_shape = SHAPE

    def __init__(self) -> None:
        means = torch.randn(3, 144, generator=torch.Generator().manual_seed(0)) / 2
        self.mixture = GaussianMixture(means, torch.full((3, 144), 0.02))

    def __call__(self, x: Tensor, sigma: Any) -> Tensor:
        return self.mixture(x.flatten(1), sigma).reshape(x.shape)
