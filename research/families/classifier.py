"""The judges of the families' samples: classifiers of images without noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from steindiff.models import Classifier

_GROUPS = 8


class FamilyClassifier(Classifier):
    """The shipped classifier's architecture, grey or in colour.

    Images (B, `channels`, H, W) in [-1, 1], H and W multiples of 4 -> logits.

    `features` gives (B, width), the layer before the logits.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 64) -> None:
        super().__init__(num_classes, width)
        first = self.body[0]
        assert isinstance(first, nn.Sequential)
        grey = first[0]
        assert isinstance(grey, nn.Conv2d)
        first[0] = nn.Conv2d(channels, grey.out_channels, 3, padding=1)

    def logits(self, images: Tensor) -> Tensor:
        """(B, num_classes), before the softmax."""
        return self(images)


class EmojiClassifier(nn.Module):
    """Images (B, 3, 64, 64) in [-1, 1] -> logits (B, num_classes); `features` gives (B, width).

    The features are a linear layer on 2x2 places of the image: they know where a thing is.

    Args:
        widths: channels of the stages, each of which halves the resolution; multiples of 8.
        num_classes: of the logits.
        width: number of features.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, width: int = 96) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(a, b) for a, b in itertools.pairwise((3, *widths)))
        self.embed = nn.Linear(4 * widths[-1], width)
        self.head = nn.Linear(width, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """What each stage gives: what a perceptual loss compares."""
        found = [images]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found[1:]

    def features(self, images: Tensor) -> Tensor:
        """(B, width): the layer before the logits."""
        last = self.stage_outputs(images)[-1]
        return self.embed(F.adaptive_avg_pool2d(last, 2).flatten(1))

    def logits(self, images: Tensor) -> Tensor:
        """(B, num_classes), before the softmax."""
        return self(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.silu(self.features(images)))


def _stage(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1),
        nn.GroupNorm(_GROUPS, b),
        nn.SiLU(),
        nn.Conv2d(b, b, 3, stride=2, padding=1),
        nn.GroupNorm(_GROUPS, b),
        nn.SiLU(),
    )
