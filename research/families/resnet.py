"""Convolutional body at one resolution; dilations widen what a pixel sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8


class _ResidualBlock(nn.Module):
    """Two convolutions; the embedding scales and shifts between them."""

    def __init__(self, width: int, dilation: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.norm_out = nn.GroupNorm(_GROUPS, width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))


class ResNet(nn.Module):
    """Plain residual network from images to images, with neither down-sampling nor attention.

    The trunk goes to the output without a norm: a velocity holds the noise itself, whose norm a
    normalised output could not follow.

    Args:
        channels: of the images.
        width: channels inside, a multiple of 8 (the groups of the norms).
        dilations: one block each.
        embedding: width of the conditioning vector.
    """

    def __init__(self, channels: int, width: int, dilations: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(width, d, embedding) for d in dilations)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.out(h)
