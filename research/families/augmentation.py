"""Mirrored and shifted copies of training images: the data sets are small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an image without leaving the data's distribution by much.

    Attributes:
        mirror: left and right may be swapped.
        shift: pixels that an image may move by, in both directions.
        background: value that fills what a shift leaves open.
    """

    mirror: bool = False
    shift: int = 0
    background: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random versions of `images` (B, C, H, W), in float32."""
        if self.mirror:
            flip = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(3), images)
        return self._shifted(images, generator) if self.shift else images

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        padded = F.pad(images, (self.shift,) * 4, value=self.background)
        moves = torch.randint(2 * self.shift + 1, (2, count, 1), generator=generator)
        rows = (moves[0] + torch.arange(height))[:, :, None]
        columns = (moves[1] + torch.arange(width))[:, None]
        item = torch.arange(count)[:, None, None]
        return padded[item, :, rows, columns].permute(0, 3, 1, 2)


AUGMENTATIONS = {
    "digits-mixer": Augmentation(shift=1, background=-1.0),
    "emoji-transformer": Augmentation(mirror=True, shift=1, background=1.0),
    "photos-resnet": Augmentation(mirror=True),
}
