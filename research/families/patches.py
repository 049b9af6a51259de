"""Images as sequences of patches, and back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_tokens(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, H W / patch^2, C patch^2)."""
    return F.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2)


def to_images(tokens: Tensor, patch: int, height: int) -> Tensor:
    """The inverse of `to_tokens`, for images of `height` pixels."""
    grid = tokens.transpose(1, 2).unflatten(2, (height // patch, -1))
    return F.pixel_shuffle(grid, patch)
