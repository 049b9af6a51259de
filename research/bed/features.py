"""Features that were fitted to nothing: what random networks see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SEED = 0
WIDTHS = (32, 48, 64)
_BIAS = 0.1


class RandomConvolutions:
    """64 features of images (B, C, H, W): means over the image of three random convolutions' ReLU.

    A judge that knows no class and has seen no image, so that it shares no fault with a trained
    classifier: random weights are known to rank generators much as trained ones do (Naeem et al.
    2020, arXiv 2002.09797, section 4). Three layers of 3x3 with 32, 48 and 64 channels, strides
    1, 2 and 2, no padding; weights N(0, 2/fan_in) (He et al. 2015), biases N(0, 0.1^2), from a
    generator of seed 0 in the order of the layers, weights first. One seed for all networks.

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.layers: list[tuple[Tensor, Tensor]] = []
        for width in WIDTHS:
            self.layers.append(_layer((width, channels, 3, 3), generator))
            channels = width

    def __call__(self, images: Tensor) -> Tensor:
        h = images.float()
        for stride, (weight, bias) in zip((1, 2, 2), self.layers, strict=True):
            h = F.relu(F.conv2d(h, weight, bias, stride=stride))
        return h.mean(dim=(2, 3))


class RandomProjections:
    """64 features of vectors (B, d): the ReLU of a random linear layer.

    Weights N(0, 2/d), biases N(0, 0.1^2), from a generator of seed 0.

    Args:
        dim: of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self.weight, self.bias = _layer((64, dim), torch.Generator().manual_seed(SEED))

    def __call__(self, vectors: Tensor) -> Tensor:
        return F.relu(F.linear(vectors.float(), self.weight, self.bias))


def _layer(shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    weight = torch.randn(*shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    return weight, _BIAS * torch.randn(shape[0], generator=generator)
