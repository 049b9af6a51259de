"""The judge of a family's samples: the shipped classifier's architecture, grey or in colour."""

from __future__ import annotations

from torch import Tensor, nn

from steindiff.models.classifier import Classifier


class FamilyClassifier(Classifier):
    """Images (B, `channels`, H, W) in [-1, 1], H and W multiples of 4 -> logits.

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
