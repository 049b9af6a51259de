"""Features that were fitted to nothing: what random networks see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._errors import check_batch
from ...tuning.features import STRIDES, WIDTHS, random_layer
from .features import CHUNK, Features

SEED = 0
_SMALLEST = 11
"""Pixels that three convolutions of 3x3, two of them with a stride of 2, leave something of."""


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

    name = "random-convolutions"
    dim = WIDTHS[-1]

    def __init__(self, channels: int) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.layers: list[tuple[Tensor, Tensor]] = []
        for width in WIDTHS:
            self.layers.append(random_layer((width, channels, 3, 3), generator))
            channels = width

    def __call__(self, images: Tensor) -> Tensor:
        h = images.float()
        for stride, (weight, bias) in zip(STRIDES, self.layers, strict=True):
            h = F.relu(F.conv2d(h, weight, bias, stride=stride))
        return h.mean(dim=(2, 3))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> (N, 64) float32 on the CPU.

        Raises:
            TypeError, ValueError: not a batch of floating-point images.
        """
        parts = check_batch(images, "images").cpu().split(CHUNK)
        return torch.cat([self(part) for part in parts])


class RandomProjections:
    """64 features of vectors (B, d): the ReLU of a random linear layer.

    Weights N(0, 2/d), biases N(0, 0.1^2), from a generator of seed 0.

    Args:
        dim: of the vectors.
    """

    name = "random-projections"
    dim = 64

    def __init__(self, dim: int) -> None:
        self.weight, self.bias = random_layer((64, dim), torch.Generator().manual_seed(SEED))

    def __call__(self, vectors: Tensor) -> Tensor:
        return F.relu(F.linear(vectors.float(), self.weight, self.bias))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Samples (N, *shape), flattened -> (N, 64) float32 on the CPU.

        Raises:
            TypeError, ValueError: not a batch of floating-point samples.
        """
        return self(check_batch(images, "images").flatten(1).cpu())


def unlearned_features(shape: Sequence[int]) -> Features:
    """The judge of samples of a shape for which there is no classifier.

    Args:
        shape: of one sample; (C, H, W) of at least 11 x 11 pixels is looked at by convolutions,
            anything else as a vector.

    Raises:
        ValueError: a size below 1.
    """
    if min(shape, default=1) < 1:
        raise ValueError(
            f"shape is {tuple(shape)}; the sizes of one sample, each 1 or more, are needed"
        )
    if len(shape) == 3 and min(shape[1:]) >= _SMALLEST:
        return RandomConvolutions(shape[0])
    return RandomProjections(math.prod(shape))
